import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { isOperational, type OperationalError } from '@sallyport/errors';
import { connect } from '@nats-io/transport-node';
import { type NatsServer, startNatsServer } from '@sallyport/test-kit';
import { mqemitterContract } from '../test-support/contract.ts';
import { encodeFrame } from './frame.ts';
import type { BusMessage } from './message-bus.ts';
import {
  type BusGap,
  connectForBus,
  NatsMessageBus,
  type NatsMessageBusOptions,
  openNatsMessageBus,
} from './nats.ts';

let server: NatsServer;
const opened: NatsMessageBus[] = [];
let prefixes = 0;

beforeAll(async () => {
  server = await startNatsServer();
});
afterEach(async () => {
  await Promise.all(opened.splice(0).map((bus) => bus[Symbol.asyncDispose]()));
});
afterAll(() => server.stop());

async function open(options: Partial<NatsMessageBusOptions> = {}): Promise<NatsMessageBus> {
  const bus = await openNatsMessageBus({ connection: { servers: server.address }, ...options });
  opened.push(bus);
  return bus;
}

/** Two nodes of a cluster of their own. */
async function pair(): Promise<[NatsMessageBus, NatsMessageBus]> {
  const prefix = `test-${++prefixes}`;
  return [await open({ prefix }), await open({ prefix })];
}

const on = (
  bus: NatsMessageBus,
  filter: string,
  listener: (message: BusMessage) => void,
): Promise<void> =>
  new Promise((resolve) =>
    bus.on(
      filter,
      (message, done) => {
        listener(message);
        done();
      },
      resolve,
    ),
  );

const emit = (bus: NatsMessageBus, message: BusMessage): Promise<Error | null | undefined> =>
  new Promise((resolve) => bus.emit(message, resolve));

/** Everything `from` has emitted before is with `to` when this resolves: messages of one node stay in order. */
async function settled(from: NatsMessageBus, to: NatsMessageBus): Promise<void> {
  const topic = `$SYS/settled/${++prefixes}`; // No wildcard of the tests matches it.
  let arrive: () => void = () => undefined;
  const arrived = new Promise<void>((resolve) => (arrive = resolve));
  await on(to, topic, () => arrive());
  await emit(from, { topic });
  await arrived;
}

describe('the NATS bus under the contract', () => {
  mqemitterContract(
    () => connectForBus({ connection: { servers: server.address } }),
    (connection, options) => {
      const bus = new NatsMessageBus(connection, { ...options, prefix: `test-${++prefixes}` });
      opened.push(bus);
      return bus;
    },
  );
});

describe('between two nodes', () => {
  test('a message reaches both nodes, once for each registration', async () => {
    const [a, b] = await pair();
    const seen: string[] = [];
    const listener = (_message: BusMessage, done: () => void): void => {
      seen.push('twice');
      done();
    };
    await on(a, 'x', () => seen.push('a'));
    b.on('x', listener);
    b.on('x', listener);
    await on(b, 'x', () => seen.push('b'));
    await emit(a, { topic: 'x' });
    await settled(a, b);
    expect(seen.sort()).toEqual(['a', 'b', 'twice', 'twice']);
  });

  test('overlapping filters deliver once for each registration, though copies arrive', async () => {
    const [a, b] = await pair();
    const seen: string[] = [];
    for (const filter of ['x/y', 'x/+', '+/y', 'x/#', '#', 'x/y/#', 'z']) {
      await on(b, filter, () => seen.push(filter));
    }
    await emit(a, { topic: 'x/y' });
    await settled(a, b);
    expect(seen.sort()).toEqual(['#', '+/y', 'x/#', 'x/+', 'x/y', 'x/y/#']);
    expect(b.counts.duplicates).toBeGreaterThan(0);
  });

  test.each([
    ['a/#', ['a', 'a/', 'a/b', 'a/b/c/d/e'], ['b', 'ab', '$SYS/a']],
    ['+', ['a', 'ü'], ['a/', '/', '$SYS', 'a/b']],
    ['#', ['a', '/', 'a/b/c/d/e/f'], ['$SYS/x']],
    ['+/+', ['/', 'a/', '/a', 'a/b'], ['$SYS/a', 'a', 'a/b/c']],
    ['a/+/c', ['a/b/c', 'a//c'], ['a/c', 'a/b/c/d', 'a/b/d']],
    ['a/b/c/d/+', ['a/b/c/d/e', 'a/b/c/d/'], ['a/b/c/d', 'a/b/c/x/e']],
    ['a/b/c/#', ['a/b/c', 'a/b/c/d/e'], ['a/b', 'a/b/d']],
    ['/+', ['/', '/a'], ['a/b', '//']],
    ['$SYS/+/x', ['$SYS/1/x', '$SYS//x'], ['a/1/x', '$SYS/1/y']],
  ])('filter %j gets %j and not %j', async (filter, yes, no) => {
    const [a, b] = await pair();
    const seen: string[] = [];
    await on(b, filter, (message) => seen.push(message.topic));
    for (const topic of [...no, ...yes]) await emit(a, { topic });
    await settled(a, b);
    expect(seen).toEqual(yes);
  });

  test.each([
    ['spaces', 'a b/ c/d '],
    ['a dot, a star and an arrow', 'a.b/*/>'],
    ['empty levels', '//'],
    ['percent and tilde', '%/~/%25'],
    ['unicode', 'müller/日本/🚢'],
    ['1 KB', 'x'.repeat(1024)],
    ['1 KB of levels of 341 bytes', ['x', 'y', 'ü'].map((c) => c.repeat(341)).join('/')],
    ['33 levels', 'l/'.repeat(32) + 'l'],
    ['names of prototypes', '__proto__/constructor/toString'],
  ])('a topic with %s arrives as it is', async (_title, topic) => {
    const [a, b] = await pair();
    const seen: string[] = [];
    await on(b, topic, (message) => seen.push(message.topic));
    await emit(a, { topic });
    await settled(a, b);
    expect(seen).toEqual([topic]);
  });

  test('what a client publishes under $ stays on its node; what a node says there arrives', async () => {
    const [a, b] = await pair();
    const seen: string[] = [];
    for (const filter of ['$SYS/+/new/#', '$x/#', '$share/g/a']) {
      await on(b, filter, (message) => seen.push(message.topic));
    }
    const topics = ['$SYS/evil/new/clients', '$x/y', '$share/g/a'];
    for (const topic of topics) await emit(a, { topic, clientId: 'mallory' });
    for (const topic of topics.slice(1)) await emit(a, { topic });
    await emit(a, { topic: '$SYS/node/new/clients', payload: Buffer.from('id') });
    await settled(a, b);
    expect(seen).toEqual(['$SYS/node/new/clients']);
  });

  test('a removed listener is silent, and its subscription goes with the last one', async () => {
    const [a, b] = await pair();
    const seen: string[] = [];
    const listener = (_message: BusMessage, done: () => void): void => {
      seen.push('removed');
      done();
    };
    await on(b, 'x/#', () => seen.push('stays'));
    b.on('x/y', listener);
    b.on('x/y', listener);
    const remove = (): Promise<void> =>
      new Promise((resolve) => b.removeListener('x/y', listener, resolve));
    await remove();
    await emit(a, { topic: 'x/y' });
    await settled(a, b);
    expect(seen.splice(0).sort()).toEqual(['removed', 'stays']);
    await remove();
    await remove(); // One too many changes nothing.
    await emit(a, { topic: 'x/y' });
    await settled(a, b);
    expect(seen.splice(0)).toEqual(['stays']);
    await new Promise<void>((resolve) => b.removeAllListeners('x/#', resolve));
    const before = b.counts;
    await emit(a, { topic: 'x/y' });
    await settled(a, b);
    expect(seen).toEqual([]);
    expect(b.counts).toEqual(before);
  });

  test('a payload of 1 MiB arrives with all fields of its packet', async () => {
    const [a, b] = await pair();
    const payload = Buffer.alloc(1024 * 1024, 'x');
    const packet: BusMessage = {
      cmd: 'publish',
      topic: 'big',
      payload,
      qos: 1,
      retain: false,
      dup: false,
      brokerId: 'node',
      brokerCounter: 7,
      clientId: 'c',
      properties: { userProperties: { a: 'b' } },
    };
    const seen: BusMessage[] = [];
    await on(b, 'big', (message) => seen.push(message));
    expect(await emit(a, packet)).toBeNull();
    await settled(a, b);
    const [message] = seen;
    if (message === undefined || seen.length !== 1) throw new Error('not once');
    expect(Buffer.isBuffer(message.payload)).toBe(true);
    expect(payload.equals(message.payload as Buffer)).toBe(true);
    expect({ ...message, payload: 0 }).toEqual({ ...packet, payload: 0 });
  });

  test('a message above max_payload is an error for who emits, and later ones arrive', async () => {
    const [a, b] = await pair();
    const seen: number[] = [];
    await on(b, 'big', (message) => seen.push(message.payload?.length ?? 0));
    const error = await emit(a, { topic: 'big', payload: Buffer.alloc(2 * 1024 * 1024) });
    expect(isOperational(error, 'message_bus_unavailable')).toBe(true);
    expect(await emit(a, { topic: 'big', payload: Buffer.alloc(3) })).toBeNull();
    await settled(a, b);
    expect(seen).toEqual([3]);
    expect(a.counts.unsent).toBe(1);
  });

  test('20,000 messages from both nodes arrive in order and without loss', async () => {
    const [a, b] = await pair();
    const seen = new Map<string, number[]>();
    await on(b, 'flood/#', (message) => {
      const from = seen.get(message.topic) ?? [];
      seen.set(message.topic, from);
      from.push(Number(message.payload?.toString()));
    });
    for (let count = 0; count < 10_000; count++) {
      a.emit({ topic: 'flood/a', payload: Buffer.from(String(count)) });
      b.emit({ topic: 'flood/b', payload: Buffer.from(String(count)) });
    }
    await settled(a, b);
    const all = Array.from({ length: 10_000 }, (_, index) => index);
    expect(seen.get('flood/a')).toEqual(all);
    expect(seen.get('flood/b')).toEqual(all);
  });

  test('a publisher that outruns the server waits for it', async () => {
    const [a] = await pair();
    const payload = Buffer.alloc(512 * 1024);
    let early = true;
    const results: boolean[] = [];
    for (let count = 0; count < 10; count++)
      a.emit({ topic: 'x', payload }, () => results.push(early));
    early = false;
    await emit(a, { topic: 'x' });
    expect(results.slice(0, 7)).toEqual(Array(7).fill(true)); // 4 MiB are let through at once.
    expect(results.slice(7)).toEqual([false, false, false]);
  });

  test('a frame of an unknown version or no frame at all is dropped and reported', async () => {
    const problems: OperationalError[] = [];
    const prefix = `test-${++prefixes}`;
    const bus = await open({ prefix, onProblem: (problem) => problems.push(problem) });
    const seen: string[] = [];
    await on(bus, 'x', (message) => seen.push(message.payload?.toString() ?? ''));
    const foreign = await connect({ servers: server.address });
    const origin = Buffer.alloc(8, 1);
    const frame = encodeFrame({ origin, sequence: 1 }, { topic: 'x', payload: 'good' });
    foreign.publish(`${prefix}.m.x`, Buffer.from([2, ...(frame ?? []).slice(1)]));
    foreign.publish(`${prefix}.m.x`, Buffer.alloc(0));
    foreign.publish(`${prefix}.m.x`, Buffer.from(frame ?? []));
    foreign.publish(`${prefix}.m.x`, Buffer.from(frame ?? [])); // A copy.
    await foreign.drain();
    const other = await open({ prefix });
    await settled(other, bus);
    expect(seen).toEqual(['good']);
    expect(bus.counts).toMatchObject({ dropped: 2, duplicates: 1 });
    expect(problems.map((problem) => problem.message)).toEqual([
      'a frame was dropped: unknown_version',
      'a frame was dropped: malformed',
    ]);
  });
});

describe('when the server goes', () => {
  test('emit does not throw, subscriptions come back, and the gap is reported', async () => {
    await using own = await startNatsServer();
    const gaps: BusGap[] = [];
    const problems: string[] = [];
    const reconnected = (): { options: Partial<NatsMessageBusOptions>; done: Promise<void> } => {
      let resolve: () => void = () => undefined;
      const done = new Promise<void>((call) => (resolve = call));
      return {
        done,
        options: {
          connection: { servers: own.address },
          onReconnect: (gap) => {
            gaps.push(gap);
            resolve();
          },
          onProblem: (problem) => problems.push(problem.message),
        },
      };
    };
    const [first, second] = [reconnected(), reconnected()];
    const a = await open(first.options);
    const b = await open(second.options);
    const seen: string[] = [];
    await on(b, 'x', (message) => seen.push(message.payload?.toString() ?? ''));
    await on(a, 'x', (message) => seen.push(`local ${message.payload?.toString() ?? ''}`));
    await own.kill();
    await expect.poll(() => a.connected || b.connected).toBe(false);
    expect(problems).toContain('the connection is lost');
    expect(await emit(a, { topic: 'x', payload: 'lost' })).toBeNull();
    await on(b, 'late', (message) => seen.push(`late ${message.payload?.toString() ?? ''}`));
    await own.process.start();
    await Promise.all([first.done, second.done]);
    expect(a.connected && b.connected).toBe(true);
    await settled(a, b);
    await emit(a, { topic: 'x', payload: 'after' });
    await emit(a, { topic: 'late', payload: 'after' });
    await settled(a, b);
    expect(seen).toEqual(['local lost', 'local after', 'after', 'late after']);
    expect(gaps.map((gap) => gap.reconnects)).toEqual([1, 1]);
    expect(gaps.map((gap) => gap.unsent).sort()).toEqual([0, 1]);
    expect(gaps.every((gap) => gap.durationMs > 0)).toBe(true);
    expect(a.counts.reconnects).toBe(1);
  });

  test('a frozen server is noticed', async () => {
    await using own = await startNatsServer();
    const bus = await open({ connection: { servers: own.address } });
    own.process.freeze();
    await expect.poll(() => bus.connected, { timeout: 10_000 }).toBe(false);
    own.process.thaw();
    await expect.poll(() => bus.connected, { timeout: 10_000 }).toBe(true);
  });

  test('an absent server, or one with the default max_payload, is refused at once', async () => {
    await using small = await startNatsServer({ payloadBytesMax: 1024 * 1024 });
    await expect(
      openNatsMessageBus({ connection: { servers: small.address } }),
    ).rejects.toMatchObject({
      code: 'message_bus_unavailable',
      message: expect.stringMatching(/max_payload/) as string,
    });
    await open({ connection: { servers: small.address }, payloadBytesMax: 512 * 1024 });
    await small.kill();
    await expect(
      openNatsMessageBus({ connection: { servers: small.address } }),
    ).rejects.toMatchObject({
      code: 'message_bus_unavailable',
    });
  });

  test('close ends it: what was emitted leaves first, and nothing comes in', async () => {
    const [a, b] = await pair();
    const seen: string[] = [];
    await on(a, 'x', () => seen.push('a'));
    let arrive: () => void = () => undefined;
    const arrived = new Promise<void>((resolve) => (arrive = resolve));
    await on(b, 'x', () => arrive());
    a.emit({ topic: 'x' });
    await a[Symbol.asyncDispose]();
    await arrived;
    expect(a.connected).toBe(false);
    await emit(b, { topic: 'x' });
    expect(isOperational(await emit(a, { topic: 'x' }), 'message_bus_unavailable')).toBe(true);
    await new Promise<void>((resolve) => a.on('y', () => undefined, resolve));
    await a[Symbol.asyncDispose]();
    expect(seen).toEqual(['a']);
  });
});
