import { randomBytes, randomUUID } from 'node:crypto';
import { OperationalError } from '@sallyport/errors';
import { CommandExecutor } from '@sallyport/event-log';
import { SecretBox, sealingContext } from '@sallyport/secrets';
import { encodeRehash, REHASH_SUBJECT } from '@sallyport/wire';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { World } from '../testing/world.ts';
import type { MessageSource } from '../inbox/policy-inbox.ts';
import { listenForRehashes, REHASH_MESSAGES_MAX } from './rehash-listener.ts';

type Callback = Parameters<MessageSource['subscribe']>[1]['callback'];

const ARGON = '$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA';

let world: World;
let say: (data: Uint8Array) => void;
let subscribed: { subject: string; queue: string } | undefined;
let listener: AsyncDisposable;
let executed = 0;
let failing = false;

beforeEach(async () => {
  world = await World.open();
  executed = 0;
  failing = false;
  const executor = new CommandExecutor({ log: world.log, model: world.model });
  listener = listenForRehashes({
    source: {
      subscribe: (subject: string, { queue, callback }: { queue: string; callback: Callback }) => {
        subscribed = { subject, queue };
        say = (data) => callback(null, { data });
        return { unsubscribe: () => (subscribed = undefined) };
      },
    },
    box: world.box,
    executor: {
      execute: (command, meta) => {
        executed++;
        if (failing) return Promise.reject(new OperationalError('log_unavailable', 'away'));
        return executor.execute(command, meta);
      },
    },
    logger: { warn: () => undefined },
    clock: () => world.now,
  });
});
afterEach(async () => {
  await listener[Symbol.asyncDispose]();
  expect(subscribed).toBeUndefined();
  await world[Symbol.asyncDispose]();
});

/** A credential with one imported secret, in the log. */
async function imported(): Promise<string> {
  const admin = await world.login();
  const name = randomUUID();
  const passwordHash = { algorithm: 'md5', hash: 'ab'.repeat(16) };
  const answer = await admin.post('/api/v1/credentials', {
    name,
    match: { username: name },
    passwordHash,
  });
  return answer.body.id;
}

const secretOf = (id: string) => world.model.reads.credential(id)?.secrets[0];

const sealed = (id: string, verifier = ARGON, box = world.box): string =>
  box.seal(verifier, sealingContext({ kind: 'credential', id }));

const message = (id: string, verifier: string): Uint8Array =>
  Buffer.from(encodeRehash([{ id, secretId: secretOf(id)?.secretId ?? 'none', verifier }]));

const settled = () => new Promise((resolve) => setTimeout(resolve, 50));

describe('listenForRehashes', () => {
  it('shares its subject with the other replicas', () => {
    expect(subscribed).toEqual({ subject: REHASH_SUBJECT, queue: 'admin-api' });
  });

  it('writes nothing of what is not ours: no message, another key, another credential, another form', async () => {
    const id = await imported();
    const before = secretOf(id);
    say(Buffer.from('no message'));
    say(message(id, sealed(id, ARGON, new SecretBox(randomBytes(32)))));
    say(message(id, sealed(randomUUID())));
    say(message(id, sealed(id, 'plain$cHc=')));
    say(message(id, ARGON));
    await settled();
    expect([executed, secretOf(id)]).toEqual([0, before]);
  });

  it('replaces the imported hash once, whoever says it how often', async () => {
    const id = await imported();
    const verifier = sealed(id);
    const again = message(id, sealed(id));
    say(message(id, verifier));
    say(again);
    await expect.poll(() => secretOf(id)?.imported).toBeUndefined();
    await settled();
    expect(secretOf(id)?.verifier).toBe(verifier);
    // What is in our own form already is not replaced, so a replica cannot change a password.
    say(message(id, sealed(id)));
    await settled();
    expect(secretOf(id)?.verifier).toBe(verifier);
  });

  it('survives a log that is away, and writes with the next message', async () => {
    const id = await imported();
    failing = true;
    say(message(id, sealed(id)));
    await expect.poll(() => executed).toBe(1);
    await settled();
    expect([executed, secretOf(id)?.imported]).toEqual([1, 'md5']);
    failing = false;
    say(message(id, sealed(id)));
    await expect.poll(() => secretOf(id)?.imported).toBeUndefined();
  });

  it('drops messages past its limit', async () => {
    const id = await imported();
    const one = message(id, sealed(id));
    for (let count = 0; count < REHASH_MESSAGES_MAX + 10; count++) say(one);
    // The first leaves the queue at once.
    await expect.poll(() => executed).toBeGreaterThan(REHASH_MESSAGES_MAX);
    await settled();
    expect(executed).toBe(REHASH_MESSAGES_MAX + 1);
  });
});
