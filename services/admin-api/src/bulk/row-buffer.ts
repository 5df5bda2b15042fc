import { refused } from '../http/problems.ts';
import type { RawRow, RawRows } from './raw-rows.ts';

/** Rows by number instead of as they come in. What is wrong with the file comes after the rows before it. */
export class RowBuffer {
  readonly #source: AsyncIterator<readonly RawRow[]>;
  readonly #rowsMax: number;
  #rows: RawRow[] = [];
  #read = 0;
  #failure: { readonly error: unknown } | undefined;
  #ended = false;

  constructor(rows: RawRows, rowsMax: number) {
    this.#source = rows[Symbol.asyncIterator]();
    this.#rowsMax = rowsMax;
  }

  /** Rows that came in. */
  get read(): number {
    return this.#read;
  }

  /** The next rows, at most `count`; fewer only at the end. @throws RefusedError `too_many_rows`, or what the source throws */
  async take(count: number): Promise<RawRow[]> {
    await this.#fill(count);
    if (this.#rows.length === 0 && this.#failure !== undefined) throw this.#failure.error;
    return this.#rows.splice(0, count);
  }

  /** Whether there is nothing more to take; false before a failure. */
  async atEnd(): Promise<boolean> {
    await this.#fill(1);
    return this.#rows.length === 0 && this.#failure === undefined;
  }

  async #fill(count: number): Promise<void> {
    while (this.#rows.length < count && !this.#ended) {
      try {
        const next = await this.#source.next();
        if (next.done === true) this.#ended = true;
        else this.#add(next.value);
      } catch (error) {
        this.#ended = true;
        this.#failure = { error };
      }
    }
  }

  #add(rows: readonly RawRow[]): void {
    const room = this.#rowsMax - this.#read;
    const taken = rows.slice(0, room);
    this.#read += taken.length;
    this.#rows.push(...taken);
    if (taken.length === rows.length) return;
    throw refused('too_many_rows', { detail: `At most ${this.#rowsMax} rows are taken.` });
  }
}
