import { expect, it } from 'vitest';
import { Flapping, type FlappingOptions } from './flapping.ts';

function setUp(changes: Partial<FlappingOptions> = {}) {
  let now = 0;
  const blocked: string[] = [];
  const flapping = new Flapping({
    connectsMax: 15,
    windowMs: 60_000,
    blockMs: 300_000,
    isExempt: (address) => address === '192.0.2.99',
    onBlocked: ({ name, address }) => blocked.push(`${name} ${address}`),
    clock: () => now,
    ...changes,
  });
  /** How many of so many are let in. */
  const take = (times: number, clientId = 'c', address = '192.0.2.1'): number =>
    Array.from({ length: times }, () => flapping.take(clientId, address)).filter(Boolean).length;
  return { flapping, blocked, take, pass: (ms: number) => (now += ms) };
}

it('lets fifteen connects in, and blocks the pair at the sixteenth, once', () => {
  const { take, blocked } = setUp();
  expect(take(15)).toBe(15);
  expect(blocked).toEqual([]);
  expect(take(10)).toBe(0);
  expect(blocked).toEqual(['c 192.0.2.1']);
});

it('never locks a device by its name alone (threat I5)', () => {
  const { take } = setUp();
  take(16);
  expect(take(1, 'c', '192.0.2.2')).toBe(1);
  expect(take(1, 'other')).toBe(1);
});

it('counts a /64 of IPv6 as one source', () => {
  const { take } = setUp();
  take(15, 'c', '2001:db8::1');
  expect(take(1, 'c', '2001:db8::2')).toBe(0);
  expect(take(1, 'c', '2001:db8:0:1::2')).toBe(1);
});

it('ends a block after its time, however often it was tried meanwhile, and begins anew', () => {
  const { take, pass, blocked } = setUp();
  take(16);
  pass(299_999);
  expect(take(100)).toBe(0);
  pass(1);
  expect(take(16)).toBe(15);
  expect(blocked).toHaveLength(2);
});

it('forgets what was before its window', () => {
  const { take, pass } = setUp();
  take(15);
  pass(59_999);
  expect(take(1)).toBe(0);
  const later = setUp();
  later.take(15);
  later.pass(60_000);
  expect(later.take(15)).toBe(15);
});

it('leaves exempt addresses alone, and everybody when it is off', () => {
  expect(setUp().take(1000, 'c', '192.0.2.99')).toBe(1000);
  const { flapping, take } = setUp({ connectsMax: 0 });
  expect(take(1000)).toBe(1000);
  expect(flapping.pairs).toBe(0);
});

it('remembers so many pairs and not one more', () => {
  const { flapping, take } = setUp({ pairsMax: 3 });
  take(16);
  for (const name of ['__proto__', 'constructor', 'x']) take(1, name);
  expect(flapping.pairs).toBe(3);
  expect(take(1)).toBe(1);
});

it('counts nothing by being asked, and connections that ended within the window when they end', () => {
  const { flapping, pass } = setUp();
  const ended = (times: number, livedMs: number): void => {
    for (let index = 0; index < times; index++) flapping.ended('k', '192.0.2.1', livedMs);
  };
  const admits = (address = '192.0.2.1'): boolean => flapping.admits('k', address);
  expect(Array.from({ length: 100 }, () => admits())).not.toContain(false);
  ended(100, 60_000);
  expect(flapping.pairs).toBe(0);
  ended(14, 59_999);
  expect(admits()).toBe(true);
  ended(1, 0);
  expect([admits(), admits('192.0.2.2')]).toEqual([false, true]);
  pass(299_999);
  expect(admits()).toBe(false);
  pass(1);
  expect(admits()).toBe(true);
});
