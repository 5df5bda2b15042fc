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
