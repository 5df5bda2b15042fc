import type { Problems } from './text.ts';

/** When a credential opens anything; without an end of its own on a side, it has none there. Milliseconds since 1970. */
export interface Validity {
  /** First millisecond at which it does. */
  readonly from?: number;
  /** First millisecond at which it does not any more; live sessions end then. */
  readonly until?: number;
}

interface HasValidity {
  /** Absent: always. */
  readonly validity?: Validity;
}

export function isValidAt({ validity = {} }: HasValidity, at: number): boolean {
  const { from, until } = validity;
  return (from === undefined || at >= from) && (until === undefined || at < until);
}

export function checkValidity(problems: Problems, { validity = {} }: HasValidity): void {
  const { from, until } = validity;
  if (from === undefined && until === undefined) return;
  for (const [side, time] of Object.entries({ from, until })) {
    if (time !== undefined && !(Number.isSafeInteger(time) && time >= 0)) {
      problems.add(`/validity/${side}`, 'must be a time in milliseconds since 1970');
    }
  }
  if (from !== undefined && until !== undefined && until <= from) {
    problems.add('/validity/until', 'must be later than /validity/from');
  }
}
