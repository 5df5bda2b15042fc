import { OperationalError } from '@sallyport/errors';
import type { SessionStore } from '@sallyport/session-store';
import { setImmediate as nextTurn } from 'node:timers/promises';

type Method = keyof SessionStore;
type AnyCall = (...args: unknown[]) => unknown;

/** The store with something between it and its caller. `call` is given every call of a method that answers a promise. */
function between(
  store: SessionStore,
  call: (method: Method, run: () => Promise<unknown>, args: unknown[]) => Promise<unknown>,
): SessionStore {
  return new Proxy(store, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      const method = value as AnyCall;
      if (synchronous.has(name as Method)) return method.bind(target);
      return (...args: unknown[]) =>
        call(name as Method, async () => method.apply(target, args), args);
    },
  });
}

const synchronous: ReadonlySet<Method> = new Set<Method>([
  'sharedSubscriptionsByTopic',
  'unqueuedSubscriptions',
  'isShareMember',
  'createRetainedStream',
  'createRetainedStreamCombi',
  'outgoingStream',
  'streamWill',
  'getClientList',
]);

/** A store of which a test stops or fails single calls. */
export class StoreControl {
  readonly store: SessionStore;
  /** Every call, in order. */
  readonly calls: Method[] = [];
  /** Methods that fail as if the store were away. */
  readonly failing = new Set<Method>();
  /** Awaited before the call takes effect. */
  readonly before = new Map<Method, () => Promise<void>>();
  /** Awaited after the call has taken effect, before it is answered. */
  readonly after = new Map<Method, () => Promise<void>>();

  constructor(store: SessionStore) {
    this.store = between(store, async (method, run) => {
      this.calls.push(method);
      const before = this.before.get(method);
      if (before !== undefined) await before();
      if (this.failing.has(method)) throw unavailable();
      const answer = run();
      const after = this.after.get(method);
      if (after !== undefined) await after();
      return answer;
    });
  }
}

export const unavailable = (): OperationalError =>
  new OperationalError('session_store_unavailable', 'away for the test');

/** Often none or a few, now and then many. */
const some = (random: () => number): number => Math.floor(40 * random() ** 4);

interface Travelling {
  readonly run: () => Promise<unknown>;
  readonly resolve: (answer: Promise<unknown>) => void;
}

/**
 * A store behind a connection that takes a while: calls take effect in the order in which they were made, some turns later, and are
 * answered in that order, some turns later again; so does a database with one connection.
 */
export function distantStore(store: SessionStore, random: () => number): SessionStore {
  const requests: Travelling[] = [];
  const answers: (() => void)[] = [];
  let running = false;
  const run = async (): Promise<void> => {
    running = true;
    while (requests.length > 0 || answers.length > 0) {
      await nextTurn();
      for (const answer of answers.splice(0, some(random))) answer();
      for (const { run: effect, resolve } of requests.splice(0, some(random))) {
        const answer = effect();
        answers.push(() => resolve(answer));
      }
    }
    running = false;
  };
  return between(store, (_method, effect) => {
    const answered = new Promise<unknown>((resolve) => requests.push({ run: effect, resolve }));
    if (!running) void run();
    return answered;
  });
}
