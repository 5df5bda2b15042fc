import { describe, expect, test } from 'vitest';
import { persistenceContract } from '../test-support/contract.ts';
import { loneBroker, sessionContract } from '../test-support/session-contract.ts';
import { createMemorySessionStore } from './index.ts';

describe('the memory store', () => {
  persistenceContract(() => Promise.resolve(createMemorySessionStore()));

  sessionContract(async (options) => {
    const store = createMemorySessionStore(options);
    await store.setup(loneBroker);
    return store;
  });

  test('is always connected', () => {
    expect(createMemorySessionStore().connected).toBe(true);
  });

  test('what it was given may change afterwards', async () => {
    const store = createMemorySessionStore();
    const packet = { cmd: 'publish', topic: 'a', payload: Buffer.from('x'), qos: 1 as 0 | 1 };
    await store.outgoingEnqueue({ clientId: 'c' }, packet);
    await store.storeRetained(packet);
    packet.qos = 0;
    packet.topic = 'b';
    expect(await store.readQueue('c', { after: 0, limit: 1 })).toMatchObject([
      { packet: { topic: 'a', qos: 1 } },
    ]);
    expect(await store.retainedMessages(['#'], 0)).toMatchObject([{ topic: 'a', qos: 1 }]);
  });
});
