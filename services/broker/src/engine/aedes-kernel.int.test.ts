import { randomUUID } from 'node:crypto';
import { openNatsMessageBus } from '@sallyport/message-bus/nats';
import type { Message } from '@sallyport/mqtt-session';
import { createMemorySessionStore } from '@sallyport/session-store';
import { type NatsServer, startNatsServer } from '@sallyport/test-kit';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { AedesKernel } from './aedes-kernel.ts';

let nats: NatsServer;
const open: AedesKernel[] = [];

beforeAll(async () => {
  nats = await startNatsServer();
});
afterEach(async () => {
  for (const kernel of open.splice(0)) await kernel.close();
});
afterAll(() => nats.stop());

interface Heard {
  readonly kernel: AedesKernel;
  readonly messages: Message[];
  readonly signals: string[];
}

async function node(prefix: string): Promise<Heard> {
  const bus = await openNatsMessageBus({ connection: { servers: nats.address }, prefix });
  const kernel = await AedesKernel.start({
    store: createMemorySessionStore(),
    bus,
    onProblem: (problem) => {
      throw problem;
    },
  });
  open.push(kernel);
  const messages: Message[] = [];
  const signals: string[] = [];
  await kernel.connect({
    receive: (message) => messages.push(message),
    signalled: (brokerId, topic, payload) => signals.push(`${brokerId} ${topic} ${payload}`),
    nodeGone: () => undefined,
    lateTargets: () => [],
  });
  return { kernel, messages, signals };
}

const wanted = (kernel: AedesKernel, filter: string): Promise<void> =>
  new Promise((resolve) => kernel.want(filter, resolve));

const message = (topic: string): Message => ({
  topic,
  payload: Buffer.from('x'),
  qos: 1,
  retain: false,
  clientId: 'publisher',
  properties: {
    correlationData: Buffer.from([0, 255]),
    userProperties: [['a', 'b']],
    routing: { targets: [['m', '$share/g/t', 'n']] },
  },
});

it('brings a message to the nodes that want it, once, with all that belongs to it', async () => {
  const prefix = `test-${randomUUID()}`;
  const [a, b, c] = [await node(prefix), await node(prefix), await node(prefix)];
  await wanted(b.kernel, 't/#');
  await wanted(b.kernel, 't/+');
  await wanted(c.kernel, 'other');
  await new Promise((resolve) => a.kernel.publish(message('t/1'), undefined, resolve));
  await expect.poll(() => b.messages).toHaveLength(1);
  const { properties, ...sent } = message('t/1');
  expect(b.messages[0]).toMatchObject({ ...sent, brokerId: a.kernel.brokerId });
  expect(b.messages[0]?.properties).toEqual(properties);
  expect([a.messages.length, c.messages.length]).toEqual([1, 0]);

  // Wanted twice, and given up once.
  b.kernel.unwant('t/+');
  b.kernel.unwant('t/#');
  await wanted(b.kernel, 'last');
  await new Promise((resolve) => a.kernel.publish(message('t/2'), undefined, resolve));
  await new Promise((resolve) => a.kernel.publish(message('last'), undefined, resolve));
  await expect.poll(() => b.messages.map(({ topic }) => topic)).toEqual(['t/1', 'last']);
});

it('brings what one node says to the others, with its name', async () => {
  const prefix = `test-${randomUUID()}`;
  const [a, b] = [await node(prefix), await node(prefix)];
  a.kernel.signal('takeover', () => '{"clientId":"c"}');
  const said = `${a.kernel.brokerId} takeover {"clientId":"c"}`;
  await expect.poll(() => b.signals).toEqual([said]);
});
