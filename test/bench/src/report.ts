/** One line of the table. */
export interface Figure {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  readonly target?: Omit<Target, 'of'>;
  /** Absent without a target. */
  readonly met?: boolean;
}

const figures: Figure[] = [];

/** Notes a figure and prints it at once. */
export function figure(name: string, value: number, unit: string): void {
  figures.push({ name, value, unit });
  const digits = value >= 100 ? 0 : value >= 1 ? 2 : 3;
  const number = value.toLocaleString('en', { maximumFractionDigits: digits });
  console.log(`  ${name.padEnd(64)} ${number.padStart(12)} ${unit}`);
}

/** A figure that is held against a target. */
export function measured(
  name: string,
  value: number,
  unit: string,
  bound: Target['bound'],
  target: number,
): void {
  const met = bound === '≥' ? value >= target : value <= target;
  figures.push({ name, value, unit, target: { bound, value: target }, met });
  console.log(
    columns([
      `${name} (${unit})`,
      '',
      short(value),
      '',
      `${bound} ${target}`,
      met ? '  met' : '  MISSED',
    ]),
  );
}

export function heading(text: string): void {
  console.log(`\n${text}`);
}

/** Notes a figure that is held against a bound, and prints both. */
export function boundFigure(
  one: Figure & { readonly bound: '≥' | '≤'; readonly limit: number },
): void {
  const { name, value, unit, bound, limit } = one;
  const met = bound === '≥' ? value >= limit : value <= limit;
  boundFigures.push({ ...one, met });
  const cells = [short(value).padStart(10), unit.padEnd(8), bound, short(limit).padStart(7)];
  console.log(`  ${name.padEnd(64)} ${cells.join(' ')}  ${met ? 'met' : 'MISSED'}`);
}

const boundFigures: (Figure & { bound: string; limit: number; met: boolean })[] = [];
export const allBoundFigures = (): readonly Figure[] => boundFigures;

/** What a comparison is held against: the ratio of ours to theirs, or our figure alone. */
export interface Target {
  readonly of: 'ratio' | 'ours';
  readonly bound: '≥' | '≤';
  readonly value: number;
}

/** The same thing measured on both sides in one run. NaN where a side did not get through. */
export interface Comparison {
  readonly name: string;
  readonly unit: string;
  readonly theirs: number;
  readonly ours: number;
  readonly target?: Target;
}

export interface JudgedComparison extends Comparison {
  readonly ratio: number;
  /** Absent without a target. */
  readonly met?: boolean;
}

const comparisons: JudgedComparison[] = [];
const COLUMNS = [68, 10, 10, 6, 6] as const;

function columns(cells: readonly string[]): string {
  const [name = '', ...rest] = cells;
  const padded = rest.map((cell, index) => cell.padStart(COLUMNS[index + 1] ?? 0));
  return `  ${name.padEnd(COLUMNS[0])} ${padded.join(' ')}`.trimEnd();
}

/** The names of the columns of `compared`. */
export function comparedHeading(theirs: string, ours: string): void {
  console.log(columns(['', theirs, ours, 'ratio', 'target']));
}

/** Notes a comparison and prints it at once. */
export function compared(comparison: Comparison): void {
  const { name, unit, theirs, ours, target } = comparison;
  const ratio = ours / theirs;
  const judged = target === undefined ? {} : { met: meets(target, { ratio, ours }) };
  comparisons.push({ ...comparison, ratio, ...judged });
  const bound = target === undefined ? '' : `${target.bound} ${target.value}`;
  const verdict = judged.met === undefined ? '' : judged.met ? '  met' : '  MISSED';
  console.log(
    columns([`${name} (${unit})`, short(theirs), short(ours), short(ratio), bound, verdict]),
  );
}

function meets({ of, bound, value }: Target, measured: Record<Target['of'], number>): boolean {
  // A side without a figure meets nothing: every comparison with NaN is false.
  return bound === '≥' ? measured[of] >= value : measured[of] <= value;
}

function short(value: number): string {
  if (Number.isNaN(value)) return '–';
  const maximumFractionDigits = value >= 100 ? 0 : 2;
  return value.toLocaleString('en', { maximumFractionDigits });
}

export const allComparisons = (): readonly JudgedComparison[] => comparisons;

const details: Record<string, unknown> = {};

/** Keeps raw measurements of a part for the JSON. */
export function detail(part: string, raw: unknown): void {
  details[part] = raw;
}

export const allDetails = (): Readonly<Record<string, unknown>> => details;

export const allFigures = (): readonly Figure[] => figures;

/** The value below which a share of the samples lies. */
export function percentile(samples: readonly number[], share: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN;
}

/** Microseconds for one call, over at least `calls` calls after a warm-up. */
export function microseconds(calls: number, run: (index: number) => unknown): number {
  for (let index = 0; index < calls / 10; index++) run(index);
  const started = performance.now();
  for (let index = 0; index < calls; index++) run(index);
  return ((performance.now() - started) * 1000) / calls;
}

/** The same for asynchronous calls, one after the other. */
export async function microsecondsAsync(
  calls: number,
  run: (index: number) => Promise<unknown>,
): Promise<number> {
  for (let index = 0; index < calls / 10; index++) await run(index);
  const started = performance.now();
  for (let index = 0; index < calls; index++) await run(index);
  return ((performance.now() - started) * 1000) / calls;
}
