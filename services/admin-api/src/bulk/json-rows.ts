import { JSON_DEPTH_MAX } from '../http/json-body.ts';
import { malformed, type RawRow, type RawRows, ROW_LENGTH_MAX, tooLong } from './raw-rows.ts';

// Whoever makes the row ready reads it: that may be another thread.
const rowOf = (text: string): RawRow => ({ text, unread: true });

/** One JSON value a line; lines of white space are no rows. A line that is no JSON is a row that fails. */
export async function* ndjsonRows(texts: AsyncIterable<string>): RawRows {
  let rest = '';
  for await (const text of texts) {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    if (rest.length > ROW_LENGTH_MAX) throw tooLong();
    yield rowsOf(lines);
  }
  yield rowsOf([rest]);
}

function rowsOf(lines: readonly string[]): readonly RawRow[] {
  const rows: RawRow[] = [];
  for (const line of lines) {
    const text = line.trim();
    if (text.length > ROW_LENGTH_MAX) throw tooLong();
    if (text !== '') rows.push(rowOf(text));
  }
  return rows;
}

const SPACE = /^[ \t\r\n]*$/;

/** The entries of one JSON array, which is never in memory as a whole. */
export async function* jsonRows(texts: AsyncIterable<string>): RawRows {
  const splitter = new ArraySplitter();
  for await (const text of texts) yield splitter.push(text).map(rowOf);
  splitter.end();
}

const QUOTE = 0x22;
const COMMA = 0x2c;
const BACKSLASH = 0x5c;
const BRACKET_CLOSING = 0x5d;
/** `[` and `{`. */
const OPENING: ReadonlySet<number> = new Set([0x5b, 0x7b]);
/** `]` and `}`. */
const CLOSING: ReadonlySet<number> = new Set([BRACKET_CLOSING, 0x7d]);

/** Cuts the text of an array into the texts of its entries. What they are is for a JSON parser to say. */
export class ArraySplitter {
  #state: 'before' | 'inside' | 'after' = 'before';
  #entries = 0;
  /** The part of the present entry that came with earlier texts. */
  #rest = '';
  #depth = 0;
  #inText = false;
  #escaped = false;

  /** Entries that end in `text`. O(length). */
  push(text: string): string[] {
    const entries: string[] = [];
    let start = this.#begin(text);
    for (let index = start; index < text.length && this.#state === 'inside'; index++) {
      const ends = this.#step(text.charCodeAt(index));
      if (ends === undefined) continue;
      this.#take(this.#rest + text.slice(start, index), ends === 'array', entries);
      this.#rest = '';
      start = index + 1;
    }
    if (this.#state === 'inside') this.#rest += text.slice(start);
    else if (this.#state === 'after' && !SPACE.test(text.slice(start))) throw noArray();
    if (this.#rest.length > ROW_LENGTH_MAX) throw tooLong();
    return entries;
  }

  /** @throws RefusedError `malformed_body` when the array has not ended */
  end(): void {
    if (this.#state !== 'after') throw malformed('must be a JSON array, and ends before its end');
  }

  /** Where the entries begin in `text`. */
  #begin(text: string): number {
    if (this.#state !== 'before') return 0;
    const found = text.search(/[^ \t\r\n]/);
    if (found === -1) return text.length;
    if (text[found] !== '[') throw noArray();
    this.#state = 'inside';
    return found + 1;
  }

  /** Whether the entry, or the array with it, ends at this character. */
  #step(unit: number): 'entry' | 'array' | undefined {
    if (this.#inText) this.#stepInText(unit);
    else if (unit === QUOTE) this.#inText = true;
    else if (unit === COMMA) return this.#depth === 0 ? 'entry' : undefined;
    else if (OPENING.has(unit)) this.#deeper();
    else if (CLOSING.has(unit)) return this.#close(unit);
    return undefined;
  }

  #stepInText(unit: number): void {
    if (this.#escaped) this.#escaped = false;
    else if (unit === BACKSLASH) this.#escaped = true;
    else if (unit === QUOTE) this.#inText = false;
  }

  #close(unit: number): 'array' | undefined {
    if (this.#depth > 0) {
      this.#depth--;
      return undefined;
    }
    if (unit !== BRACKET_CLOSING) throw noArray();
    return 'array';
  }

  #deeper(): void {
    this.#depth++;
    if (this.#depth > JSON_DEPTH_MAX)
      throw malformed(`must be nested at most ${JSON_DEPTH_MAX} deep`);
  }

  #take(text: string, last: boolean, entries: string[]): void {
    const entry = text.trim();
    const empty = last && this.#entries === 0 && entry === '';
    if (entry.length > ROW_LENGTH_MAX) throw tooLong();
    if (!empty) {
      if (entry === '') throw malformed('must be a JSON array, and has an entry without a value');
      entries.push(entry);
    }
    this.#entries++;
    if (last) this.#state = 'after';
  }
}

const noArray = (): Error => malformed('must be one JSON array');
