import { createHash, randomInt } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { fuzz } from './src/fuzz.ts';
import { fuzzCase } from './src/fuzz-case.ts';

const SECONDS = 7;
const seeds = [20_261_127, randomInt(2 ** 32)];

describe('a broker under malformed packets (P3, P4, P8, P14)', () => {
  it('is attacked by the same bytes again when the seed is the same', () => {
    const login = { username: 'fuzz', password: 'secret' };
    const bytes = (seed: number): string => {
      const hash = createHash('sha256');
      for (let index = 0; index < 200; index++) {
        const { login: first, segments } = fuzzCase(seed, index, login);
        for (const segment of [first ?? '', ...segments]) hash.update(segment).update('\0');
      }
      return hash.digest('hex');
    };
    expect(bytes(1)).toBe(bytes(1));
    expect(bytes(1)).not.toBe(bytes(2));
  });

  it.each(seeds)(
    'stays up, keeps its memory, logs little and serves the others; seed %i',
    async (seed) => {
      const report = await fuzz({ seconds: SECONDS, seed });
      expect(report.findings).toEqual([]);
      expect(report.cases).toBeGreaterThan(100);
      // Both kinds of cases have come through, or nothing was tried.
      expect(report.outcomes.closed).toBeGreaterThan(0);
      expect(report.outcomes.open).toBeGreaterThan(0);
      expect(report.canaryRoundTrips.length).toBeGreaterThan(10);
    },
  );
});
