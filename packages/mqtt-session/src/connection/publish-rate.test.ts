import { afterEach, describe, expect, it, vi } from 'vitest';
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

  it('of several that share it each waits for its own turn, and a message that is looked at late gives nothing', () => {
    const rate = rateOf({ publishesPerSecond: 10, publishesBurst: 2 });
    expect([rate.take(1, 100), rate.take(1, 100), rate.take(1, 100)].map(Math.round)).toEqual([
      0, 100, 200,
    ]);
    // Heard at 50 by another connection; then nothing has passed for the next one at 100.
    expect(Math.round(rate.take(1, 50))).toBe(300);
    expect(Math.round(rate.take(1, 100))).toBe(400);
    expect(Math.round(rate.take(1, 600))).toBe(0);
  });

  it('a clock that stands still gives nothing', () => {
    const rate = rateOf({ publishesBurst: 1 });
    rate.take(1, 100);
    expect(rate.take(1, 50)).toBeCloseTo(20);
  });
});

describe('a client that publishes too fast', () => {
  afterEach(() => void vi.useRealTimers());

  /** Permits come back only when the test says so. */
  const freezeTime = (): void =>
    void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
  const pass = async (milliseconds: number): Promise<void> => {
    await vi.advanceTimersByTimeAsync(milliseconds);
    await settle();
  };

  it.each([
    [4, 0],
    [4, 1],
    [5, 0],
    [5, 1],
  ] as const)(
    'MQTT %s, QoS %s: is not read for a while, and loses nothing',
    async (version, qos) => {
      freezeTime();
      const node = new TestNode({ limits: { publishesPerSecond: 50, publishesBurst: 5 } });
      const got = await node.connect('receiver');
      await got.subscribe('t');
      const client = await node.connect('sender', { version });
      for (let index = 0; index < 9; index++) {
        client.publish({
          topic: 't',
          payload: `${index}`,
          qos,
          ...(qos > 0 && { packetId: index + 1 }),
        });
      }
      await settle();
      expect(got.payloads).toHaveLength(5);
      // Four more than the burst, 20 ms each.
      for (let count = 6; count <= 9; count++) {
        await pass(19);
        expect(got.payloads).toHaveLength(count - 1);
        await pass(1);
        expect(got.payloads).toHaveLength(count);
      }
      expect(got.payloads).toEqual(Array.from({ length: 9 }, (_, index) => `${index}`));
      expect(node.observer.of('publish_held_up')).toBeGreaterThanOrEqual(4);
    },
  );

  it('shares a rate with others that have the same, on all their connections together, and with nobody else', async () => {
    freezeTime();
    const none = { publishesPerSecond: 0, publishBytesPerSecond: 0 };
    const node = new TestNode({ limits: none });
    const shared = rateOf({ ...none, publishesPerSecond: 50, publishesBurst: 4 });
    node.hooks.grant = (rights) => {
      if (rights.clientId !== 'apart') rights.publishRates = [shared];
    };
    const got = await node.connect('receiver');
    await got.subscribe('t');
    const [one, other, apart] = await Promise.all(
      ['one', 'other', 'apart'].map((clientId) => node.connect(clientId)),
    );
    for (let index = 0; index < 5; index++) {
      for (const client of [one, other]) client?.publish({ topic: 't', payload: 'x', qos: 0 });
    }
    for (let index = 0; index < 20; index++) {
      apart?.publish({ topic: 't', payload: 'apart', qos: 0 });
    }
    await settle();
    // The burst, and one message that each of the two had not known to be too much.
    const early = got.payloads.filter((payload) => payload === 'x').length;
    expect(early).toBeGreaterThanOrEqual(4);
    expect(early).toBeLessThan(10);
    expect(got.payloads.filter((payload) => payload === 'apart')).toHaveLength(20);
    // Six more than the burst, 20 ms each, but for the last one of each connection.
    await pass(70);
    expect(got.payloads.length).toBeLessThan(30);
    await pass(50);
    expect(got.payloads).toHaveLength(30);
  });

  it('is not let go early by a wait that is longer than a timer can be', async () => {
    const node = new TestNode({
      limits: { publishBytesPerSecond: 1, publishBytesBurst: 1, packetBytesMax: 16 * 1024 * 1024 },
    });
    const client = await node.connect('one');
    client.publish({ topic: 't', payload: 'x'.repeat(3 * 1024 * 1024), qos: 0 });
    client.publish({ topic: 't', payload: 'y', qos: 1, packetId: 1 });
    await settle();
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(client.unread()).toEqual([]);
    client.socket.destroy();
  });

  it('holds up nobody else', async () => {
    freezeTime();
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
