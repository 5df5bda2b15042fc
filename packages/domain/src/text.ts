import type { FieldProblem } from '@sallyport/errors';
import { textProblem, utf8Bytes } from '@sallyport/topic';

/** Longest client id, username and object name, in UTF-8 bytes. */
export const NAME_BYTES_MAX = 256;

/** Names that JavaScript gives a meaning of its own; refused as keys of attributes. */
const MAGIC_KEYS: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype']);

/** Collects what is wrong with one input. */
export class Problems {
  readonly #found: FieldProblem[] = [];

  get found(): readonly FieldProblem[] {
    return this.#found;
  }

  add(pointer: string, detail: string): void {
    this.#found.push({ pointer, detail });
  }

  /** A text of 1 to `bytesMax` bytes without control characters or lone surrogates. */
  text(pointer: string, value: string, bytesMax = NAME_BYTES_MAX): void {
    const bytes = utf8Bytes(value);
    if (bytes === 0) this.add(pointer, 'must not be empty');
    else if (bytes > bytesMax) this.add(pointer, `must be at most ${bytesMax} bytes of UTF-8`);
    const problem = textProblem(value);
    if (problem === 'control_character') {
      this.add(pointer, 'must not contain control characters or non-characters');
    } else if (problem === 'lone_surrogate') this.add(pointer, 'must be well-formed Unicode');
  }

  /** A small map of texts; its keys are names. */
  attributes(
    pointer: string,
    value: Readonly<Record<string, string>>,
    entriesMax: number,
    { keyBytesMax = 64, textBytesMax = NAME_BYTES_MAX } = {},
  ): void {
    const entries = Object.entries(value);
    if (entries.length > entriesMax) this.add(pointer, `must have at most ${entriesMax} entries`);
    for (const [key, text] of entries) {
      const here = `${pointer}/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`;
      if (MAGIC_KEYS.has(key)) this.add(here, 'is not usable as a name');
      this.text(here, key, keyBytesMax);
      if (text !== '') this.text(here, text, textBytesMax);
    }
  }
}
