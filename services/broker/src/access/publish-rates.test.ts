import { describe, expect, it } from 'vitest';
import { PublishRates, type PublishRateOptions } from './publish-rates.ts';

const OFF = {
  publishesPerSecond: 0,
  publishesBurst: 1,
  publishBytesPerSecond: 0,
  publishBytesBurst: 1,
};
const ONE = { ...OFF, publishesPerSecond: 1, publishesBurst: 2 };

const setUp = (options: Partial<PublishRateOptions> = {}) =>
  new PublishRates({ credential: OFF, source: OFF, listener: () => OFF, ...options });

const from = (credentialId: string, peer: string, listener = 'tcp:default') => ({
  credentialId,
  peer,
  listener,
});

describe('PublishRates', () => {
  it('shares nothing when nothing is limited', () => {
    expect(setUp().of(from('k', '192.0.2.1:1'))).toBeUndefined();
  });

  it('is the same for all connections of a credential, and another for another', () => {
    const rates = setUp({ credential: ONE });
    const [rate, ...more] = rates.of(from('k', '192.0.2.1:1')) ?? [];
    expect(more).toEqual([]);
    expect(rates.of(from('k', '192.0.2.9:1', 'ws:default'))).toEqual([rate]);
    expect(rates.of(from('k', '192.0.2.9:1', 'ws:default'))?.[0]).toBe(rate);
    expect(rates.of(from('__proto__', '192.0.2.1:1'))?.[0]).not.toBe(rate);
    // The limit, and one past it.
    expect(rate?.take(1, 0)).toBe(0);
    expect(rate?.take(1, 0)).toBeGreaterThan(0);
  });

  it('is the same for an address, whatever its port, and for a network of IPv6', () => {
    const rates = setUp({ source: ONE });
    const of = (peer: string) => rates.of(from('k', peer))?.[0];
    expect(of('192.0.2.1:1')).toBe(of('192.0.2.1:2'));
    expect(of('192.0.2.1:1')).not.toBe(of('192.0.2.2:1'));
    expect(of('[2001:db8::1]:1')).toBe(of('[2001:db8::ffff]:1'));
    expect(of('[2001:db8::1]:1')).not.toBe(of('[2001:db8:0:1::1]:1'));
  });

  it('is that of its own listener, and all three hold', () => {
    const rates = setUp({
      credential: ONE,
      source: ONE,
      listener: (name) => (name === 'tcp:default' ? ONE : OFF),
    });
    expect(rates.of(from('k', '192.0.2.1:1'))).toHaveLength(3);
    expect(rates.of(from('k', '192.0.2.1:1', 'ws:default'))).toHaveLength(2);
    const tcp = rates.of(from('a', '192.0.2.2:1'))?.[2];
    expect(rates.of(from('b', '192.0.2.3:1'))?.[2]).toBe(tcp);
  });

  it('remembers so many, forgets who connected longest ago, and takes nothing from who is connected', () => {
    const rates = setUp({ credential: ONE, ratesMax: 2 });
    const of = (id: string) => rates.of(from(id, '192.0.2.1:1'))?.[0];
    const [a, b] = [of('a'), of('b')];
    expect(of('a')).toBe(a);
    of('c');
    expect(of('a')).toBe(a);
    expect(of('b')).not.toBe(b);
  });
});
