import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, it } from 'vitest';
import { TurnPace } from './turn-pace.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

it('does in each turn as much as it may, in order, and what comes meanwhile behind that', async () => {
  const pace = new TurnPace(3);
  const done: number[] = [];
  const add = (...numbers: number[]): void => {
    for (const number of numbers) pace.do(() => done.push(number));
  };
  add(1, 2, 3);
  expect(done).toEqual([1, 2, 3]);
  add(4, 5, 6, 7);
  expect(done).toEqual([1, 2, 3]);
  await turn();
  expect(done).toEqual([1, 2, 3, 4, 5, 6]);
  add(8);
  await turn();
  expect(done).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  add(9);
  expect(done.at(-1)).toBe(9);
});

it('is as it was after a turn with nothing to do', async () => {
  const pace = new TurnPace(1);
  let done = 0;
  for (let count = 1; count <= 3; count++) {
    pace.do(() => (done += 1));
    expect(done).toBe(count);
    await turn();
    await turn();
  }
});

it('takes its turns with those that bring work, and does none of one that is forgotten', async () => {
  const pace = new TurnPace(4);
  const done: string[] = [];
  const [flood, other, gone] = [{}, {}, {}];
  const add = (origin: object, ...names: string[]): void => {
    for (const name of names) pace.do(() => done.push(name), origin);
  };
  add(flood, 'a1', 'a2', 'a3', 'a4', 'a5', 'a6', 'a7', 'a8', 'a9');
  add(gone, 'c1', 'c2');
  add(other, 'b1', 'b2');
  pace.forget(gone);
  await turn();
  expect(done.slice(4)).toEqual(['a5', 'b1', 'a6', 'b2']);
  await turn();
  expect(done.slice(8)).toEqual(['a7', 'a8', 'a9']);
});

it('keeps nothing that is done, though it is never empty', async () => {
  const pace = new TurnPace(4);
  const kept: WeakRef<object>[] = [];
  const add = (): void => {
    const work = { done: 0 };
    kept.push(new WeakRef(work));
    pace.do(() => (work.done += 1));
  };
  for (let count = 0; count < 100; count++) add();
  // In each turn as much comes as is done.
  for (let count = 0; count < 500; count++) {
    await turn();
    for (let share = 0; share < 4; share++) add();
  }
  setFlagsFromString('--expose-gc');
  runInNewContext('gc()');
  expect(kept.filter((one) => one.deref() !== undefined).length).toBeLessThanOrEqual(100);
});
