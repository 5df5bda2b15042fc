import { randomBytes } from 'node:crypto';
import { importedVerifier, Sealer, sealingContext, SecretBox } from '@sallyport/secrets';
import { describe, expect, it } from 'vitest';
import { createChecker } from '../http/validation.ts';
import { createBody } from '../routes/credentials/schema.ts';
import { OrderedIds } from './ordered-id.ts';
import { readyRows } from './ready-rows.ts';

const box = new SecretBox(randomBytes(32));
const ids = new OrderedIds();
const tools = { check: createChecker(createBody), box: new Sealer(box.sealingKey) };
const made = (row: unknown) => {
  const text = typeof row === 'string' ? row : JSON.stringify(row);
  return readyRows([text], tools, { at: 5, id: () => ids.next(5) })[0];
};
const row = (more: object = {}) => ({ name: 'a', match: { username: 'a' }, ...more });
const plain = { algorithm: 'plain', hash: 'canary-secret' } as const;

describe('rows that are made ready on any thread', () => {
  it('say what is wrong, and name the field', () => {
    expect(made('{"name":')).toMatchObject({ code: 'malformed_body' });
    expect(made('{"name":"a","__proto__":{}}')).toMatchObject({ code: 'malformed_body' });
    expect(made({ ...row(), admin: true })).toMatchObject({
      code: 'invalid_request',
      pointer: '/admin',
    });
    expect(made(row({ passwordHash: plain, generateSecret: true }))).toMatchObject({
      code: 'invalid_request',
      pointer: '/generateSecret',
    });
    expect(made(row({ passwordHash: plain, scramOnly: true }))).toMatchObject({
      code: 'invalid_request',
      pointer: '/scramOnly',
    });
    const hash = { algorithm: 'bcrypt', hash: 'canary-secret' };
    const refused = made(row({ passwordHash: hash }));
    expect(refused).toMatchObject({ code: 'credential_invalid', pointer: '/passwordHash/hash' });
    expect(JSON.stringify(refused)).not.toContain('canary');
  });

  it('are left to others when something has to be hashed, generated or looked up', () => {
    expect(made(row({ password: 'canary-secret' }))).toBeNull();
    expect(made(row({ generateSecret: true }))).toBeNull();
    expect(made(row({ passwordHash: plain, scram: ['SCRAM-SHA-256'] }))).toBeNull();
  });

  it('hold their hash sealed, for the one credential, under the deployment key', () => {
    const text = made(row({ passwordHash: plain, access: { kind: 'roles' } }));
    expect(typeof text).toBe('string');
    expect(text).not.toContain('canary');
    const credential = JSON.parse(text as string) as {
      id: string;
      access: object;
      secrets: readonly { verifier: string; imported: string; createdAt: number }[];
    };
    expect(credential.access).toEqual({ kind: 'roles', roles: [], permissions: [] });
    const [secret] = credential.secrets;
    expect(secret).toMatchObject({ imported: 'plain', createdAt: 5 });
    const { id } = credential;
    const verifier = box.open(secret?.verifier ?? '', sealingContext({ kind: 'credential', id }));
    expect({ ok: true, verifier }).toEqual(importedVerifier(plain));
    expect(made(row({ passwordRequired: false }))).toContain('"secrets":[]');
  });
});
