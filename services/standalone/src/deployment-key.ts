import { randomBytes } from 'node:crypto';
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { OperationalError } from '@sallyport/errors';
import { DEPLOYMENT_KEY_BYTES, SecretBox } from '@sallyport/secrets';

const FILE = 'deployment.key';

/**
 * The deployment key of the configuration, else the one in the data folder, which is made at the first start. Whoever loses
 * it loses every secret; whoever has it and the log can test passwords.
 * @throws OperationalError `config_invalid` when the log is there and the key is not
 */
export function loadDeploymentKey(options: {
  readonly dataDir: string;
  readonly key: string | undefined;
  /** Whether the log holds anything already. */
  readonly logExists: boolean;
}): SecretBox {
  if (options.key !== undefined) return SecretBox.fromBase64(options.key);
  const path = join(options.dataDir, FILE);
  if (existsSync(path)) return SecretBox.fromBase64(readFileSync(path, 'utf8').trim());
  if (options.logExists) {
    throw new OperationalError(
      'config_invalid',
      `${path} is missing, and the log holds secrets that are sealed under it; restore it or set secrets.key`,
    );
  }
  const key = randomBytes(DEPLOYMENT_KEY_BYTES).toString('base64');
  const file = openSync(path, 'wx', 0o600);
  writeSync(file, `${key}\n`);
  fsyncSync(file);
  closeSync(file);
  return SecretBox.fromBase64(key);
}
