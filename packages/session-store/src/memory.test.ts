import { describe, expect, test } from 'vitest';
import { persistenceContract } from '../test-support/contract.ts';
import { createMemorySessionStore } from './index.ts';

describe('the memory store', () => {
  persistenceContract(() => Promise.resolve(createMemorySessionStore()));

  test('a packet is queued once for a session that several filters name', async () => {
    const store = createMemorySessionStore();
    const twice = [{ clientId: 'c' }, { clientId: 'd' }, { clientId: 'c' }];
    await store.outgoingEnqueueCombi(twice, { cmd: 'publish', topic: 'a', qos: 2 });
    expect(await store.outgoingStream({ id: 'c' }).toArray()).toHaveLength(1);
    expect(await store.outgoingStream({ id: 'd' }).toArray()).toHaveLength(1);
  });

  test('is always connected', () => {
    expect(createMemorySessionStore().connected).toBe(true);
  });
});
