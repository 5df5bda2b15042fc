import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Deadlines } from './deadlines.ts';

test('items come in the order of their deadlines, and not before', () => {
  const operations = fc.array(
    fc.oneof(
      fc.record({ add: fc.integer({ min: 0, max: 30 }) }),
      fc.record({ takeAt: fc.integer({ min: 0, max: 30 }) }),
    ),
    { maxLength: 100 },
  );
  fc.assert(
    fc.property(operations, (calls) => {
      const deadlines = new Deadlines<number>();
      const model: number[] = [];
      for (const call of calls) {
        if ('add' in call) {
          deadlines.add(call.add, call.add);
          model.push(call.add);
          model.sort((a, b) => a - b);
        } else {
          const isDue = model.length > 0 && (model[0] ?? 0) <= call.takeAt;
          expect(deadlines.takeDue(call.takeAt)).toBe(isDue ? model.shift() : undefined);
        }
        expect(deadlines.size).toBe(model.length);
      }
    }),
  );
});

test('what never comes is not kept', () => {
  const deadlines = new Deadlines<string>();
  deadlines.add(Infinity, 'never');
  expect(deadlines.size).toBe(0);
  expect(deadlines.takeDue(Number.MAX_SAFE_INTEGER)).toBeUndefined();
});
