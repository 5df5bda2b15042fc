import { randomBytes } from 'node:crypto';
import type { RegistrationAttempt } from '@sallyport/domain';
import { makeRegistration, SecretBox, SecretHasher } from '@sallyport/secrets';
import { encodeRegistrations, REGISTRATION_SUBJECT } from '@sallyport/wire';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { MessageSource } from '../inbox/policy-inbox.ts';
import { World } from '../testing/world.ts';
import { listenForRegistrations } from './registration-listener.ts';

type Callback = Parameters<MessageSource['subscribe']>[1]['callback'];

let world: World;
let say: (...attempts: RegistrationAttempt[]) => void;
let subscribed: readonly string[] | undefined;
let listener: AsyncDisposable;

beforeEach(async () => {
  world = await World.open();
  const { executor, box } = world;
  listener = listenForRegistrations({
    source: {
      subscribe: (subject: string, { queue, callback }: { queue: string; callback: Callback }) => {
        subscribed = [subject, queue];
        say = (...list) => callback(null, { data: Buffer.from(encodeRegistrations(list)) });
        return { unsubscribe: () => (subscribed = undefined) };
      },
    },
    ...{ box, executor, logger: { warn: () => undefined }, clock: () => world.now },
  });
});
afterEach(async () => {
  await listener[Symbol.asyncDispose]();
  expect(subscribed).toBeUndefined();
  await world[Symbol.asyncDispose]();
});

async function attempt(username: string, box = world.box): Promise<RegistrationAttempt> {
  const parts = { box, hasher: new SecretHasher(box) };
  const secret = await makeRegistration(parts, { username, password: Buffer.from('password') });
  return { ...secret, username, origin: 'mqtt', count: 1 };
}

const pending = () => world.model.reads.registrationCounts().pending;
const settled = () => new Promise((resolve) => setTimeout(resolve, 50));
const open = async () => (await world.login()).post('/api/v1/registration/open');

it('shares its subject with the other replicas', () => {
  expect(subscribed).toEqual([REGISTRATION_SUBJECT, 'admin-api']);
});

it('records nothing while the window is locked, whatever a policy replica believes', async () => {
  say(await attempt('agent-7'));
  await settled();
  expect(pending()).toBe(0);
  await open();
  say(await attempt('agent-7'));
  await expect.poll(pending).toBe(1);
});

it('records nothing that is not ours: another key, another name, another id, another form', async () => {
  await open();
  const good = await attempt('agent-7');
  const other = await attempt('agent-8');
  say(await attempt('agent-7', new SecretBox(randomBytes(32))));
  say({ ...good, username: 'admin' });
  say({ ...good, id: other.id });
  say({ ...good, verifier: other.verifier });
  say({ ...good, verifier: world.box.seal('plain$cHc=', `registration:${good.id}`) });
  await settled();
  expect(pending()).toBe(0);
  // What is good beside it is.
  say({ ...good, username: 'admin' }, other);
  await expect.poll(pending).toBe(1);
  expect(world.model.reads.registration(other.id)).toMatchObject({ username: 'agent-8' });
});

it('makes one request of one device that two replicas have seen in the same moment', async () => {
  await open();
  say(await attempt('agent-7'));
  say(await attempt('agent-7'));
  await expect.poll(pending).toBe(1);
  await settled();
  expect(world.model.reads.registrationsOf('agent-7')).toHaveLength(1);
});
