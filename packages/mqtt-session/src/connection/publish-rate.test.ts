import { describe, expect, it, vi } from 'vitest';
import { settle } from '../../test-support/settle.ts';
import { TestNode } from '../../test-support/test-node.ts';
import { defaultLimits, type MqttLimits } from '../limits.ts';
import { PublishRate } from './publish-rate.ts';

const rateOf = (changes: Partial<MqttLimits>): PublishRate => {
  const rate = PublishRate.of({ ...defaultLimits, ...changes }, 0);
  if (rate === undefined) throw new Error('no rate');
  return rate;
};

describe('PublishRate', () => {
  it('is not there when nothing is limited', () => {
    const limits = { ...defaultLimits, publishesPerSecond: 0, publishBytesPerSecond: 0 };
    expect(PublishRate.of(limits, 0)).toBeUndefined();
  });

  it('gives the burst of 500 at once, and the next one 10 ms later', () => {
    const rate = rateOf({});
    const waits = Array.from({ length: 500 }, () => rate.take(1, 0));
    expect(waits.slice(0, 499)).toEqual(Array.from({ length: 499 }, () => 0));
    expect(waits[499]).toBeCloseTo(10);
    expect(rate.take(1, 10)).toBeCloseTo(10);
  });

  it('gives as many as come back, and never more than the burst after a quiet time', () => {
    const rate = rateOf({ publishesPerSecond: 1000, publishesBurst: 3 });
    const free = (now: number): number => {
      let count = 1;
      while (rate.take(0, now) === 0) count++;
      return count;
    };
    expect(free(0)).toBe(3);
    expect(free(1_000_000)).toBe(3);
    expect(free(1_000_002)).toBe(2);
  });

  it('counts bytes as well, and waits for the longer of the two', () => {
    const rate = rateOf({
      publishesPerSecond: 100,
      publishesBurst: 1000,
      publishBytesPerSecond: 1000,
      publishBytesBurst: 1024,
    });
    expect(rate.take(1023, 0)).toBe(0);
    expect(rate.take(500, 0)).toBeCloseTo(500);
  });

  it('a clock that stands still gives nothing', () => {
    const rate = rateOf({ publishesBurst: 1 });
    rate.take(1, 100);
    expect(rate.take(1, 50)).toBeCloseTo(20);
  });
});

describe('a client that publishes too fast', () => {
  it.each([
    [4, 0],
    [4, 1],
    [5, 0],
    [5, 1],
  ] as const)(
    'MQTT %s, QoS %s: is not read for a while, and loses nothing',
    async (version, qos) => {
      const node = new TestNode({ limits: { publishesPerSecond: 50, publishesBurst: 5 } });
      const got = await node.connect('receiver');
      await got.subscribe('t');
      const client = await node.connect('sender', { version });
      const started = performance.now();
      for (let index = 0; index < 9; index++) {
        client.publish({
          topic: 't',
          payload: `${index}`,
          qos,
          ...(qos > 0 && { packetId: index + 1 }),
        });
      }
      await settle();
      expect(got.payloads.length).toBeGreaterThanOrEqual(5);
      expect(got.payloads.length).toBeLessThan(9);
      await vi.waitFor(() => expect(got.payloads.length).toBe(9), { timeout: 5000 });
      expect(got.payloads).toEqual(Array.from({ length: 9 }, (_, index) => `${index}`));
      // Four more than the burst, 20 ms each.
      expect(performance.now() - started).toBeGreaterThan(70);
      expect(node.observer.of('publish_held_up')).toBeGreaterThanOrEqual(4);
    },
  );

  it('holds up nobody else', async () => {
    const node = new TestNode({ limits: { publishesPerSecond: 1, publishesBurst: 1 } });
    const slow = await node.connect('slow');
    slow.publish({ topic: 't', payload: '1', qos: 1, packetId: 1 });
    slow.publish({ topic: 't', payload: '2', qos: 1, packetId: 2 });
    const other = await node.connect('other');
    other.publish({ topic: 't', payload: '3', qos: 1, packetId: 1 });
    expect(await other.expect('puback')).toMatchObject({ packetId: 1 });
    expect(await slow.expect('puback')).toMatchObject({ packetId: 1 });
    await settle();
    expect(slow.unread()).toEqual([]);
  });
});
