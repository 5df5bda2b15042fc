import assert from 'node:assert';
import { createRequire } from 'node:module';
import { expect, test } from 'vitest';
import type { SessionStore, StoreBroker } from '../src/session-store.ts';

interface Context {
  plan(assertions: number): void;
  diagnostic(message: string): void;
  readonly assert: Record<'equal' | 'notEqual' | 'deepEqual' | 'ok', (...values: never[]) => void>;
}

type AbstractTests = (options: {
  testAsync: true;
  persistence: () => Promise<SessionStore>;
  test: (title: string, run: (context: Context) => Promise<void>) => void;
}) => void;

// Published without types.
const abstractTests = createRequire(import.meta.url)(
  'aedes-persistence/abstract.js',
) as AbstractTests;

/** The suite changes `broker` through the store, which ours does not show. */
function withBroker(store: SessionStore): SessionStore {
  let shown: StoreBroker | undefined;
  return new Proxy(store, {
    get(target, key) {
      if (key === 'broker') return shown;
      const value: unknown = Reflect.get(target, key, target);
      if (typeof value !== 'function') return value;
      if (key !== 'setup') return value.bind(target) as unknown;
      return async (broker: StoreBroker) => {
        shown = broker;
        await target.setup(broker);
      };
    },
  });
}

/** aedes-persistence's own tests, on an empty store for each of them. */
export function persistenceContract(open: () => Promise<SessionStore>): void {
  abstractTests({
    testAsync: true,
    persistence: async () => withBroker(await open()),
    test: (title, run) => {
      test(`aedes-persistence: ${title}`, async () => {
        let planned: number | undefined;
        let seen = 0;
        const counted = (check: (...values: never[]) => void) => {
          return (...values: never[]): void => {
            seen++;
            check(...values);
          };
        };
        await run({
          plan: (assertions) => (planned = assertions),
          diagnostic: () => undefined,
          assert: {
            equal: counted(assert.equal),
            notEqual: counted(assert.notEqual),
            deepEqual: counted(assert.deepEqual),
            ok: counted((value: unknown) => expect(value).toBeTruthy()),
          },
        });
        if (planned !== undefined) expect(seen).toBe(planned);
      });
    },
  });
}
