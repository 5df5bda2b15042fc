import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadDeploymentKey } from './deployment-key.ts';

let dataDir: string;
const file = () => join(dataDir, 'deployment.key');

beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'key-'));
});

afterEach(() => {
  rmSync(dataDir, { recursive: true });
});

describe('loadDeploymentKey', () => {
  it('refuses to make a new key beside a log that was sealed under another', () => {
    expect(() => loadDeploymentKey({ dataDir, key: undefined, logExists: true })).toThrow(
      /deployment\.key is missing/,
    );
  });

  it('refuses a file that is no key', () => {
    writeFileSync(file(), 'c2hvcnQ=\n');
    expect(() => loadDeploymentKey({ dataDir, key: undefined, logExists: true })).toThrow(
      /32 bytes/,
    );
  });

  it('makes a key that only its owner reads, and finds it again', () => {
    const made = loadDeploymentKey({ dataDir, key: undefined, logExists: false });
    expect(statSync(file()).mode & 0o777).toBe(0o600);
    const again = loadDeploymentKey({ dataDir, key: undefined, logExists: true });
    expect(again.keyId).toBe(made.keyId);
  });

  it('takes the configured key over the file, and writes none', () => {
    const key = Buffer.alloc(32, 7).toString('base64');
    loadDeploymentKey({ dataDir, key, logExists: true });
    expect(() => readFileSync(file())).toThrow(/ENOENT/);
  });
});
