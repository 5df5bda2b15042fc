import { OperationalError } from '@sallyport/errors';
import { createMemorySessionStore, type SecretUse } from '@sallyport/session-store';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { SecretUses } from './secret-uses.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function setUp(options: { intervalMs?: number; waitingMax?: number } = {}) {
  const memory = createMemorySessionStore();
  const writes: (readonly SecretUse[])[] = [];
  const warned: object[] = [];
  const state = { failing: false, now: 1000 };
  const uses = new SecretUses({
    store: {
      secretUses: (id) => memory.secretUses(id),
      noteSecretUses: async (batch) => {
        if (state.failing) throw new OperationalError('session_store_unavailable', 'away');
        writes.push(batch);
        await memory.noteSecretUses(batch);
      },
    },
    intervalMs: 60_000,
    clock: () => state.now,
    logger: { warn: (_reason, fields) => void warned.push(fields) },
    ...options,
  });
  return { uses, writes, warned, state, memory };
}

describe('SecretUses', () => {
  it('writes nothing for a CONNECT, and once for a thousand of them', async () => {
    const { uses, writes, state } = setUp();
    for (let index = 0; index < 1000; index++) {
      state.now = 1000 + index;
      uses.note({ credentialId: 'k', secretId: index % 2 === 0 ? 'old' : 'new' });
    }
    await vi.advanceTimersByTimeAsync(59_999);
    expect(writes).toEqual([]);
    expect(await uses.of('k')).toEqual({ old: 1998, new: 1999 });
    await vi.advanceTimersByTimeAsync(1);
    expect(writes).toEqual([
      [
        { credentialId: 'k', secretId: 'old', at: 1998 },
        { credentialId: 'k', secretId: 'new', at: 1999 },
      ],
    ]);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(writes).toHaveLength(1 + 0);
  });

  it('tells what other nodes have stored, and of two times the later', async () => {
    const { uses, memory } = setUp();
    await memory.noteSecretUses([
      { credentialId: 'k', secretId: 'a', at: 5000 },
      { credentialId: 'k', secretId: 'b', at: 10 },
    ]);
    uses.note({ credentialId: 'k', secretId: 'a' });
    uses.note({ credentialId: 'k', secretId: 'b' });
    uses.note({ credentialId: 'k' });
    expect(await uses.of('k')).toEqual({ a: 5000, b: 1000, '': 1000 });
    expect(await uses.of('__proto__')).toEqual({});
  });

  it('keeps what cannot be stored until it can, and loses nothing newer to it', async () => {
    const { uses, writes, warned, state } = setUp();
    uses.note({ credentialId: 'k', secretId: 'a' });
    uses.note({ credentialId: 'k', secretId: 'b' });
    state.failing = true;
    const storing = uses.store();
    state.now = 2000;
    uses.note({ credentialId: 'k', secretId: 'a' });
    await storing;
    expect(warned).toMatchObject([{ code: 'session_store_unavailable', waiting: 1 }]);
    state.failing = false;
    await uses[Symbol.asyncDispose]();
    expect(writes.flat()).toEqual([
      { credentialId: 'k', secretId: 'a', at: 2000 },
      { credentialId: 'k', secretId: 'b', at: 1000 },
    ]);
  });

  it('has a bound: of more credentials than that, those that come are not noted', async () => {
    const { uses } = setUp({ waitingMax: 2 });
    for (const credentialId of ['a', 'b', 'c']) uses.note({ credentialId, secretId: 's' });
    expect(await uses.of('b')).toEqual({ s: 1000 });
    expect(await uses.of('c')).toEqual({});
    await uses.store();
    uses.note({ credentialId: 'c', secretId: 's' });
    expect(await uses.of('c')).toEqual({ s: 1000 });
  });

  it('notes nothing when it is turned off', async () => {
    const { uses, writes } = setUp({ intervalMs: 0 });
    uses.note({ credentialId: 'k', secretId: 's' });
    await uses[Symbol.asyncDispose]();
    expect([writes, await uses.of('k')]).toEqual([[], {}]);
  });
});
