import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { expect, test } from 'vitest';
import type { LocalBusOptions, MessageBus } from '../src/message-bus.ts';

/** What mqemitter's tests use of the context of node:test. */
interface Context {
  plan(assertions: number): void;
  fail(message: string): never;
  readonly assert: Pick<typeof assert, 'equal' | 'deepEqual' | 'ok' | 'ifError'>;
}

type AbstractTests = (options: {
  builder: (options?: LocalBusOptions) => MessageBus;
  test: (title: string, run: (context: Context) => Promise<void>) => void;
}) => void;

// Published without types.
const abstractTests = createRequire(import.meta.url)('mqemitter/abstractTest.js') as AbstractTests;

/** mqemitter's own tests, on a bus that is built from what `prepare` has opened before each of them. */
export function mqemitterContract<Opened>(
  prepare: () => Promise<Opened>,
  build: (opened: Opened, options?: LocalBusOptions) => MessageBus,
): void {
  let opened: Opened | undefined;
  abstractTests({
    builder: (options) => {
      if (opened === undefined) throw new Error('one bus a test');
      const bus = build(opened, options);
      opened = undefined;
      return bus;
    },
    test: (title, run) => {
      test(`mqemitter: ${title}`, async () => {
        opened = await prepare();
        let planned: number | undefined;
        let seen = 0;
        const counted = <A extends unknown[]>(check: (...values: A) => void) => {
          return (...values: A): void => {
            seen++;
            check(...values);
          };
        };
        await run({
          plan: (assertions) => (planned = assertions),
          fail: (message) => assert.fail(message),
          assert: {
            equal: counted(assert.equal),
            deepEqual: counted(assert.deepEqual),
            ok: counted((value: unknown) => expect(value).toBeTruthy()),
            ifError: counted((value: unknown) => assert.ifError(value)),
          } as Context['assert'],
        });
        if (planned !== undefined) expect(seen).toBe(planned);
      });
    },
  });
}
