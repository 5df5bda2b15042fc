import { describe, expect, it } from 'vitest';
import { RateLimit } from './rate-limit.ts';

function setUp(options: { perSecond: number; burst: number; keysMax?: number }) {
  let now = 0;
  const limit = new RateLimit({ keysMax: 100, ...options, clock: () => now });
  const take = (times: number, key = 'a'): number =>
    Array.from({ length: times }, () => limit.take(key)).filter(Boolean).length;
  return { limit, take, pass: (ms: number) => (now += ms) };
}

describe('a rate limit', () => {
  it('gives the burst, and not one more', () => {
    const { take } = setUp({ perSecond: 20, burst: 100 });
    expect(take(100)).toBe(100);
    expect(take(1)).toBe(0);
  });

  it('gives one back after its time, and not a millisecond before', () => {
    const { take, pass } = setUp({ perSecond: 20, burst: 3 });
    take(3);
    pass(49);
    expect(take(1)).toBe(0);
    pass(1);
    expect(take(2)).toBe(1);
  });

  it.each([1, 3, 7, 20, 999, 100_000])('gives %i in each second for a long time', (perSecond) => {
    const { take, pass } = setUp({ perSecond, burst: perSecond });
    take(perSecond);
    for (let second = 0; second < 5; second++) {
      pass(1000);
      expect(take(perSecond + 1)).toBe(perSecond);
    }
  });

  it('is full again after a quiet time, and never fuller than that', () => {
    const { take, pass } = setUp({ perSecond: 20, burst: 100 });
    take(100);
    pass(5000);
    expect(take(101)).toBe(100);
    pass(10 * 365 * 86_400_000);
    expect(take(101)).toBe(100);
  });

  it('a refusal costs nothing', () => {
    const { take, pass } = setUp({ perSecond: 1, burst: 1 });
    take(1000);
    pass(1000);
    expect(take(1)).toBe(1);
  });

  it('keeps keys apart', () => {
    const { take } = setUp({ perSecond: 1, burst: 1 });
    expect([take(1, 'a'), take(1, '__proto__'), take(1, 'b')]).toEqual([1, 1, 1]);
  });

  it('remembers so many keys and forgets the quietest, not one that keeps asking', () => {
    const { limit, take } = setUp({ perSecond: 1, burst: 1, keysMax: 10 });
    take(1, 'loud');
    for (let other = 0; other < 1000; other++) {
      take(1, `other-${other}`);
      expect(take(1, 'loud')).toBe(0);
    }
    expect(limit.keys).toBe(10);
    expect(take(1, 'other-991')).toBe(0);
    expect(take(1, 'other-0')).toBe(1);
  });
});
