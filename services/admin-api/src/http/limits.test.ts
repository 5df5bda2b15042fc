import { describe, expect, it } from 'vitest';
import { World } from '../testing/world.ts';
import { sourceOf } from './context.ts';
import { ATTEMPTS_WAITING_MAX, Lockout } from './lockout.ts';
import { BUCKETS_MAX, RateLimit } from './rate-limit.ts';

const limits = { failuresMax: 2, windowMs: 1000, lockMs: 5000, entriesMax: 3 };
const fail = () => Promise.resolve(undefined);

describe('the lockout', () => {
  it('remembers as many keys as it may, and forgets the oldest', async () => {
    const lockout = new Lockout(limits, () => 0);
    for (const key of ['a', 'a', 'b', 'c']) await lockout.attempt(key, fail);
    expect(lockout.lockedForMs('a')).toBe(5000);
    await lockout.attempt('d', fail);
    expect(lockout.lockedForMs('a')).toBe(0);
  });

  it('lets as many attempts wait as it may, and turns the next one away', async () => {
    const lockout = new Lockout({ ...limits, failuresMax: 1000 }, () => 0);
    let release: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => (release = resolve));
    const wait = () => gate.then(() => 'right');
    const waiting = Array.from({ length: ATTEMPTS_WAITING_MAX }, () => lockout.attempt('a', wait));
    expect(await lockout.attempt('a', wait)).toEqual({ ok: false, retryAfterMs: 1000 });
    expect(await lockout.attempt('b', () => Promise.resolve(1))).toEqual({ ok: true, value: 1 });
    release();
    expect((await Promise.all(waiting)).every((one) => one.ok)).toBe(true);
    expect((await lockout.attempt('a', wait)).ok).toBe(true);
  });

  it('counts a check that could not be made as nothing, and goes on', async () => {
    const lockout = new Lockout({ ...limits, failuresMax: 1 }, () => 0);
    const broken = lockout.attempt('a', () => Promise.reject(new Error('pool is full')));
    await expect(broken).rejects.toThrow('pool is full');
    expect((await lockout.attempt('a', fail)).ok).toBe(true);
    expect((await lockout.attempt('a', fail)).ok).toBe(false);
  });
});

describe('the rate limit', () => {
  it('forgets the caller that was quiet the longest, and holds no more than it may', () => {
    const limit = new RateLimit(1, () => 0);
    expect([limit.take('first'), limit.take('first')]).toEqual([0, 1000]);
    for (let caller = 0; caller < BUCKETS_MAX - 1; caller++) limit.take(`caller ${caller}`);
    expect(limit.take('first')).toBe(1000);
    for (let caller = 0; caller < BUCKETS_MAX; caller++) limit.take(`other ${caller}`);
    expect(limit.take('first')).toBe(0);
  });

  it('a clock that goes back takes nothing away', () => {
    let now = 1000;
    const limit = new RateLimit(2, () => now);
    limit.take('a');
    now = 0;
    expect(limit.take('a')).toBe(0);
  });
});

describe('the source of a request', () => {
  it.each([
    ['192.0.2.1', '192.0.2.1'],
    ['::ffff:192.0.2.1', '::ffff:192.0.2.1'],
    ['::1', '0:0:0:0::/64'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:db8:1:2::', '2001:db8:1:2::/64'],
  ])('of %s is %s', (ip, source) => {
    expect(sourceOf({ ip })).toBe(source);
  });
});

describe('the comparison with the document', () => {
  it('finds what is not documented, in status, media type and shape', async () => {
    const world = await World.open();
    const answer = { method: 'GET', url: '/api/v1/status', status: 200, type: 'application/json' };
    const body = { revision: 1, hash: '', importedSecrets: {} };
    world.conformance.check({ ...answer, body });
    for (const wrong of [
      { ...answer, body: { revision: '1', hash: '' } },
      { ...answer, body: {} },
      { ...answer, status: 201, body },
      { ...answer, type: 'text/html', body },
      { ...answer, status: 404, type: 'application/problem+json', body },
    ]) {
      expect(() => world.conformance.check(wrong)).toThrow();
    }
    await world[Symbol.asyncDispose]();
  });
});
