import { expect, it } from 'vitest';
import {
  REFUSED_NAME_LENGTH_MAX,
  REFUSED_PER_SOURCE_MAX,
  type RefusedAttempt,
  RefusedAttempts,
} from './refused-attempts.ts';

function setUp(entriesMax = 100) {
  let now = 1000;
  const attempts = new RefusedAttempts({ entriesMax, keepMs: 500, clock: () => now });
  const record = (changes: Partial<RefusedAttempt> = {}): void =>
    attempts.record({
      reason: 'wrong_secret',
      listener: 'tcp:default',
      address: '192.0.2.1',
      clientId: 'c',
      ...changes,
    });
  return { attempts, record, pass: (ms: number) => (now += ms) };
}

it('counts the same attempt in one entry, with its first and its last time', () => {
  const { attempts, record, pass } = setUp();
  record();
  pass(10);
  record();
  record({ reason: 'banned' });
  record({ username: 'u' });
  expect(attempts.all()).toHaveLength(3);
  expect(attempts.all()[0]).toMatchObject({ count: 2, firstAt: 1000, lastAt: 1010 });
});

it('keeps an entry for its time after the last attempt, and not longer', () => {
  const { attempts, record, pass } = setUp();
  record();
  pass(499);
  record({ clientId: 'later' });
  expect(attempts.size).toBe(2);
  pass(1);
  expect(attempts.all().map((one) => one.clientId)).toEqual(['later']);
});

it('keeps so many and not one more: the one that was not seen for longest goes', () => {
  const { attempts, record } = setUp(3);
  for (const clientId of ['a', 'b', 'c', 'a', 'd']) record({ clientId });
  expect(attempts.all().map((one) => one.clientId)).toEqual(['c', 'a', 'd']);
  const none = setUp(0);
  none.record();
  expect(none.attempts.size).toBe(0);
});

it('one source cannot push out the others, nor say more than it may', () => {
  const { attempts, record } = setUp(1000);
  record({ address: '192.0.2.2' });
  for (let index = 0; index < 10_000; index++) record({ clientId: `hostile-${index}` });
  expect(attempts.size).toBe(1 + REFUSED_PER_SOURCE_MAX + 1);
  const others = attempts.all().find((one) => one.clientId === undefined);
  expect(others?.count).toBe(10_000 - REFUSED_PER_SOURCE_MAX);
  record({ clientId: 'x'.repeat(60_000), username: 'y'.repeat(60_000), address: '192.0.2.3' });
  const long = attempts.all().at(-1);
  expect(long?.clientId).toHaveLength(REFUSED_NAME_LENGTH_MAX);
  expect(long?.username).toHaveLength(REFUSED_NAME_LENGTH_MAX);
});

it('a source that was forgotten has all its entries again', () => {
  const { attempts, record, pass } = setUp(1000);
  for (let index = 0; index < 100; index++) record({ clientId: `${index}` });
  pass(500);
  for (let index = 0; index < REFUSED_PER_SOURCE_MAX; index++) record({ clientId: `${index}` });
  expect(attempts.all().every((one) => one.clientId !== undefined)).toBe(true);
});

it('knows names that JavaScript has for itself', () => {
  const { attempts, record } = setUp();
  for (const clientId of ['__proto__', 'constructor', '__proto__']) record({ clientId });
  expect(attempts.all().map(({ clientId, count }) => [clientId, count])).toEqual([
    ['constructor', 1],
    ['__proto__', 2],
  ]);
});
