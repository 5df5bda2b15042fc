/** One line of the table. */
export interface Figure {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
}

const figures: Figure[] = [];

/** Notes a figure and prints it at once. */
export function figure(name: string, value: number, unit: string): void {
  figures.push({ name, value, unit });
  const digits = value >= 100 ? 0 : value >= 1 ? 2 : 3;
  const number = value.toLocaleString('en', { maximumFractionDigits: digits });
  console.log(`  ${name.padEnd(64)} ${number.padStart(12)} ${unit}`);
}

export function heading(text: string): void {
  console.log(`\n${text}`);
}

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
