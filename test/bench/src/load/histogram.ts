/** Buckets between a value and its double, from 32 on: a reading is off by 1 in 32 at most. */
const STEPS = 32;
const EXACT_BELOW = 2 * STEPS;
const DOUBLINGS = 40;

/** Counts values of 0 to 2^40 in little room. */
export class Histogram {
  readonly #counts = new Uint32Array(EXACT_BELOW + DOUBLINGS * STEPS);
  #total = 0;

  add(value: number): void {
    const bucket = bucketOf(Math.max(0, Math.floor(value)));
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + 1;
    this.#total += 1;
  }

  /** The value below which a share of all lies; NaN without any. */
  percentile(share: number): number {
    const wanted = Math.ceil(this.#total * share);
    let seen = 0;
    for (const [bucket, count] of this.#counts.entries()) {
      seen += count;
      if (count > 0 && seen >= wanted) return valueOf(bucket);
    }
    return NaN;
  }
}

function bucketOf(value: number): number {
  if (value < EXACT_BELOW) return value;
  const doubling = Math.floor(Math.log2(value)) - 5;
  return doubling * STEPS + Math.floor(value / 2 ** doubling);
}

function valueOf(bucket: number): number {
  if (bucket < EXACT_BELOW) return bucket;
  const doubling = Math.floor(bucket / STEPS) - 1;
  return (bucket - doubling * STEPS) * 2 ** doubling;
}
