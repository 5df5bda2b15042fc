import { createMemorySessionStore, type SessionStore } from '@sallyport/session-store';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { settle } from '../test-support/settle.ts';
import { TestHooks, TestObserver } from '../test-support/test-hooks.ts';
import { StoreControl, unavailable } from '../test-support/test-store.ts';
import { DueWork } from './due-work.ts';

const NOW = 1000;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
});

afterEach(() => {
  vi.useRealTimers();
});

const tick = async (): Promise<void> => {
  await vi.advanceTimersByTimeAsync(500);
  await settle();
};

const workOn = (store: SessionStore, handOn = (_clientId: string) => Promise.resolve()) => {
  const published: string[] = [];
  const hooks = new TestHooks();
  const observer = new TestObserver();
  const work = new DueWork({
    store,
    hooks,
    observer,
    clock: () => NOW,
    publish: async ({ topic }) => void published.push(topic),
    handOn,
  });
  work.start();
  return { work, published, hooks, observer };
};

/** Sessions that left a will which is due, or have ended. */
async function leave(store: SessionStore, names: readonly string[], kind: 'will' | 'expired') {
  for (const clientId of names) {
    const { epoch } = await store.openSession({
      clientId,
      owner: 'o',
      principal: {},
      expirySeconds: kind === 'will' ? 600 : 1,
      nodeId: 'n',
      cleanStart: true,
      now: 0,
      ...(kind === 'will' && { will: { topic: clientId, payload: Buffer.from('w'), qos: 0 } }),
    });
    const expirySeconds = kind === 'will' ? 600 : 1;
    await store.closeSession({ clientId, epoch, now: 0, expirySeconds, will: 'keep' });
  }
}

const names = (count: number): string[] => Array.from({ length: count }, (_, index) => `c${index}`);

test('all that is due is done in one go, however much it is', async () => {
  const store = createMemorySessionStore();
  await leave(store, names(250), 'will');
  const { work, published } = workOn(store);
  await tick();
  expect(published.sort()).toEqual(names(250).sort());
  await work[Symbol.asyncDispose]();
});

test('a session that has ended is dropped when its messages were handed on, and again if that failed', async () => {
  const store = createMemorySessionStore();
  await leave(store, ['fine', 'broken'], 'expired');
  const handed: string[] = [];
  const { work, observer } = workOn(store, async (clientId) => {
    handed.push(clientId);
    if (clientId === 'broken') throw new Error('broken');
  });
  await tick();
  expect(handed.sort()).toEqual(['broken', 'fine']);
  expect(observer.problems.map(({ message }) => message)).toEqual(['broken']);
  const due = await store.claimDue({ now: NOW + 60_000, limit: 10 });
  expect(due.map(({ record }) => record.clientId)).toEqual(['broken']);
  await work[Symbol.asyncDispose]();
});

test('one item in whose way something is does not stop those that were taken with it', async () => {
  const store = createMemorySessionStore();
  await leave(store, names(5), 'will');
  const { work, published, hooks, observer } = workOn(store);
  hooks.storedRights = async ({ clientId }) => {
    if (clientId === 'c1') throw new Error('broken');
    return clientId !== 'c2';
  };
  await tick();
  expect(published.sort()).toEqual(['c0', 'c3', 'c4']);
  expect(observer.problems).toHaveLength(1);
  await work[Symbol.asyncDispose]();
});

test('while the store is away nothing is lost, and nobody is told twice a second', async () => {
  const control = new StoreControl(createMemorySessionStore());
  await leave(control.store, names(3), 'will');
  const { work, published, observer } = workOn(control.store);
  control.failing.add('claimDue');
  await tick();
  await tick();
  expect([published, observer.problems]).toEqual([[], []]);
  control.failing.clear();
  await tick();
  expect(published).toHaveLength(3);
  await work[Symbol.asyncDispose]();
});

test('what the store did not take is done again in its order, until it is taken', async () => {
  const { work } = workOn(createMemorySessionStore());
  const done: string[] = [];
  let away = true;
  for (const name of ['first', 'second']) {
    work.repeat(async () => {
      if (away) throw unavailable();
      done.push(name);
    });
  }
  await tick();
  expect(done).toEqual([]);
  away = false;
  await tick();
  await tick();
  expect(done).toEqual(['first', 'second']);
  await work[Symbol.asyncDispose]();
});

test('a run that takes long is waited for, not doubled', async () => {
  const store = createMemorySessionStore();
  await leave(store, ['slow'], 'will');
  const { work, published, hooks } = workOn(store);
  let answer = (): void => undefined;
  hooks.storedRights = () => new Promise((resolve) => (answer = () => resolve(true)));
  await tick();
  await tick();
  expect(hooks.storedAsked).toHaveLength(1);
  let disposed = false;
  const end = work[Symbol.asyncDispose]().then(() => (disposed = true));
  await settle();
  expect(disposed).toBe(false);
  answer();
  await end;
  expect(published).toEqual(['slow']);
});
