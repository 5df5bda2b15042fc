import { randomBytes } from 'node:crypto';
import { type CredentialRehash, REHASH_SECRETS_MAX } from '@sallyport/domain';
import { OperationalError } from '@sallyport/errors';
import { SecretBox, sealingContext } from '@sallyport/secrets';
import { afterEach, describe, expect, it } from 'vitest';
import { REHASH_QUEUE_MAX, REHASH_REPEAT_MS, Rehasher } from './rehasher.ts';

const box = new SecretBox(randomBytes(32));
const bytes = (text: string): Uint8Array => Buffer.from(text);
const secret = (id: string) => ({ id, secretId: 's1' });

let open: Rehasher[] = [];
afterEach(async () => {
  for (const one of open) await one[Symbol.asyncDispose]();
  open = [];
});

/** A rehasher whose hash of a password is `hash of <password>`, at once. */
function create(
  more: {
    readonly hash?: (password: string) => Promise<string>;
    readonly store?: (secrets: readonly CredentialRehash[]) => Promise<void>;
  } = {},
) {
  const world = { now: 0, stored: [] as CredentialRehash[], batches: [] as number[], warned: 0 };
  const rehasher = new Rehasher({
    box,
    hasher: {
      hashPassword: (password) => {
        const text = Buffer.from(password).toString();
        return more.hash?.(text) ?? Promise.resolve(`hash of ${text}`);
      },
    },
    store: async (secrets) => {
      await more.store?.(secrets);
      world.stored.push(...secrets);
      world.batches.push(secrets.length);
    },
    logger: { warn: () => void world.warned++ },
    clock: () => world.now,
  });
  open.push(rehasher);
  return { rehasher, world };
}

describe('Rehasher', () => {
  it('drops what is too much, and takes as many as wait', async () => {
    const { rehasher, world } = create();
    for (let index = 0; index <= REHASH_QUEUE_MAX; index++) {
      rehasher.proven(secret(`c${index}`), bytes('p'));
    }
    await expect.poll(() => world.stored.length).toBe(REHASH_QUEUE_MAX);
    expect(world.stored.map((one) => one.id)).not.toContain(`c${REHASH_QUEUE_MAX}`);
    expect(Math.max(...world.batches)).toBe(REHASH_SECRETS_MAX);
    // It comes again with its next login.
    rehasher.proven(secret(`c${REHASH_QUEUE_MAX}`), bytes('p'));
    await expect.poll(() => world.stored.length).toBe(REHASH_QUEUE_MAX + 1);
  });

  it('takes a secret once, however often it is proven, until the log should have come back', async () => {
    const { rehasher, world } = create();
    for (let times = 0; times < 3; times++) rehasher.proven(secret('a'), bytes('p'));
    await expect.poll(() => world.stored.length).toBe(1);
    world.now = REHASH_REPEAT_MS - 1;
    rehasher.proven(secret('a'), bytes('p'));
    rehasher.proven(secret('b'), bytes('p'));
    await expect.poll(() => world.stored.map((one) => one.id)).toEqual(['a', 'b']);
    world.now = REHASH_REPEAT_MS;
    rehasher.proven(secret('a'), bytes('p'));
    await expect.poll(() => world.stored.map((one) => one.id)).toEqual(['a', 'b', 'a']);
  });

  it('hands on verifiers that are sealed for their credential, of the bytes that were proven', async () => {
    const { rehasher, world } = create();
    const password = bytes('proven');
    rehasher.proven(secret('a'), password);
    // The buffer of a socket is used again.
    password.fill(0);
    await expect.poll(() => world.stored.length).toBe(1);
    const { verifier = '' } = world.stored[0] ?? {};
    expect(box.open(verifier, sealingContext({ kind: 'credential', id: 'a' }))).toBe(
      'hash of proven',
    );
    expect(JSON.stringify(world.stored)).not.toContain('proven');
  });

  it('gives way when the pool is full, and tries again', async () => {
    let full = 2;
    const { rehasher, world } = create({
      hash: () =>
        full-- > 0
          ? Promise.reject(new OperationalError('hash_pool_full', 'full'))
          : Promise.resolve('later'),
    });
    rehasher.proven(secret('a'), bytes('p'));
    await expect.poll(() => world.stored.length).toBe(1);
  });

  it('survives a password that cannot be hashed', async () => {
    const { rehasher, world } = create({
      hash: (text) => (text === 'bad' ? Promise.reject(new Error('no')) : Promise.resolve('h')),
    });
    rehasher.proven(secret('a'), bytes('bad'));
    rehasher.proven(secret('b'), bytes('good'));
    await expect.poll(() => world.stored.map((one) => one.id)).toEqual(['b']);
  });

  it('takes a secret again at once when it could not be stored', async () => {
    let fails = 1;
    const { rehasher, world } = create({
      store: () =>
        fails-- > 0
          ? Promise.reject(new OperationalError('log_unavailable', 'away'))
          : Promise.resolve(),
    });
    rehasher.proven(secret('a'), bytes('p'));
    await expect.poll(() => world.warned).toBe(1);
    rehasher.proven(secret('a'), bytes('p'));
    await expect.poll(() => world.stored.map((one) => one.id)).toEqual(['a']);
  });

  it('takes nothing once it is closed', async () => {
    const { rehasher, world } = create();
    await rehasher[Symbol.asyncDispose]();
    rehasher.proven(secret('a'), bytes('p'));
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(world.stored).toEqual([]);
  });
});
