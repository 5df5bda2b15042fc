import { createMemorySessionStore, type SessionStore } from '@sallyport/session-store';
import { beforeEach, describe, expect, test } from 'vitest';
import { settle } from '../../test-support/settle.ts';
import type { TestClient } from '../../test-support/test-client.ts';
import { TestBus } from '../../test-support/test-kernel.ts';
import { TestNode } from '../../test-support/test-node.ts';
import { REFUSALS_MAX } from './sharing.ts';

const SHARED = '$share/g/t/#';
const persistent = {
  version: 5,
  cleanStart: false,
  properties: { sessionExpiryInterval: 600 },
} as const;

let bus: TestBus;
let store: SessionStore;
let nodes: TestNode[];
/** Who may not receive what is published here, beside those who are called blind. */
let revoked: Set<string>;

/** Three nodes; whoever is called blind may not receive what is published here. */
beforeEach(async () => {
  bus = new TestBus();
  store = createMemorySessionStore();
  nodes = [];
  revoked = new Set();
  for (const nodeId of ['one', 'two', 'three']) {
    const node = new TestNode({ bus, nodeId, store });
    node.hooks.grant = (rights) => {
      const { clientId } = rights;
      if (clientId.startsWith('blind') || revoked.has(clientId)) rights.noReceive.add('t/x');
      if (revoked.has(`${clientId} subscribe`)) rights.noSubscribe.add('t/#');
    };
    nodes.push(node);
  }
  await settle();
});

const nodeAt = (index: number): TestNode => {
  const node = nodes[index];
  if (node === undefined) throw new Error(`no node ${index}`);
  return node;
};

async function member(node: number, clientId: string, options: object = {}): Promise<TestClient> {
  const client = await nodeAt(node).connect(clientId, { answers: 'all', ...options });
  await client.subscribe(SHARED, 1);
  await settle();
  return client;
}

async function publishMany(node: number, count: number, qos: 0 | 1 | 2 = 1): Promise<string[]> {
  const publisher = await nodeAt(node).connect(`p-${Math.random()}`, { answers: 'all' });
  const payloads = Array.from({ length: count }, (_, index) => `m${1000 + index}`);
  for (const payload of payloads) publisher.publish({ topic: 't/x', payload, qos });
  await settle(60);
  return payloads;
}

const all = (...clients: TestClient[]): string[] =>
  clients.flatMap(({ payloads }) => payloads).sort();

describe('a message whose picked member may not receive it goes to one that may', () => {
  test.each([0, 1, 2] as const)('QoS %s: on the same node, and on others', async (qos) => {
    const blind = [await member(0, 'blind-0'), await member(1, 'blind-1')];
    const seeing = [await member(1, 'seeing-1'), await member(2, 'seeing-2')];
    const payloads = [...(await publishMany(0, 20, qos))];
    expect(all(...seeing)).toEqual(payloads);
    expect(all(...blind)).toEqual([]);
  });

  test('published where nobody may receive it, and picked in turn on every node', async () => {
    const blind = await Promise.all([0, 1, 1, 2].map((node, at) => member(node, `blind-${at}`)));
    const seeing = await member(2, 'seeing');
    const payloads = await publishMany(0, 20);
    expect(all(seeing)).toEqual(payloads);
    expect(all(...blind)).toEqual([]);
  });

  test('from the queue of a session that is connected, which then does not get it a second time', async () => {
    const blind = await member(1, 'blind', persistent);
    const seeing = await member(2, 'seeing');
    const payloads = await publishMany(0, 10);
    expect(all(seeing)).toEqual(payloads);
    expect(all(blind)).toEqual([]);
    expect(await store.readQueue('blind', { after: 0, limit: 10 })).toEqual([]);
  });

  test('to a stored session that nobody is connected of, when no other member is there', async () => {
    const away = await member(2, 'away', persistent);
    away.drop();
    await settle();
    await member(1, 'blind', persistent);
    const payloads = await publishMany(0, 5);
    const back = await nodeAt(0).connect('away', { answers: 'all', ...persistent });
    await settle(30);
    expect(all(back)).toEqual(payloads);
  });
});

describe('what waits in the queue of a member that has lost its right', () => {
  /** Queued for a member that was away, and is told of its new rights when it comes back. */
  async function queued(count: number, qos: 1 | 2 = 1): Promise<string[]> {
    const away = await member(1, 'away', persistent);
    away.drop();
    await settle();
    const payloads = await publishMany(0, count, qos);
    expect(await store.readQueue('away', { after: 0, limit: 100 })).toHaveLength(count);
    revoked.add('away');
    return payloads;
  }

  async function comesBack(node = 1): Promise<TestClient> {
    const back = await nodeAt(node).connect('away', { answers: 'all', ...persistent });
    await settle(60);
    return back;
  }

  const kept = async (clientId: string) =>
    (await store.readQueue(clientId, { after: 0, limit: 100 })).length;

  test.each([1, 2] as const)(
    'QoS %s: goes to a member on its node or on another one',
    async (qos) => {
      for (const node of [1, 2]) {
        revoked.clear();
        const payloads = await queued(5, qos);
        const seeing = await member(node, `seeing-${node}`);
        const back = await comesBack();
        expect(seeing.payloads.sort()).toEqual(payloads);
        expect([back.payloads, await kept('away')]).toEqual([[], 0]);
        seeing.disconnect();
        back.disconnect(0, { sessionExpiryInterval: 0 });
        await settle();
      }
    },
  );

  test('goes on also where its subscription is lost with the right', async () => {
    const payloads = await queued(5);
    revoked.add('away subscribe');
    const seeing = await member(2, 'seeing');
    const back = await comesBack();
    expect([seeing.payloads.sort(), back.payloads]).toEqual([payloads, []]);
  });

  test('waits for a member that is away itself, and that one gets no word of who refused it', async () => {
    const payloads = await queued(5);
    const other = await member(2, 'other', persistent);
    other.drop();
    await settle();
    await comesBack();
    expect([await kept('away'), await kept('other')]).toEqual([0, 5]);
    const back = await nodeAt(2).connect('other', { answers: 'all', ...persistent });
    await settle(60);
    expect(back.payloads.sort()).toEqual(payloads);
    expect(JSON.stringify(back.received)).not.toContain('refusedAt');
  });

  test('goes on when it was sent with QoS 1 and never acknowledged', async () => {
    const away = await member(1, 'away', { ...persistent, answers: 'none' });
    const payloads = await publishMany(0, 3);
    expect(away.payloads).toEqual(payloads);
    away.drop();
    await settle();
    revoked.add('away');
    const seeing = await member(2, 'seeing');
    await comesBack();
    expect([seeing.payloads.sort(), await kept('away')]).toEqual([payloads, 0]);
  });

  test('stays there when it cannot be stored for another', async () => {
    await queued(2);
    const other = await member(2, 'other', persistent);
    other.drop();
    await settle();
    const enqueue = store.outgoingEnqueueCombi.bind(store);
    store.outgoingEnqueueCombi = () => Promise.reject(new Error('away'));
    await comesBack();
    store.outgoingEnqueueCombi = enqueue;
    expect([await kept('away'), await kept('other')]).toEqual([2, 0]);
  });

  test('ends when nobody may receive it, however many come back for it', async () => {
    const names = ['away', 'blind-a', 'blind-b', 'blind-c'];
    await queued(1);
    for (const [index, name] of names.entries()) {
      if (name === 'away') continue;
      const blind = await member(index % 3, name, persistent);
      blind.drop();
      await settle();
    }
    let handedOn = 0;
    const enqueue = store.outgoingEnqueueCombi.bind(store);
    store.outgoingEnqueueCombi = (...call) => {
      handedOn++;
      return enqueue(...call);
    };
    for (let round = 0; round < 20; round++) {
      for (const name of names) {
        const back = await nodeAt(round % 3).connect(name, { answers: 'all', ...persistent });
        await settle(5);
        back.drop();
        await settle(5);
      }
    }
    expect(handedOn).toBeGreaterThan(4);
    expect(handedOn).toBeLessThanOrEqual(REFUSALS_MAX);
    expect(await Promise.all(names.map(kept))).toEqual([0, 0, 0, 0]);
  });
});

describe('a message that no member may receive', () => {
  test.each([0, 1, 2] as const)(
    'QoS %s: ends after every node has refused it once',
    async (qos) => {
      const blind = await Promise.all(
        [0, 0, 1, 1, 2, 2].map((node, at) =>
          member(node, `blind-${at}`, at % 2 === 0 ? persistent : {}),
        ),
      );
      let forwarded = 0;
      for (const node of nodes) {
        const forward = node.kernel.forward.bind(node.kernel);
        node.kernel.forward = (message) => {
          forwarded++;
          forward(message);
        };
      }
      await publishMany(0, 5, qos);
      await settle(100);
      expect(all(...blind)).toEqual([]);
      expect(forwarded).toBeLessThanOrEqual(5 * nodes.length);
      const before = forwarded;
      await settle(100);
      expect(forwarded).toBe(before);
    },
  );
});
