import { expect, it } from 'vitest';
import { GUESSES_REMEMBERED_MAX, Guessing, type GuessingOptions } from './guessing.ts';

const HERE = '192.0.2.1';
const ELSEWHERE = '192.0.2.2';

function setUp(changes: Partial<GuessingOptions> = {}) {
  let now = 0;
  let guesses = 0;
  const delayed: string[] = [];
  const guessing = new Guessing({
    failuresMax: 5,
    sourceFailuresMax: 100,
    delayMs: 1000,
    delayMsMax: 300_000,
    forgetMs: 900_000,
    isExempt: (address) => address === '192.0.2.99',
    onDelayed: ({ of, failures, delayMs }) => delayed.push(`${of} ${failures} ${delayMs}`),
    clock: () => now,
    ...changes,
  });
  /** So many wrong passwords that nobody has tried, each under another client id. */
  const guess = (times: number, username: string | undefined = 'pump', address = HERE): void => {
    for (let index = 0; index < times; index++) {
      guesses += 1;
      const proof = Buffer.from(`password ${guesses}`);
      guessing.failed({ clientId: `c${guesses}`, username, address }, proof);
    }
  };
  const isDelayed = (username: string | undefined = 'pump', address = HERE): boolean =>
    guessing.isDelayed({ clientId: 'new', username, address });
  return { guessing, delayed, guess, isDelayed, pass: (ms: number) => (now += ms) };
}

it('lets five passwords be wrong; from the sixth on a name waits, twice as long each time', () => {
  const { guess, isDelayed, delayed, pass } = setUp();
  guess(5);
  expect([isDelayed(), delayed.length]).toEqual([false, 0]);
  guess(1);
  expect(isDelayed()).toBe(true);
  pass(999);
  expect(isDelayed()).toBe(true);
  pass(1);
  expect(isDelayed()).toBe(false);
  guess(1);
  pass(1999);
  expect(isDelayed()).toBe(true);
  pass(1);
  expect(isDelayed()).toBe(false);
  expect(delayed).toEqual(['name 6 1000', 'name 7 2000']);
});

it('makes nobody wait longer than the longest delay', () => {
  const { guess, delayed, pass } = setUp();
  for (let index = 0; index < 5 + 2000; index++) {
    guess(1, 'pump', HERE);
    pass(300_000);
  }
  const waits = delayed.filter((one) => one.startsWith('name')).map((one) => one.split(' ')[2]);
  expect(waits.slice(7, 11)).toEqual(['128000', '256000', '300000', '300000']);
  expect(waits.at(-1)).toBe('300000');
});

it('never locks a device by its name alone (threat I5)', () => {
  const { guess, isDelayed } = setUp();
  guess(50);
  expect(isDelayed('pump', ELSEWHERE)).toBe(false);
  expect(isDelayed('other')).toBe(false);
  expect(isDelayed()).toBe(true);
});

it('counts by the client id too, whatever user names come with it', () => {
  const { guessing } = setUp();
  for (const username of ['1', '2', '3', '4', '5', '6']) {
    const attempt = { clientId: 'pump', username, address: HERE };
    guessing.failed(attempt, Buffer.from(username));
  }
  const asked = (clientId: string, username?: string): boolean =>
    guessing.isDelayed({ clientId, username, address: HERE });
  expect([asked('pump', 'x'), asked('pump'), asked('pump', '')]).toEqual([true, true, true]);
  expect([asked('x', 'pump'), asked('x')]).toEqual([false, false]);
});

it('lets a source have a hundred wrong ones under any names; then whatever comes from it waits', () => {
  const { guess, isDelayed, delayed, pass } = setUp();
  const spray = (from: number, to: number): void => {
    for (let index = from; index < to; index++) guess(1, `name-${index}`);
  };
  spray(0, 100);
  expect([isDelayed('other'), delayed.length]).toEqual([false, 0]);
  spray(100, 101);
  expect([isDelayed('other'), isDelayed('other', ELSEWHERE)]).toEqual([true, false]);
  expect(delayed).toEqual(['source 101 1000']);
  pass(1000);
  expect(isDelayed('other')).toBe(false);
});

it('counts a /64 of IPv6 as one source', () => {
  const { guess, isDelayed } = setUp();
  guess(6, 'pump', '2001:db8::1');
  expect(isDelayed('pump', '2001:db8::2')).toBe(true);
  expect(isDelayed('pump', '2001:db8:0:1::2')).toBe(false);
});

it('takes the same wrong password for no guess, as long as it is one of the last', () => {
  const { guessing, guess, isDelayed } = setUp();
  const old = Buffer.from('old password');
  const retry = (): void =>
    guessing.failed({ clientId: 'c', username: 'pump', address: HERE }, old);
  for (let index = 0; index < 1000; index++) retry();
  expect([isDelayed(), isDelayed('other')]).toEqual([false, false]);
  guess(4);
  expect(isDelayed()).toBe(false);
  retry();
  expect(isDelayed()).toBe(false);
  guess(GUESSES_REMEMBERED_MAX - 4);
  expect(isDelayed()).toBe(true);
});

it('counts what cannot be compared every time', () => {
  const { guessing, isDelayed } = setUp();
  const attempt = { clientId: 'c', username: 'pump', address: HERE };
  for (let index = 0; index < 6; index++) guessing.failed(attempt, undefined);
  expect(isDelayed()).toBe(true);
});

it('begins anew for the names of who has proven a secret, not for its source', () => {
  const { guessing, guess, isDelayed } = setUp({ sourceFailuresMax: 8 });
  guess(5);
  guessing.succeeded({ clientId: 'c', username: 'pump', address: ELSEWHERE });
  guess(1);
  expect(isDelayed()).toBe(true);
  guessing.succeeded({ clientId: 'c', username: 'pump', address: HERE });
  expect(isDelayed()).toBe(false);
  guess(2);
  expect([isDelayed(), isDelayed('other')]).toEqual([false, false]);
  guess(1);
  guessing.succeeded({ clientId: 'c', username: 'pump', address: HERE });
  expect([isDelayed(), isDelayed('other')]).toEqual([true, true]);
});

it('forgets what was when nothing has failed for long enough after the last delay', () => {
  const { guess, isDelayed, pass } = setUp();
  guess(5);
  pass(899_999);
  guess(1);
  expect(isDelayed()).toBe(true);
  pass(1000 + 900_000);
  guess(5);
  expect(isDelayed()).toBe(false);
  guess(1);
  expect(isDelayed()).toBe(true);
});

it('leaves exempt addresses alone, and everybody when it is off', () => {
  const { guess, isDelayed, guessing } = setUp();
  guess(1000, 'pump', '192.0.2.99');
  expect([isDelayed('pump', '192.0.2.99'), guessing.pairs]).toEqual([false, 0]);
  const off = setUp({ failuresMax: 0, sourceFailuresMax: 0 });
  off.guess(1000);
  expect([off.isDelayed(), off.guessing.pairs, off.guessing.sources]).toEqual([false, 0, 0]);
  const namesOff = setUp({ failuresMax: 0 });
  namesOff.guess(100);
  expect(namesOff.isDelayed()).toBe(false);
  namesOff.guess(1);
  expect(namesOff.isDelayed()).toBe(true);
  const sourcesOff = setUp({ sourceFailuresMax: 0 });
  sourcesOff.guess(1000);
  expect([sourcesOff.isDelayed(), sourcesOff.isDelayed('other')]).toEqual([true, false]);
});

it('remembers so many pairs and sources and not one more', () => {
  const { guessing, isDelayed } = setUp({ guessersMax: 3 });
  const failed = (clientId: string, address: string): void =>
    guessing.failed({ clientId, address }, undefined);
  for (let index = 0; index < 6; index++) failed('new', HERE);
  expect(isDelayed('')).toBe(true);
  for (const name of ['__proto__', 'constructor']) failed(name, ELSEWHERE);
  expect([guessing.pairs, guessing.sources, isDelayed('')]).toEqual([3, 2, true]);
  failed('x', ELSEWHERE);
  expect([guessing.pairs, isDelayed('')]).toEqual([3, false]);
  for (const last of ['3', '4', '5']) failed('x', `192.0.2.${last}`);
  expect(guessing.sources).toBe(3);
});
