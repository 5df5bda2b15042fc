import { createMemorySessionStore } from '@sallyport/session-store';
import { expect, test } from 'vitest';
import { settle } from '../test-support/settle.ts';
import { TestBus } from '../test-support/test-kernel.ts';
import { TestNode } from '../test-support/test-node.ts';

const stored = {
  version: 5,
  cleanStart: false,
  properties: { sessionExpiryInterval: 60 },
} as const;

test('after a gap of the bus a connected session gets what was stored for it meanwhile, once and in order', async () => {
  const bus = new TestBus();
  const store = createMemorySessionStore();
  const one = new TestNode({ nodeId: 'one', bus, store });
  const two = new TestNode({ nodeId: 'two', bus, store });
  const subscriber = await one.connect('subscriber', stored);
  await subscriber.subscribe('t', 1);
  const publisher = await two.connect('publisher', { version: 5 });
  const publish = async (payload: string, packetId: number): Promise<void> => {
    publisher.publish({ topic: 't', payload, qos: 1, packetId });
    await publisher.expect('puback');
    await settle();
  };
  const next = async (): Promise<string> => {
    const packet = await subscriber.expect('publish');
    subscriber.ack('puback', packet.packetId);
    return packet.payload.toString();
  };

  await publish('before', 1);
  expect(await next()).toBe('before');
  const link = `${two.kernel.brokerId} ${one.kernel.brokerId}`;
  bus.cut.add(link);
  await publish('missed 1', 2);
  await publish('missed 2', 3);
  expect(subscriber.unread()).toEqual([]);
  bus.cut.delete(link);
  one.engine.catchUp();
  await publish('after', 4);
  expect([await next(), await next(), await next()]).toEqual(['missed 1', 'missed 2', 'after']);
  one.engine.catchUp();
  await settle();
  expect(subscriber.unread()).toEqual([]);
});
