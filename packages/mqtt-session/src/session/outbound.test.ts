import { createMemorySessionStore } from '@sallyport/session-store';
import { describe, expect, test } from 'vitest';
import { OutboundBench, terms } from '../../test-support/outbound-bench.ts';
import { settle } from '../../test-support/settle.ts';
import { StoreControl } from '../../test-support/test-store.ts';
import { reasonCode } from '../codec/index.ts';
import { LATE_PUBLISH_MS, RECENT_KEPT_MS } from './outbound.ts';

const numbers = (count: number): number[] => Array.from({ length: count }, (_, index) => index + 1);

const storedBench = (options: ConstructorParameters<typeof OutboundBench>[0] = {}) => {
  const control = new StoreControl(createMemorySessionStore());
  const bench = new OutboundBench({ store: control.store, ...options });
  return { bench, control, line: bench.line };
};

describe('the window', () => {
  test('MQTT-5.0 [MQTT-3.3.4-9] no more is sent than the client takes; each PUBACK lets one more out', async () => {
    const bench = new OutboundBench({ window: 2 });
    for (const number of numbers(4)) await bench.publish(`m${number}`);
    expect(bench.line.take()).toEqual(['publish m1 q1 #1', 'publish m2 q1 #2']);
    expect(bench.outbound.hasRoom).toBe(false);
    bench.outbound.acknowledge(1, 1);
    expect(bench.line.take()).toEqual(['publish m3 q1 #3']);
    bench.outbound.acknowledge(3, 1);
    bench.outbound.acknowledge(2, 1);
    expect(bench.line.take()).toEqual(['publish m4 q1 #4']);
    expect(bench.outbound.hasRoom).toBe(true);
  });

  test('MQTT-5.0 §4.9 with QoS 2 the place is free at the PUBCOMP, not at the PUBREC', async () => {
    const bench = new OutboundBench({ window: 1 });
    await bench.publish('m1', 2);
    await bench.publish('m2', 2);
    expect(bench.line.take()).toEqual(['publish m1 q2 #1']);
    bench.outbound.received(1);
    expect(bench.line.take()).toEqual(['pubrel #1 0']);
    bench.outbound.completed(1);
    expect(bench.line.take()).toEqual(['publish m2 q2 #2']);
  });

  test('MQTT-5.0 §4.3.3 a PUBREC with an error frees the place', async () => {
    const bench = new OutboundBench({ window: 1 });
    await bench.publish('m1', 2);
    await bench.publish('m2', 2);
    bench.line.take();
    bench.outbound.acknowledge(1, 2);
    expect(bench.line.take()).toEqual(['publish m2 q2 #2']);
  });

  test('MQTT-5.0 [MQTT-3.3.4-9] the end of an exchange of an earlier connection makes no room in this one', async () => {
    const { bench, line } = storedBench({ window: 2 });
    for (const number of numbers(2)) await bench.publish(`old${number}`, 2);
    await settle();
    for (const id of [1, 2]) bench.outbound.received(id);
    await settle();
    for (const number of numbers(4)) await bench.publish(`m${number}`, 1);
    line.take();
    bench.reconnect();
    await settle();
    expect(line.take()).toEqual([
      'pubrel #1 0',
      'pubrel #2 0',
      'publish m1 q1 #3',
      'publish m2 q1 #4',
    ]);
    for (const id of [1, 2]) bench.outbound.completed(id);
    await settle();
    expect(line.take()).toEqual([]);
    bench.outbound.acknowledge(3, 1);
    await settle();
    expect(line.take()).toEqual(['publish m3 q1 #5']);
  });

  test.each([
    ['PUBACK of an unknown id', (bench: OutboundBench) => bench.outbound.acknowledge(9, 1)],
    ['PUBACK of QoS 2', (bench: OutboundBench) => bench.outbound.acknowledge(2, 1)],
    ['PUBREC with an error of QoS 1', (bench: OutboundBench) => bench.outbound.acknowledge(1, 2)],
    ['PUBCOMP before PUBREC', (bench: OutboundBench) => bench.outbound.completed(2)],
    ['PUBCOMP of QoS 1', (bench: OutboundBench) => bench.outbound.completed(1)],
  ])('a %s frees nothing', async (_what, answer) => {
    const bench = new OutboundBench({ window: 2 });
    await bench.publish('m1', 1);
    await bench.publish('m2', 2);
    await bench.publish('m3', 1);
    bench.line.take();
    answer(bench);
    expect(bench.line.take()).toEqual([]);
    bench.outbound.acknowledge(1, 1);
    expect(bench.line.take()).toEqual(['publish m3 q1 #3']);
  });

  test('a PUBACK that comes twice frees one place', async () => {
    const bench = new OutboundBench({ window: 1 });
    for (const number of numbers(3)) await bench.publish(`m${number}`);
    bench.line.take();
    bench.outbound.acknowledge(1, 1);
    bench.outbound.acknowledge(1, 1);
    expect(bench.line.take()).toEqual(['publish m2 q1 #2']);
  });

  test('MQTT-5.0 §3.6.2.1 a PUBREC of an id that is not in use is answered with 0x92', async () => {
    const bench = new OutboundBench();
    await bench.publish('m1', 1);
    bench.line.take();
    bench.outbound.received(7);
    bench.outbound.received(1);
    expect(bench.line.take()).toEqual([
      `pubrel #7 ${reasonCode.packetIdentifierNotFound}`,
      `pubrel #1 ${reasonCode.packetIdentifierNotFound}`,
    ]);
  });

  test('MQTT-3.1.1 [MQTT-4.3.3-1] a repeated PUBREC is answered with PUBREL again', async () => {
    const bench = new OutboundBench();
    await bench.publish('m1', 2);
    bench.outbound.received(1);
    bench.outbound.received(1);
    expect(bench.line.take()).toEqual(['publish m1 q2 #1', 'pubrel #1 0', 'pubrel #1 0']);
  });
});

describe('packet ids', () => {
  test('MQTT-3.1.1 [MQTT-2.3.1-4] go round after 65535 without 0, and pass over those in use', async () => {
    const bench = new OutboundBench({ window: 2 });
    await bench.publish('stays');
    expect(bench.line.take()).toEqual(['publish stays q1 #1']);
    const wrong: string[] = [];
    for (let id = 2; id <= 65_535; id++) {
      bench.deliver(bench.message('x'));
      wrong.push(...bench.line.take().filter((line) => line !== `publish x q1 #${id}`));
      bench.outbound.acknowledge(id, 1);
    }
    expect(wrong).toEqual([]);
    await bench.publish('y');
    expect(bench.line.take()).toEqual(['publish y q1 #2']);
  });
});

describe('the queue of a session that ends with its connection', () => {
  test('takes as many messages as it may, and ends the connection at one more', async () => {
    const bench = new OutboundBench({ window: 1, limits: { queueMessagesMax: 3 } });
    for (const number of numbers(4)) await bench.publish(`m${number}`);
    expect(bench.line.failures).toEqual([]);
    await bench.publish('m5');
    expect(bench.line.failures).toMatchObject([{ reason: reasonCode.quotaExceeded }]);
    expect(bench.line.counts.get('queue_full')).toBe(1);
  });

  test('takes bytes up to its limit, and ends the connection at the message behind it', async () => {
    const bench = new OutboundBench({ window: 1, limits: { queueBytesMax: 20 } });
    await bench.publish('sent');
    await bench.publish('123456789'); // With its topic ten bytes.
    await bench.publish('123456789');
    expect(bench.line.failures).toEqual([]);
    await bench.publish('x');
    expect(bench.line.failures).toMatchObject([{ reason: reasonCode.quotaExceeded }]);
  });

  test('bytes that have left make room', async () => {
    const bench = new OutboundBench({ window: 1, limits: { queueBytesMax: 10 } });
    await bench.publish('sent');
    for (let id = 1; id <= 20; id++) {
      await bench.publish('123456789');
      bench.outbound.acknowledge(id, 1);
    }
    expect(bench.line.failures).toEqual([]);
    expect(bench.line.sent).toHaveLength(21);
  });

  test('keeps the order', async () => {
    const bench = new OutboundBench({ window: 3, limits: { queueMessagesMax: 1000 } });
    for (const number of numbers(200)) await bench.publish(`${number}`, number % 3 === 0 ? 2 : 1);
    for (let id = 1; id <= 200; id++) {
      bench.outbound.acknowledge(id, 1);
      bench.outbound.received(id);
      bench.outbound.completed(id);
    }
    const published = bench.line.sent.filter((line) => line.startsWith('publish'));
    expect(published.map((line) => line.split(' ')[1])).toEqual(numbers(200).map(String));
  });
});

describe('a socket that holds back', () => {
  test('QoS 0 is dropped, and counted, until it takes bytes again', async () => {
    const bench = new OutboundBench();
    bench.line.congested = true;
    await bench.publish('m1', 0);
    expect(bench.line.take()).toEqual([]);
    expect(bench.line.counts.get('delivery_dropped')).toBe(1);
    bench.line.congested = false;
    await bench.publish('m2', 0);
    expect(bench.line.take()).toEqual(['publish m2 q0']);
  });

  test('QoS 1 waits, and leaves when the socket takes bytes again', async () => {
    const bench = new OutboundBench();
    bench.line.congested = true;
    await bench.publish('m1');
    expect(bench.line.take()).toEqual([]);
    bench.line.congested = false;
    bench.outbound.drained();
    expect(bench.line.take()).toEqual(['publish m1 q1 #1']);
  });

  test('the queue stops in the middle when the socket is full, and goes on there', async () => {
    const bench = new OutboundBench({ window: 10 });
    bench.line.congested = true;
    for (const number of numbers(4)) await bench.publish(`m${number}`);
    bench.line.congested = false;
    bench.line.onSent = () => (bench.line.congested = bench.line.sent.length === 2);
    bench.outbound.drained();
    expect(bench.line.take()).toEqual(['publish m1 q1 #1', 'publish m2 q1 #2']);
    bench.line.congested = false;
    bench.outbound.drained();
    expect(bench.line.take()).toEqual(['publish m3 q1 #3', 'publish m4 q1 #4']);
  });
});

describe('what is not delivered', () => {
  test('MQTT-5.0 [MQTT-3.3.2-5] an expired message, when its time comes in the queue', async () => {
    const { bench, line } = storedBench({ window: 1 });
    await bench.publish('m1');
    await bench.publish('late', 1, { messageExpiry: 2000 });
    await bench.publish('m3', 1, { messageExpiry: 2001 });
    bench.now = 2000;
    bench.outbound.acknowledge(1, 1);
    expect(line.take()).toEqual(['publish m1 q1 #1', 'publish m3 q1 #2']);
    expect(line.counts.get('delivery_expired')).toBe(1);
    await settle();
    expect(await bench.queued()).toEqual(['m3 sent #2']);
  });

  test('one that the client may not receive any more; it leaves the store too', async () => {
    const { bench, line } = storedBench();
    line.denied.add('secret');
    await bench.publish('m1', 1, { topic: 'secret' });
    await bench.publish('m2', 2, { topic: 'secret' });
    await bench.publish('m3', 0, { topic: 'secret' });
    await bench.publish('m4');
    await settle();
    expect(line.take()).toEqual(['publish m4 q1 #1']);
    expect(line.counts.get('delivery_denied')).toBe(3);
    expect(await bench.queued()).toEqual(['m4 sent #1']);
  });

  test('MQTT-5.0 [MQTT-3.1.2-25] one that is too large for the client, as if it had been delivered', async () => {
    const { bench, line } = storedBench({ window: 1 });
    line.payloadMax = 4;
    await bench.publish('12345', 1);
    await bench.publish('12345', 2);
    await bench.publish('12345', 0);
    await bench.publish('1234', 1);
    await settle();
    expect(line.take()).toEqual(['publish 1234 q1 #3']);
    expect(line.counts.get('delivery_too_large')).toBe(3);
    expect(await bench.queued()).toEqual(['1234 sent #3']);
  });

  test('a thousand of them in a row cost no stack', async () => {
    const bench = new OutboundBench({ window: 1, limits: { queueMessagesMax: 20_000 } });
    await bench.publish('m1');
    for (let count = 0; count < 20_000; count++) await bench.publish('too large');
    bench.line.payloadMax = 2;
    bench.outbound.acknowledge(1, 1);
    expect(bench.line.counts.get('delivery_too_large')).toBe(20_000);
    await bench.publish('m2');
    expect(bench.line.sent.at(-1)).toMatch('publish m2 q1');
  });
});

describe('the store of a session', () => {
  test('has the packet id of a QoS 2 message before it is sent', async () => {
    const { bench, line } = storedBench();
    const message = bench.message('m1', { qos: 2 });
    await bench.enqueue(message);
    bench.deliver(message);
    expect(line.take()).toEqual([]);
    await settle();
    expect(line.take()).toEqual(['publish m1 q2 #1']);
    expect(await bench.queued()).toEqual(['m1 sent #1']);
  });

  test('keeps QoS 1 behind a QoS 2 message that waits for it', async () => {
    const { bench, line } = storedBench();
    for (const [payload, qos] of [
      ['m1', 2],
      ['m2', 1],
      ['m3', 1],
      ['m4', 2],
    ] as const) {
      const message = bench.message(payload, { qos });
      await bench.enqueue(message);
      bench.deliver(message);
    }
    await settle();
    expect(line.take().map((one) => one.split(' ')[1])).toEqual(['m1', 'm2', 'm3', 'm4']);
  });

  test('knows of the PUBREC before the PUBREL goes out, and of nothing after the PUBCOMP', async () => {
    const { bench, line } = storedBench();
    await bench.publish('m1', 2);
    await settle();
    line.take();
    bench.outbound.received(1);
    expect(line.take()).toEqual([]);
    await settle();
    expect(line.take()).toEqual(['pubrel #1 0']);
    expect(await bench.queued()).toEqual([' released #1']);
    bench.outbound.completed(1);
    await settle();
    expect(await bench.queued()).toEqual([]);
  });

  test('that refused a message, because its queue was full, hinders no delivery with QoS 1', async () => {
    const control = new StoreControl(
      createMemorySessionStore({ limits: { queueMessagesMax: 1, queueBytesMax: 1000 } }),
    );
    const bench = new OutboundBench({ store: control.store, window: 2 });
    await bench.publish('m1', 1);
    await bench.publish('m2', 2);
    await bench.publish('m3', 1);
    await settle();
    expect(bench.line.take()).toEqual(['publish m1 q1 #1', 'publish m3 q1 #3']);
    expect(bench.line.counts.get('delivery_dropped')).toBe(1);
    bench.outbound.acknowledge(1, 1);
    bench.outbound.acknowledge(3, 1);
    await settle();
    expect(bench.line.failures).toEqual([]);
    expect(await bench.queued()).toEqual([]);
    expect(bench.outbound.hasRoom).toBe(true);
  });

  test('MQTT-5.0 [MQTT-4.3.3-1] that has it no more: a QoS 2 message that the bus brings late does not come twice', async () => {
    const { bench, line } = storedBench();
    const message = bench.message('m1', { qos: 2 });
    await bench.enqueue(message);
    bench.reconnect();
    await settle();
    bench.outbound.received(1);
    await settle();
    bench.outbound.completed(1);
    await settle();
    line.take();
    bench.reconnect();
    await settle();
    bench.deliver(message);
    await settle();
    expect(line.take()).toEqual([]);
  });

  test.each([
    ['outgoingUpdate', 'of a QoS 1 message', async (bench: OutboundBench) => bench.publish('m', 1)],
    ['outgoingUpdate', 'of a QoS 2 message', async (bench: OutboundBench) => bench.publish('m', 2)],
    [
      'outgoingClearMessageId',
      'at a PUBACK',
      async (bench: OutboundBench) => {
        await bench.publish('m', 1);
        bench.outbound.acknowledge(1, 1);
      },
    ],
    [
      'removeQueued',
      'of an expired message',
      async (bench: OutboundBench) => bench.publish('m', 1, { messageExpiry: 1 }),
    ],
    [
      'outgoingEnqueueCombi',
      'of a retained message',
      async (bench: OutboundBench) => {
        const batch = bench.outbound.expectRetained(terms(1));
        bench.outbound.deliverRetained(batch, [bench.message('r', { retain: true })]);
      },
    ],
    ['readQueue', 'at a resume', async (bench: OutboundBench) => bench.reconnect()],
  ] as const)('that is away at %s %s ends the connection', async (method, _when, act) => {
    const { bench, control, line } = storedBench();
    if (method !== 'outgoingEnqueueCombi') control.failing.add(method);
    else control.before.set(method, () => Promise.resolve(void control.failing.add(method)));
    await act(bench);
    await settle();
    expect(line.failures).toMatchObject([{ reason: reasonCode.implementationSpecificError }]);
  });

  test('that fails after the end of the connection is nobody’s business', async () => {
    const { bench, control, line } = storedBench();
    await bench.publish('m1');
    control.failing.add('outgoingClearMessageId');
    bench.outbound.acknowledge(1, 1);
    bench.outbound.close();
    await settle();
    expect(line.failures).toEqual([]);
  });
});

describe('a stored session that is resumed', () => {
  /** Three messages that were sent, the second one QoS 2 and received, and one that was not sent. */
  const interrupted = async () => {
    const all = storedBench({ window: 4 });
    const { bench, line } = all;
    await bench.publish('m1', 1);
    await bench.publish('m2', 2);
    await bench.publish('m3', 2);
    await bench.publish('m4', 1);
    await bench.publish('m5', 1);
    await settle();
    bench.outbound.received(2);
    await settle();
    line.take();
    return all;
  };

  test('MQTT-3.1.1 [MQTT-4.4.0-1] sends again with the same ids and DUP, PUBREL for what was received, then the rest', async () => {
    const { bench, line } = await interrupted();
    bench.reconnect();
    await settle();
    expect(line.take()).toEqual([
      'publish m1 q1 #1 dup',
      'pubrel #2 0',
      'publish m3 q2 #3 dup',
      'publish m4 q1 #4 dup',
      'publish m5 q1 #5',
    ]);
    for (const id of [1, 4, 5]) bench.outbound.acknowledge(id, 1);
    bench.outbound.completed(2);
    bench.outbound.received(3);
    await settle();
    expect(line.take()).toEqual(['pubrel #3 0']);
    bench.outbound.completed(3);
    await settle();
    expect(await bench.queued()).toEqual([]);
    await bench.publish('m6');
    expect(line.take()).toEqual(['publish m6 q1 #6']);
  });

  test('with a smaller window sends no more than that, in the same order', async () => {
    const { bench, line } = await interrupted();
    bench.reconnect({ window: 1, store: bench.store });
    await settle();
    expect(line.take()).toEqual(['publish m1 q1 #1 dup']);
    bench.outbound.acknowledge(1, 1);
    expect(line.take()).toEqual(['pubrel #2 0', 'publish m3 q2 #3 dup']);
    bench.outbound.received(3);
    await settle();
    bench.outbound.completed(3);
    expect(line.take()).toEqual(['pubrel #3 0', 'publish m4 q1 #4 dup']);
  });

  test('MQTT-5.0 [MQTT-4.4.0-1] sends again what has expired meanwhile, for its delivery has begun', async () => {
    const { bench, line } = storedBench();
    await bench.publish('m1', 2, { messageExpiry: 2000 });
    await settle();
    line.take();
    bench.now = 3000;
    bench.reconnect();
    await settle();
    expect(line.take()).toEqual(['publish m1 q2 #1 dup']);
  });

  test('does not send again what the client may not receive any more, and lets no id be taken for an old one', async () => {
    const { bench, line } = storedBench();
    await bench.publish('one', 1, { topic: 'secret' });
    await bench.publish('two', 2, { topic: 'secret' });
    await settle();
    line.take();
    line.denied.add('secret');
    bench.reconnect();
    await settle();
    // The client may have got it and wait for this.
    expect(line.take()).toEqual(['pubrel #2 0']);
    expect(await bench.queued()).toEqual(['two sent #2']);
    await bench.publish('m3', 2);
    await bench.publish('m4', 2);
    await settle();
    expect(line.take()).toEqual(['publish m3 q2 #1', 'publish m4 q2 #3']);
    bench.outbound.completed(2);
    await settle();
    expect(await bench.queued()).toEqual(['m3 sent #1', 'm4 sent #3']);
  });

  test('does not send again what is too large on this connection, and ends the exchange', async () => {
    const { bench, line } = storedBench();
    await bench.publish('long', 2);
    await bench.publish('long', 1);
    await settle();
    line.take();
    line.payloadMax = 3;
    bench.reconnect();
    await settle();
    expect(line.take()).toEqual(['pubrel #1 0']);
    bench.outbound.completed(1);
    await settle();
    expect(await bench.queued()).toEqual([]);
  });

  test('gives no new message an id that is still to be sent again, however far behind that stands', async () => {
    const { bench, line, control } = storedBench({ window: 100 });
    // Heard last and so sent last, though the store has had it first: another node was slow.
    const late = numbers(70).map((number) => bench.message(`late ${number}`, { qos: 2 }));
    for (const message of late) await bench.enqueue(message);
    await bench.publish('sent', 2);
    await settle();
    expect(line.take()).toEqual(['publish sent q2 #1']);
    bench.reconnect();
    await settle();
    const sent = line.take();
    expect(sent).toHaveLength(71);
    expect(sent.filter((one) => one.includes('#1 ') || one.endsWith('#1'))).toEqual([
      'publish sent q2 #1 dup',
    ]);
    expect(control.calls.filter((call) => call === 'readQueue')).toHaveLength(4);
  });

  test('waits for its subscriptions before it reads what there is', async () => {
    const { bench, line, control } = storedBench();
    await bench.enqueue(bench.message('m1'));
    let subscribed = (): void => undefined;
    bench.outbound.resume(new Promise((resolve) => (subscribed = () => resolve())));
    await settle();
    expect(control.calls).not.toContain('readQueue');
    subscribed();
    await settle();
    expect(line.take()).toEqual(['publish m1 q1 #1']);
  });

  test('holds back QoS 0 until the backlog has left', async () => {
    const { bench, line } = storedBench({ window: 1 });
    await bench.enqueue(bench.message('m1'));
    await bench.enqueue(bench.message('m2'));
    bench.reconnect();
    await bench.publish('zero', 0);
    await settle();
    expect(line.take()).toEqual(['publish m1 q1 #1']);
    bench.outbound.acknowledge(1, 1);
    await settle();
    expect(line.take()).toEqual(['publish m2 q1 #2', 'publish zero q0']);
  });

  test('holds back no more QoS 0 than a queue may have, neither messages nor bytes', async () => {
    for (const limits of [{ queueMessagesMax: 3 }, { queueBytesMax: 15 }]) {
      const { bench, line } = storedBench({ window: 1, limits });
      await bench.enqueue(bench.message('m1'));
      bench.reconnect();
      for (const number of numbers(4)) await bench.publish(`0000${number}`.slice(-4), 0);
      expect(line.counts.get('delivery_dropped')).toBe(1);
      await settle();
      expect(line.take()).toHaveLength(4);
    }
  });

  test('holds back the payload of a QoS 0 message, not the chunk that it came in', async () => {
    const { bench, line } = storedBench({ window: 1 });
    await bench.enqueue(bench.message('m1'));
    bench.reconnect();
    const chunk = Buffer.from('before,payload,behind');
    bench.deliver(bench.message('', { qos: 0, payload: chunk.subarray(7, 14) }));
    chunk.fill('x');
    await settle();
    expect(line.take()).toEqual(['publish m1 q1 #1', 'publish payload q0']);
  });

  test('knows what it has read when the bus brings it late, for a minute', async () => {
    const { bench, line } = storedBench();
    const message = bench.message('m1');
    await bench.enqueue(message);
    bench.reconnect();
    await settle();
    bench.outbound.acknowledge(1, 1);
    expect(line.take()).toEqual(['publish m1 q1 #1']);
    for (const now of [5, 5 + RECENT_KEPT_MS - 1]) {
      bench.outbound.sweep(now);
      bench.deliver(message);
      await settle();
      expect(line.take()).toEqual([]);
    }
    bench.outbound.sweep(5 + RECENT_KEPT_MS);
    bench.deliver(message);
    expect(line.take()).toEqual(['publish m1 q1 #2']);
  });

  test('of a filter that has gone: what another node stores a little later is found, though the bus does not bring it', async () => {
    const { bench, line } = storedBench();
    await bench.enqueue(bench.message('before'));
    bench.outbound.lookForLast();
    await settle();
    expect(line.take()).toEqual(['publish before q1 #1']);
    await bench.enqueue(bench.message('late'));
    for (const now of [5, 5 + LATE_PUBLISH_MS - 1]) {
      bench.outbound.sweep(now);
      await settle();
      expect(line.take()).toEqual([]);
    }
    bench.outbound.sweep(5 + LATE_PUBLISH_MS);
    await settle();
    expect(line.take()).toEqual(['publish late q1 #2']);
    await bench.enqueue(bench.message('much later'));
    bench.outbound.sweep(5 + 2 * LATE_PUBLISH_MS);
    await settle();
    expect(line.take()).toEqual([]);
  });

  test('two deliveries of one message, for itself and for a share group, are two', async () => {
    const { bench, line } = storedBench({ window: 1000 });
    const message = bench.message('shared');
    const more = numbers(62).map((number) => bench.message(`m${number}`));
    for (const one of more) await bench.enqueue(one);
    // The page ends between the two.
    await bench.enqueue(message);
    await bench.enqueue(message, '$share/g/t');
    bench.reconnect();
    await settle();
    expect(line.take().filter((one) => one.startsWith('publish shared'))).toHaveLength(2);
    bench.deliver(message);
    bench.deliver(message, '$share/g/t');
    await settle();
    expect(line.take()).toEqual([]);
  });
});

describe('a stored session that falls behind', () => {
  test('leaves what does not fit in memory to the store, and loses, doubles and overtakes nothing', async () => {
    const { bench, line } = storedBench({ window: 4 });
    const total = 700;
    const received: string[] = [];
    const ids: number[] = [];
    line.onSent = (one) => {
      const [, payload = '', , id = ''] = one.split(' ');
      received.push(payload);
      ids.push(Number(id.slice(1)));
    };
    for (const number of numbers(total)) {
      await bench.publish(`${number}`);
      if (number % 3 === 0) bench.outbound.acknowledge(ids.shift() ?? 0, 1);
    }
    while (received.length < total) {
      for (const id of ids.splice(0)) bench.outbound.acknowledge(id, 1);
      await settle(2);
    }
    for (const id of ids.splice(0)) bench.outbound.acknowledge(id, 1);
    await settle();
    expect(received).toEqual(numbers(total).map(String));
    expect(await bench.queued()).toEqual([]);
    await bench.publish('live again');
    expect(received.at(-1)).toBe('live');
  });

  test('keeps no more bytes in memory than a queue may have', async () => {
    const { bench, line, control } = storedBench({ window: 1, limits: { queueBytesMax: 30 } });
    for (const number of numbers(6)) await bench.publish(`number ${number} of six`);
    expect(line.take()).toHaveLength(1);
    for (let id = 1; id < 6; id++) {
      bench.outbound.acknowledge(id, 1);
      await settle();
    }
    expect(line.take()).toHaveLength(5);
    expect(control.calls).toContain('readQueue');
    expect(line.failures).toEqual([]);
  });
});

describe('retained messages', () => {
  const retained = (bench: OutboundBench, payload: string, topic = payload, qos: 0 | 1 | 2 = 1) =>
    bench.message(payload, { topic, qos, retain: true });

  const subscribeTo = (bench: OutboundBench, payloads: string[], qos: 0 | 1 | 2 = 1): void => {
    const batch = bench.outbound.expectRetained(terms(qos, { retainAsPublished: true }));
    bench.outbound.deliverRetained(
      batch,
      payloads.map((payload) => retained(bench, payload, payload, qos)),
    );
  };

  test.each([false, true])(
    'are sent with RETAIN, within the window (stored: %s)',
    async (stored) => {
      const { bench, line } = stored
        ? storedBench({ window: 2 })
        : { bench: new OutboundBench({ window: 2 }), line: undefined };
      subscribeTo(bench, ['a', 'b', 'c']);
      await settle();
      expect((line ?? bench.line).take()).toEqual([
        'publish a q1 #1 retain',
        'publish b q1 #2 retain',
      ]);
      bench.outbound.acknowledge(1, 1);
      await settle();
      expect(bench.line.take()).toEqual(['publish c q1 #3 retain']);
      for (const id of [2, 3]) bench.outbound.acknowledge(id, 1);
      await settle();
      expect(await bench.queued()).toEqual([]);
    },
  );

  test('with QoS 0 wait for the socket, and are not dropped', () => {
    const bench = new OutboundBench();
    bench.line.congested = true;
    subscribeTo(bench, ['a', 'b'], 0);
    expect(bench.line.take()).toEqual([]);
    bench.line.congested = false;
    bench.outbound.drained();
    expect(bench.line.take()).toEqual(['publish a q0 retain', 'publish b q0 retain']);
    expect(bench.line.counts.get('delivery_dropped')).toBeUndefined();
  });

  test('MQTT-5.0 [MQTT-3.1.2-25] that are too large are left out, however many they are', () => {
    const bench = new OutboundBench({ window: 1 });
    bench.line.payloadMax = 5;
    subscribeTo(
      bench,
      numbers(20_000).map((number) => `t${100_000 + number}`),
    );
    subscribeTo(bench, ['short']);
    expect(bench.line.take()).toEqual(['publish short q1 #20001 retain']);
  });

  test.each([0, 1, 2] as const)(
    'never come behind a newer message of their topic: while they wait (QoS %s)',
    async (qos) => {
      const { bench, line } = storedBench({ window: 1 });
      await bench.publish('first', 1, { topic: 'elsewhere' });
      line.congested = true;
      line.take();
      subscribeTo(bench, ['a', 'b'], qos);
      await bench.publish('newer', 1, { topic: 'a' });
      line.congested = false;
      bench.outbound.acknowledge(1, 1);
      for (let id = 2; id < 8; id++) {
        await settle();
        bench.outbound.acknowledge(id, 1);
        bench.outbound.received(id);
        await settle();
        bench.outbound.completed(id);
      }
      const published = line.take().filter((one) => one.startsWith('publish'));
      expect(published.map((one) => one.split(' ')[1])).toEqual(['newer', 'b']);
      expect(await bench.queued()).toEqual([]);
    },
  );

  test('never come behind a newer message of their topic: while the store is asked for them', async () => {
    const { bench, line } = storedBench();
    const batch = bench.outbound.expectRetained(terms(1, { retainAsPublished: true }));
    await bench.publish('newer', 1, { topic: 'a' });
    bench.outbound.deliverRetained(batch, [retained(bench, 'a'), retained(bench, 'b')]);
    await settle();
    expect(line.take()).toEqual(['publish newer q1 #1', 'publish b q1 #2 retain']);
  });

  test('never come behind a newer message of their topic: while they are being queued', async () => {
    const { bench, line, control } = storedBench();
    let answer = (): void => undefined;
    control.after.set(
      'outgoingEnqueueCombi',
      () => new Promise((resolve) => (answer = () => resolve())),
    );
    subscribeTo(bench, ['a']);
    await settle();
    control.after.delete('outgoingEnqueueCombi');
    await bench.publish('newer', 1, { topic: 'a' });
    answer();
    await settle();
    expect(line.take()).toEqual(['publish newer q1 #1']);
    expect(await bench.queued()).toEqual(['newer sent #1']);
  });

  test('of a later subscription are not held to be old because of what came before it', async () => {
    const bench = new OutboundBench({ window: 1 });
    await bench.publish('first', 1, { topic: 'elsewhere' });
    bench.line.take();
    subscribeTo(bench, ['a', 'b']);
    await bench.publish('newer', 0, { topic: 'a' });
    const batch = bench.outbound.expectRetained(terms(0, { retainAsPublished: true }));
    bench.outbound.deliverRetained(batch, [retained(bench, 'newer', 'a', 0)]);
    bench.outbound.acknowledge(1, 1);
    expect(bench.line.take()).toEqual([
      'publish newer q0',
      'publish b q1 #2 retain',
      'publish newer q0 retain',
    ]);
  });

  test('come behind the backlog of a resumed session', async () => {
    const { bench, line } = storedBench({ window: 1 });
    await bench.enqueue(bench.message('old', { topic: 'a' }));
    bench.reconnect();
    subscribeTo(bench, ['a'], 0);
    await settle();
    expect(line.take()).toEqual(['publish old q1 #1', 'publish a q0 retain']);
  });

  test('end with the connection', async () => {
    const { bench, line } = storedBench({ window: 1 });
    line.congested = true;
    subscribeTo(bench, ['a', 'b']);
    bench.outbound.close();
    line.congested = false;
    bench.outbound.drained();
    await settle();
    expect(line.take()).toEqual([]);
  });
});

describe('the end of a connection', () => {
  const shared = { sharedFilter: '$share/g/t' };

  test('MQTT-5.0 §4.8.2 hands on what was not acknowledged for a share group, but no QoS 2 message that was sent', async () => {
    const bench = new OutboundBench({ window: 3 });
    await bench.publish('one sent', 1, shared);
    await bench.publish('two sent', 2, shared);
    await bench.publish('own', 1);
    await bench.publish('one queued', 1, shared);
    await bench.publish('two queued', 2, shared);
    await bench.publish('own queued', 1);
    const orphans = bench.outbound.close();
    expect(orphans.map(({ message }) => message.payload.toString())).toEqual([
      'one sent',
      'one queued',
      'two queued',
    ]);
    expect(new Set(orphans.map(({ sharedFilter }) => sharedFilter))).toEqual(
      new Set(['$share/g/t']),
    );
    expect(bench.outbound.close()).toEqual([]);
  });

  test('leaving a group hands on what waits for it, and only that', async () => {
    const { bench, line } = storedBench({ window: 1 });
    await bench.publish('sent', 1, shared);
    await bench.publish('waits', 2, shared);
    await bench.publish('other group', 1, { sharedFilter: '$share/h/t' });
    await bench.publish('own');
    line.take();
    const orphans = bench.outbound.leaveGroup('$share/g/t');
    expect(orphans.map(({ message }) => message.payload.toString())).toEqual(['waits']);
    expect(bench.outbound.leaveGroup('$share/g/t')).toEqual([]);
    await settle();
    expect(await bench.queued()).toEqual(['sent sent #1', 'other group queued', 'own queued']);
    bench.outbound.acknowledge(1, 1);
    bench.outbound.acknowledge(2, 1);
    expect(line.take()).toEqual(['publish other group q1 #2', 'publish own q1 #3']);
  });

  test('nothing is sent after it, whatever comes', async () => {
    const { bench, line } = storedBench({ window: 1 });
    await bench.publish('m1', 2);
    await settle();
    await bench.publish('m2');
    line.take();
    bench.outbound.received(1);
    bench.outbound.close();
    await settle();
    bench.outbound.completed(1);
    bench.outbound.drained();
    await bench.publish('m3');
    await settle();
    expect(line.take()).toEqual([]);
  });
});
