import {
  DEFAULT_PASSWORD_POLICY,
  type PasswordPolicy,
  REGISTRATION_ATTEMPTS_MAX,
  REGISTRATION_PASSWORD_LENGTH_MIN,
  REGISTRATION_PENDING_MS,
  REGISTRATION_SEEN_INTERVAL_MS,
  REGISTRATION_USERNAME_LENGTH_MIN,
  type RegistrationAttempt,
  REGISTRATIONS_PENDING_MAX,
} from '@sallyport/domain';
import { OperationalError } from '@sallyport/errors';
import { isRegistration } from '@sallyport/secrets';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { bytes, facts, World } from '../testing/world.ts';
import {
  REGISTRATION_QUEUE_MAX,
  REGISTRATION_TELL_MS,
  RegistrationRecorder,
} from './registration-recorder.ts';

let world: World;
let recorder: RegistrationRecorder;
/** Of each message. */
let told: (readonly RegistrationAttempt[])[];
let hashed: string[];
/** Also writes what it is told, unless it fails. */
let store: (attempts: readonly RegistrationAttempt[]) => Promise<unknown>;
let hash: (username: string, password: string) => Promise<string>;

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  world = await World.open();
  [told, hashed] = [[], []];
  store = (attempts) => world.run({ type: 'RecordRegistrations', data: { attempts } });
  hash = (username, password) => Promise.resolve(`$argon2id$${username}$${password}`);
  recorder = recorderWith(DEFAULT_PASSWORD_POLICY);
});
/** As a replica has it whose configuration says so. */
const recorderWith = (passwordPolicy: PasswordPolicy) =>
  new RegistrationRecorder({
    passwordPolicy,
    box: world.box,
    hasher: {
      hashPasswordOf: (username, password) => {
        const text = Buffer.from(password).toString();
        hashed.push(`${username}:${text}`);
        return hash(username, text);
      },
    },
    reads: world.model.reads,
    store: async (attempts) => {
      told.push(attempts);
      await store(attempts);
    },
    logger: { warn: () => undefined },
    clock: () => world.now,
  });
afterEach(async () => {
  vi.useRealTimers();
  await recorder[Symbol.asyncDispose]();
  await world[Symbol.asyncDispose]();
});

const open = (openMs = 60_000) => world.run({ type: 'OpenRegistration', data: { openMs } });
let port = 1024;
/** Each time a connection of its own. */
const refuse = (username: string, password = 'password', peer = `192.0.2.1:${port++}`) =>
  recorder.refused({ ...facts(`client of ${username}`, username), peer }, bytes(password));
/** Turns of the event loop, for work without timers. */
const turns = async (): Promise<void> => {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
};
/** Time passes, here and there. */
async function pass(ms: number): Promise<void> {
  world.now += ms;
  await vi.advanceTimersByTimeAsync(ms);
  await turns();
}
const names = () => told.flat().map(({ username }) => username);

describe('a refused connection', () => {
  it('is nothing while the window is locked, or has locked itself', async () => {
    refuse('agent-7');
    await open(1000);
    world.now += 1000;
    refuse('agent-7');
    await turns();
    expect([told, hashed]).toEqual([[], []]);
  });

  it('is nothing when it waits for its hash and the window locks', async () => {
    await open(1000);
    refuse('agent-7');
    world.now += 1000;
    await turns();
    expect(hashed).toEqual([]);
  });

  it('is nothing without a name or password, or with one that is short or no text, or with a certificate', async () => {
    await open();
    refuse('x'.repeat(REGISTRATION_USERNAME_LENGTH_MIN - 1));
    refuse('\u{1f600}\u{1f600}');
    refuse('agent-7', 'p'.repeat(REGISTRATION_PASSWORD_LENGTH_MIN - 1));
    refuse('agent-7', '\u{1f600}\u{1f600}');
    recorder.refused(facts('c', 'agent-7'), Uint8Array.of(0xff, 0xfe, 0xfd, 0xfc, 0xfb));
    recorder.refused(facts('c', 'agent-7'), undefined);
    recorder.refused(facts('c'), bytes('password'));
    const certificate = { fingerprintSha256: 'ab'.repeat(32), chainCommonNames: [] };
    recorder.refused({ ...facts('c', 'agent-7'), certificate }, bytes('password'));
    await turns();
    expect([told, hashed]).toEqual([[], []]);
    const shortest = 'x'.repeat(REGISTRATION_USERNAME_LENGTH_MIN);
    refuse(shortest, '\u{1f600}'.padEnd(REGISTRATION_PASSWORD_LENGTH_MIN + 1, 'p'));
    await turns();
    expect(names()).toEqual([shortest]);
  });

  it('is nothing with a password that fails the policy', async () => {
    await open();
    const policy = { ...DEFAULT_PASSWORD_POLICY, min: 6, upper: 1 };
    await using strict = recorderWith(policy);
    for (const password of ['password', 'Five5']) {
      strict.refused(facts('c', 'agent-7'), bytes(password));
    }
    await turns();
    expect([told, hashed]).toEqual([[], []]);
    strict.refused(facts('c', 'agent-7'), bytes('Passwd'));
    await turns();
    expect(names()).toEqual(['agent-7']);
  });

  it('needs five characters also where the policy asks for none', async () => {
    await open();
    await using lax = recorderWith({ ...DEFAULT_PASSWORD_POLICY, min: 0 });
    lax.refused(facts('c', 'agent-7'), bytes('four'));
    await turns();
    expect([told, hashed]).toEqual([[], []]);
  });

  it('is nothing under a name that any credential has, and costs no hash', async () => {
    await world.addCredential('agent-7', 'secret', { store: 'emqx' });
    await world.addCredential('both', 'secret', { match: { username: 'agent-8', clientId: 'x' } });
    await open();
    refuse('agent-7');
    refuse('agent-8');
    await turns();
    expect([told, hashed]).toEqual([[], []]);
  });

  it('is told at once, with a verifier that opens for its name and id only', async () => {
    await open();
    const password = bytes('password');
    recorder.refused({ ...facts('c', 'agent-7'), peer: '[2001:db8::1]:5000' }, password);
    // The buffer of a socket is used again.
    password.fill(0);
    await turns();
    const [attempt] = told.flat();
    expect(attempt).toEqual({
      ...{ id: attempt?.id, verifier: attempt?.verifier, username: 'agent-7' },
      ...{ origin: 'mqtt', count: 1, clientId: 'c', address: '2001:db8::1' },
    });
    expect(attempt && isRegistration(world.box, attempt)).toBe(true);
    expect(JSON.stringify(told)).not.toContain('password');
  });
});

describe('repetitions', () => {
  it('are none of a connection that is asked about again', async () => {
    await open();
    for (let times = 0; times < 2; times++) refuse('agent-7', 'password', '192.0.2.1:1');
    await turns();
    refuse('agent-7', 'password', '192.0.2.1:1');
    await pass(2 * REGISTRATION_SEEN_INTERVAL_MS);
    expect(told.flat()).toMatchObject([{ count: 1 }]);
    refuse('agent-7', 'password', '192.0.2.1:2');
    await pass(REGISTRATION_TELL_MS);
    expect(told.flat()).toMatchObject([{ count: 1 }, { count: 1 }]);
  });

  it('are hashed once, and told together once in a while', async () => {
    await open();
    refuse('agent-7');
    refuse('agent-7');
    await turns();
    expect(told.flat()).toMatchObject([{ count: 2 }]);
    for (let times = 0; times < 3; times++) refuse('agent-7', 'password', `192.0.2.${times}:1`);
    await pass(REGISTRATION_SEEN_INTERVAL_MS - REGISTRATION_TELL_MS);
    expect(told).toHaveLength(1);
    await pass(REGISTRATION_TELL_MS);
    expect(told.flat()[1]).toMatchObject({ count: 3, address: '192.0.2.2' });
    const id = told.flat()[0]?.id ?? '';
    expect(world.model.reads.registration(id)).toMatchObject({ count: 5 });
    // Nothing is told when nobody has come.
    await pass(3 * REGISTRATION_SEEN_INTERVAL_MS);
    expect([told.length, hashed.length]).toEqual([2, 1]);
  });

  it('wait when another replica has told of the device, and are not lost', async () => {
    await open();
    refuse('agent-7');
    await turns();
    const [first] = told.flat();
    await pass(REGISTRATION_SEEN_INTERVAL_MS - 1);
    refuse('agent-7');
    await pass(1);
    await store(first === undefined ? [] : [first]);
    await pass(REGISTRATION_SEEN_INTERVAL_MS - 1);
    expect(told).toHaveLength(1);
    await pass(REGISTRATION_TELL_MS);
    expect(world.model.reads.registration(first?.id ?? '')).toMatchObject({ count: 3 });
  });

  it('make a new request soon after the last one was denied', async () => {
    await open();
    refuse('agent-7');
    await turns();
    const id = told.flat()[0]?.id ?? '';
    await world.run({ type: 'DenyRegistration', data: { id } });
    refuse('agent-7');
    await pass(REGISTRATION_TELL_MS);
    expect(world.model.reads.registration(id)).toMatchObject({ status: 'pending', count: 1 });
  });

  it('are forgotten with the window', async () => {
    await open(5000);
    refuse('agent-7');
    await turns();
    refuse('agent-7');
    await pass(REGISTRATION_SEEN_INTERVAL_MS);
    expect(told).toHaveLength(1);
    await open();
    refuse('agent-7');
    await turns();
    expect(hashed).toHaveLength(2);
  });
});

describe('too much', () => {
  it('is dropped: more names than may wait for their hash; those that wait are told in messages that are read', async () => {
    await open();
    for (let index = 0; index <= REGISTRATION_QUEUE_MAX; index++) refuse(`agent-${index}`);
    await turns();
    await turns();
    expect(names()).toHaveLength(REGISTRATION_QUEUE_MAX);
    expect(names()).not.toContain(`agent-${REGISTRATION_QUEUE_MAX}`);
    expect(Math.max(...told.map((one) => one.length))).toBe(REGISTRATION_ATTEMPTS_MAX);
    refuse(`agent-${REGISTRATION_QUEUE_MAX}`);
    await turns();
    expect(names()).toHaveLength(REGISTRATION_QUEUE_MAX + 1);
  });

  it('costs no hash once there is no room for another request, unless it is one that waits', async () => {
    await open();
    const attempt = { verifier: 'sealed', origin: 'mqtt', count: 1 } as const;
    const all = Array.from({ length: REGISTRATIONS_PENDING_MAX }, (_, index) => ({
      ...{ ...attempt, id: `q${index}`, username: `agent-${index}` },
    }));
    for (let start = 0; start < all.length; start += REGISTRATION_ATTEMPTS_MAX) {
      await store(all.slice(start, start + REGISTRATION_ATTEMPTS_MAX));
    }
    refuse('agent-new');
    refuse('agent-0');
    await turns();
    expect(hashed).toEqual(['agent-0:password']);
    world.now += REGISTRATION_PENDING_MS;
    await open();
    refuse('agent-new');
    await turns();
    expect(hashed).toHaveLength(2);
  });

  it('gives way to logins while the pool is full', async () => {
    await open();
    let full = 2;
    hash = () =>
      full-- > 0
        ? Promise.reject(new OperationalError('hash_pool_full', 'full'))
        : Promise.resolve('$argon2id$later');
    refuse('agent-7');
    await turns();
    expect(told).toEqual([]);
    await pass(1000);
    expect(names()).toEqual(['agent-7']);
  });
});

describe('failures', () => {
  it('keep the count, and are made up for', async () => {
    await open();
    const write = store;
    store = () => Promise.reject(new OperationalError('log_unavailable', 'away'));
    refuse('agent-7');
    await turns();
    refuse('agent-7');
    store = write;
    await pass(REGISTRATION_TELL_MS);
    expect(told.at(-1)).toMatchObject([{ count: 2 }]);
    expect(world.model.reads.registrationCounts().pending).toBe(1);
  });

  it('of one password are of no other', async () => {
    await open();
    hash = (username) =>
      username === 'agent-7' ? Promise.reject(new Error('no')) : Promise.resolve('$argon2id$x');
    refuse('agent-7');
    refuse('agent-8');
    await turns();
    expect(names()).toEqual(['agent-8']);
  });

  it('leave nothing behind when it is closed', async () => {
    await open();
    refuse('agent-7');
    await recorder[Symbol.asyncDispose]();
    refuse('agent-8');
    await turns();
    expect(told).toEqual([]);
  });
});
