import { OperationalError } from '@sallyport/errors';
import { createLocalBus } from '@sallyport/message-bus';
import type { Message } from '@sallyport/mqtt-session';
import { createMemorySessionStore, type SessionStore } from '@sallyport/session-store';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AedesKernel } from './aedes-kernel.ts';

const NOW = 1_000_000;

/** A store that works, or does not. */
function storeOf(inner: SessionStore, failing: { now: boolean }): SessionStore {
  return new Proxy(inner, {
    get(target, key) {
      const value: unknown = Reflect.get(target, key, target);
      if (typeof value !== 'function') return value;
      if (key !== 'outgoingEnqueueCombi' && key !== 'storeRetained') {
        return value.bind(target) as unknown;
      }
      return (...args: unknown[]): unknown => {
        if (!failing.now) return Reflect.apply(value, target, args);
        return Promise.reject(new OperationalError('session_store_unavailable', 'for the test'));
      };
    },
  });
}

describe('the publish pipeline', () => {
  const failing = { now: false };
  const received: Message[] = [];
  const problems: OperationalError[] = [];
  let store: SessionStore;
  let kernel: AedesKernel;

  beforeEach(async () => {
    failing.now = false;
    received.length = 0;
    problems.length = 0;
    store = storeOf(createMemorySessionStore(), failing);
    kernel = await AedesKernel.start({
      store,
      bus: createLocalBus(),
      onProblem: (problem) => problems.push(problem),
    });
    await kernel.connect({
      receive: (message) => received.push(message),
      signalled: () => undefined,
      nodeGone: () => undefined,
      lateTargets: () => [],
    });
  });

  afterEach(() => kernel.close());

  const message = (fields: Partial<Message> = {}): Message => ({
    topic: 'a/b',
    payload: Buffer.from('x'),
    qos: 1,
    retain: false,
    clientId: 'publisher',
    ...fields,
  });

  const publish = (
    one: Message,
    incoming?: { clientId: string; messageId: number },
  ): Promise<Error | null | undefined> =>
    new Promise((resolve) => kernel.publish(one, incoming, resolve));

  const subscribed = async (clientId: string, topic: string): Promise<void> => {
    await store.openSession({
      clientId,
      owner: 'o',
      principal: {},
      expirySeconds: 60,
      nodeId: 'n',
      cleanStart: false,
      now: NOW,
    });
    await store.addSubscriptions({ id: clientId }, [{ topic, qos: 1 }]);
  };

  const queued = async (clientId: string): Promise<string[]> => {
    const page = await store.readQueue(clientId, { after: 0, limit: 100 });
    return page.map(({ packet }) => (packet.payload ?? '').toString());
  };

  it('has a message in the queues before anybody receives it', async () => {
    await subscribed('c', 'a/#');
    const order: string[] = [];
    await kernel.connect({
      receive: () => order.push('received'),
      signalled: () => undefined,
      nodeGone: () => undefined,
      lateTargets: () => [],
    });
    const enqueue = store.outgoingEnqueueCombi.bind(store);
    store.outgoingEnqueueCombi = async (...args) => {
      await enqueue(...args);
      order.push('queued');
    };
    await publish(message());
    expect(order).toEqual(['queued', 'received']);
    expect(await queued('c')).toEqual(['x']);
  });

  it('neither receives nor calls it done when the queues are not to be had', async () => {
    failing.now = true;
    const error = await publish(message());
    expect(error).toMatchObject({ code: 'session_store_unavailable' });
    expect(await publish(message({ qos: 0, retain: true }))).toMatchObject({
      code: 'session_store_unavailable',
    });
    expect(received).toEqual([]);
    failing.now = false;
    expect(await publish(message())).toBeFalsy();
    expect(received).toHaveLength(1);
  });

  it('hands a message with QoS 0 over in the same turn, and names every message once', () => {
    let done = 0;
    for (let index = 0; index < 3; index++) {
      kernel.publish(message({ qos: 0 }), undefined, () => done++);
    }
    expect([received.length, done]).toEqual([3, 3]);
    expect(new Set(received.map((one) => one.brokerCounter)).size).toBe(3);
    expect(received.every(({ brokerId }) => brokerId === kernel.brokerId)).toBe(true);
  });

  it('notes the QoS 2 packet that a message came in as, also when nobody is subscribed', async () => {
    await publish(message({ qos: 2 }), { clientId: 'publisher', messageId: 7 });
    expect(await store.incomingIds('publisher')).toEqual([7]);
    failing.now = true;
    await publish(message({ qos: 2 }), { clientId: 'publisher', messageId: 8 });
    failing.now = false;
    expect(await store.incomingIds('publisher')).toEqual([7]);
  });

  it('sends on whom a message was stored for late, together with who was picked before', async () => {
    await subscribed('m1', '$share/g/a/#');
    await subscribed('m2', '$share/h/a/#');
    await kernel.connect({
      receive: (one) => received.push(one),
      signalled: () => undefined,
      nodeGone: () => undefined,
      lateTargets: () => [['m1', '$share/g/a/#', '']],
    });
    const properties = { routing: { targets: [['m2', '$share/h/a/#', 'n']] as const } };
    await publish(message({ properties }));
    expect([await queued('m1'), await queued('m2')]).toEqual([['x'], ['x']]);
    expect(received.map((one) => one.properties?.routing?.targets)).toEqual([
      [
        ['m2', '$share/h/a/#', 'n'],
        ['m1', '$share/g/a/#', ''],
      ],
    ]);
  });

  it('queues for the picked member of a share group, and for no other', async () => {
    const shared = '$share/g/a/#';
    await subscribed('m1', shared);
    await subscribed('m2', shared);
    await subscribed('plain', 'a/b');
    const properties = { contentType: 't', routing: { targets: [['m2', shared, '']] as const } };
    await publish(message({ properties }));
    expect([await queued('m1'), await queued('m2'), await queued('plain')]).toEqual([
      [],
      ['x'],
      ['x'],
    ]);
    const [entry] = await store.readQueue('m2', { after: 0, limit: 1 });
    expect(entry).toMatchObject({ sharedFilter: shared, qos: 1 });
    expect(entry?.packet.properties).toEqual({ contentType: 't' });
  });

  it('retains without what was added for the way between nodes', async () => {
    const properties = { routing: { targets: [['m', '$share/g/#', '']] as const } };
    await publish(message({ retain: true, properties }));
    const [retained] = await store.retainedMessages(['a/b'], NOW);
    expect(retained?.properties).toEqual({});
  });

  it('drops what somebody publishes where nodes speak to each other', async () => {
    expect(await publish(message({ topic: '$SYS/x/takeover' }))).toBeNull();
    expect(received).toEqual([]);
  });

  it('forwards without queueing', async () => {
    await subscribed('c', 'a/#');
    kernel.forward(message({ brokerId: kernel.brokerId, brokerCounter: kernel.nextCounter() }));
    expect(received).toHaveLength(1);
    expect(await queued('c')).toEqual([]);
    expect(problems).toEqual([]);
  });
});
