import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Secrets that must stay the same as long as the log of a data folder is used. */
export interface Deployment {
  /** Seals verifiers: base64 of 32 bytes. */
  readonly secretsKey: string;
  /** Of the first administrator, as long as nobody has changed it. */
  readonly adminPassword: string;
}

const FILE_NAME = 'deployment.json';
const OWNER_ONLY = 0o600;

/** What a kept data folder was started with; made on the first start. Without a folder it is made anew each time. */
export function openDeployment(
  dataDir: string | undefined,
  adminPassword: string | undefined,
): Deployment {
  const fresh = (): Deployment => ({
    secretsKey: randomBytes(32).toString('base64'),
    adminPassword: adminPassword ?? randomBytes(18).toString('base64url'),
  });
  if (dataDir === undefined) return fresh();
  mkdirSync(dataDir, { recursive: true });
  const path = join(dataDir, FILE_NAME);
  // Our own file: whoever can write it owns the deployment anyway.
  if (existsSync(path)) return JSON.parse(readFileSync(path, 'utf8')) as Deployment;
  const made = fresh();
  writeFileSync(path, `${JSON.stringify(made, null, 2)}\n`, { mode: OWNER_ONLY });
  return made;
}
