import { describe, expect, test } from 'vitest';
import { SEEN_ORIGINS_MAX, SEEN_WINDOW_LENGTH, SeenWindow } from './seen-window.ts';

describe('the window of seen messages', () => {
  test('a copy is recognised, an overtaken message is not taken for one', () => {
    const seen = new SeenWindow();
    expect(seen.firstTime('a', 5)).toBe(true);
    expect(seen.firstTime('a', 5)).toBe(false);
    expect(seen.firstTime('a', 7)).toBe(true);
    expect(seen.firstTime('a', 6)).toBe(true);
    expect(seen.firstTime('a', 6)).toBe(false);
    expect(seen.firstTime('a', 1)).toBe(true);
    expect(seen.firstTime('b', 5)).toBe(true);
  });

  test('the last sequence of the window is known, one before it is refused', () => {
    const seen = new SeenWindow();
    seen.firstTime('a', SEEN_WINDOW_LENGTH + 10);
    expect(seen.firstTime('a', 11)).toBe(true);
    expect(seen.firstTime('a', 11)).toBe(false);
    expect(seen.firstTime('a', 10)).toBe(false);
  });

  test('bits are free again after the window has moved on, by one step or by a leap', () => {
    const seen = new SeenWindow();
    for (let sequence = 1; sequence <= SEEN_WINDOW_LENGTH * 3; sequence++) {
      expect(seen.firstTime('a', sequence)).toBe(true);
      expect(seen.firstTime('a', sequence)).toBe(false);
    }
    expect(seen.firstTime('a', SEEN_WINDOW_LENGTH * 9)).toBe(true);
    expect(seen.firstTime('a', SEEN_WINDOW_LENGTH * 9 - 1)).toBe(true);
    expect(seen.firstTime('a', SEEN_WINDOW_LENGTH * 9 - 1)).toBe(false);
  });

  test('agrees with a set of everything seen, for shuffled copies', () => {
    const seen = new SeenWindow();
    const reference = new Set<number>();
    let state = 42;
    for (let count = 0; count < 20_000; count++) {
      state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
      const sequence = Math.floor(count / 2) + (state % 1000);
      expect(seen.firstTime('a', sequence)).toBe(!reference.has(sequence));
      reference.add(sequence);
    }
  });

  test('the origin heard longest ago is forgotten first', () => {
    const seen = new SeenWindow();
    for (let origin = 0; origin < SEEN_ORIGINS_MAX; origin++) seen.firstTime(String(origin), 1);
    expect(seen.firstTime('0', 1)).toBe(false); // Heard again: now 1 is the oldest.
    seen.firstTime('one more', 1);
    expect(seen.firstTime('0', 1)).toBe(false);
    expect(seen.firstTime('1', 1)).toBe(true);
  });
});
