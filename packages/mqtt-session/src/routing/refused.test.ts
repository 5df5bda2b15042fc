import { createMemorySessionStore, type SessionStore } from '@sallyport/session-store';
import { beforeEach, describe, expect, test } from 'vitest';
import { settle } from '../../test-support/settle.ts';
import type { TestClient } from '../../test-support/test-client.ts';
import { TestBus } from '../../test-support/test-kernel.ts';
import { TestNode } from '../../test-support/test-node.ts';

const SHARED = '$share/g/t/#';
const persistent = {
  version: 5,
  cleanStart: false,
  properties: { sessionExpiryInterval: 600 },
} as const;

let bus: TestBus;
let store: SessionStore;
let nodes: TestNode[];

/** Three nodes; whoever is called blind may not receive what is published here. */
beforeEach(async () => {
  bus = new TestBus();
  store = createMemorySessionStore();
  nodes = [];
  for (const nodeId of ['one', 'two', 'three']) {
    const node = new TestNode({ bus, nodeId, store });
    node.hooks.grant = (rights) => {
      if (rights.clientId.startsWith('blind')) rights.noReceive.add('t/x');
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
