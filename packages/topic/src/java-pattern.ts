import {
  type CharacterSet,
  classText,
  codePointText,
  LINE_TERMINATORS,
  predefinedClass,
  propertyClass,
  rangeOf,
} from './java-class.ts';

/** Most states that a pattern may need; a match costs at most this many steps for each character of the text. */
export const PATTERN_STATES_MAX = 1024;

/** Most that one quantifier may repeat; the engine's own limit. */
export const PATTERN_REPEATS_MAX = 1000;

/** One piece of a pattern; `text` is RE2's syntax for it. `anchor` and `end` consume nothing. */
export interface Token {
  readonly kind: 'literal' | 'any' | 'atom' | 'anchor' | 'end' | 'open' | 'close' | 'or' | 'repeat';
  readonly text: string;
  /** Of `open`: whether the group keeps what it takes. Its text does not, because whole matches do not ask. */
  readonly captures?: true;
}

/** Why a pattern is refused: a sentence that fits after "The pattern …". */
export class PatternRefusal extends Error {
  override readonly name = 'PatternRefusal';
}

const refuse = (problem: string): never => {
  throw new PatternRefusal(problem);
};

/** Constructs of Java that no linear-time engine reproduces, or that would change their meaning, by their letter. */
const refusedEscapes: ReadonlyMap<string, string> = new Map([
  ['G', 'the end of the previous match'],
  ['X', 'a grapheme cluster'],
  ['R', 'a linebreak sequence'],
  ['N', 'a named character'],
  ['k', 'a back-reference'],
  ['b', 'a word boundary'],
  ['B', 'a word boundary'],
]);

/** `end` is Java's end before a final line terminator: our end only where nothing follows, see `filter-pattern.ts`. */
const anchorEscapes: ReadonlyMap<string, Token> = new Map([
  ['A', { kind: 'anchor', text: '\\A' }],
  ['z', { kind: 'anchor', text: '\\z' }],
  ['Z', { kind: 'end', text: '\\z' }],
]);

const controlEscapes: ReadonlyMap<string, number> = new Map([
  ['t', 0x09],
  ['n', 0x0a],
  ['r', 0x0d],
  ['f', 0x0c],
  ['a', 0x07],
  ['e', 0x1b],
]);

const refusedGroups: readonly (readonly [string, string])[] = [
  ['(?=', 'look-ahead'],
  ['(?!', 'look-ahead'],
  ['(?<=', 'look-behind'],
  ['(?<!', 'look-behind'],
  ['(?>', 'an atomic group'],
];

const ANY = classText(LINE_TERMINATORS, true);
const ANY_AT_ALL = '(?s:.)';

interface Flags {
  readonly ignoreCase: boolean;
  readonly dotAll: boolean;
}

/**
 * Reads a pattern in the syntax of `java.util.regex` (Java 17, no flags) and gives its pieces in RE2's syntax.
 * @throws PatternRefusal for what Java refuses, and for what would not mean the same
 */
export function readJavaPattern(source: string): readonly Token[] {
  return new Reader(source).read();
}

class Reader {
  readonly #source: string;
  readonly #tokens: Token[] = [];
  readonly #groupNames = new Set<string>();
  /** Flags and number of states outside the groups that are open. */
  readonly #groups: { flags: Flags; states: number }[] = [];
  #flags: Flags = { ignoreCase: false, dotAll: false };
  #position = 0;
  #states = 0;
  /** States of the last piece, when a quantifier may follow it. */
  #repeatable: number | undefined;

  constructor(source: string) {
    this.#source = source;
  }

  read(): readonly Token[] {
    while (this.#position < this.#source.length) this.#readPiece();
    if (this.#groups.length > 0) refuse('has a group that is not closed');
    return this.#tokens;
  }

  #readPiece(): void {
    const character = this.#source.charAt(this.#position);
    switch (character) {
      case '\\':
        return this.#readEscape();
      case '[':
        return this.#add('atom', this.#readClass());
      case '(':
        return this.#readGroup();
      case ')':
        return this.#closeGroup();
      case '*':
      case '+':
      case '?':
      case '{':
        return this.#readQuantifier(character);
      default:
        return this.#readPlain(character);
    }
  }

  #readPlain(character: string): void {
    switch (character) {
      case '|':
        this.#position++;
        return this.#add('or', '|', false);
      case '^':
        this.#position++;
        return this.#add('anchor', '\\A', false);
      case '$':
        this.#position++;
        return this.#add('end', '\\z', false);
      case '.':
        this.#position++;
        return this.#add(
          this.#flags.dotAll ? 'atom' : 'any',
          this.#flags.dotAll ? ANY_AT_ALL : ANY,
        );
      default:
        return this.#addLiteral(this.#takeCodePoint());
    }
  }

  #add(kind: Token['kind'], text: string, repeatable = true): void {
    this.#tokens.push({ kind, text });
    this.#countStates(1);
    this.#repeatable = repeatable ? 1 : undefined;
  }

  #countStates(states: number): void {
    this.#states += states;
    if (this.#states > PATTERN_STATES_MAX) {
      refuse(`must not need more than ${PATTERN_STATES_MAX} states; repeat less`);
    }
  }

  #addLiteral(code: number): void {
    const ranges = rangeOf(code, code, this.#flags.ignoreCase);
    if (ranges.length === 1) this.#add('literal', codePointText(code));
    else this.#add('atom', classText({ ranges, categories: [] }, false));
  }

  #takeCodePoint(): number {
    const code = this.#source.codePointAt(this.#position);
    if (code === undefined) return refuse('ends too early');
    if (code >= 0xd800 && code <= 0xdfff) return refuse('must be well-formed Unicode');
    this.#position += code > 0xffff ? 2 : 1;
    return code;
  }

  #startsWith(text: string): boolean {
    return this.#source.startsWith(text, this.#position);
  }

  /** Takes what a sticky regular expression matches here. Ours are fixed and linear. */
  #take(expression: RegExp): RegExpExecArray | null {
    expression.lastIndex = this.#position;
    const found = expression.exec(this.#source);
    if (found !== null) this.#position = expression.lastIndex;
    return found;
  }

  #readEscape(): void {
    if (this.#startsWith('\\Q')) {
      for (const code of this.#takeQuoted()) this.#addLiteral(code);
      return;
    }
    const letter = this.#source.charAt(this.#position + 1);
    const anchor = anchorEscapes.get(letter);
    if (anchor !== undefined) {
      this.#position += 2;
      return this.#add(anchor.kind, anchor.text, false);
    }
    const escaped = this.#takeEscape();
    if (typeof escaped === 'number') this.#addLiteral(escaped);
    else this.#add('atom', classText(escaped, false));
  }

  /** The code points of `\Q…\E`, or of `\Q…` up to the end. */
  #takeQuoted(): number[] {
    const start = this.#position + 2;
    const found = this.#source.indexOf('\\E', start);
    const end = found < 0 ? this.#source.length : found;
    this.#position = start;
    const codes: number[] = [];
    while (this.#position < end) codes.push(this.#takeCodePoint());
    this.#position = found < 0 ? end : end + 2;
    return codes;
  }

  /** One escape that means a character or a class, in or out of brackets. */
  #takeEscape(): number | CharacterSet {
    this.#position++;
    const letter = this.#source.charAt(this.#position);
    if (letter === '') return refuse('must not end with a backslash');
    if (!/[A-Za-z0-9]/.test(letter)) return this.#takeCodePoint();
    if (/[1-9]/.test(letter)) return refuse(`must not use a back-reference (\\${letter})`);
    const meaning = refusedEscapes.get(letter);
    if (meaning !== undefined) return refuse(`must not use \\${letter}, ${meaning}`);
    const control = controlEscapes.get(letter);
    const set = predefinedClass(letter);
    if (control !== undefined || set !== undefined) this.#position++;
    return control ?? set ?? this.#takeLongEscape(letter);
  }

  #takeLongEscape(letter: string): number | CharacterSet {
    switch (letter) {
      case 'p':
      case 'P':
        return this.#takeProperty(letter === 'P');
      case 'x':
        return this.#hex(/x(?:([0-9A-Fa-f]{2})|\{([0-9A-Fa-f]{1,6})\})/y);
      case 'u':
        return this.#takeUnicodeEscape();
      case '0': {
        const found = this.#take(/0([0-3][0-7]{2}|[0-7]{1,2})/y);
        return found === null
          ? refuse('has an octal escape without digits')
          : parseInt(found[1] ?? '', 8);
      }
      case 'c': {
        this.#position++;
        return this.#takeCodePoint() ^ 0x40;
      }
      default:
        return refuse(`must not use the unknown escape \\${letter}`);
    }
  }

  #hex(expression: RegExp): number {
    const found = this.#take(expression);
    const digits = found?.[1] ?? found?.[2];
    const code = digits === undefined ? NaN : parseInt(digits, 16);
    if (!(code <= 0x10_ffff)) refuse('has a hexadecimal escape that is not complete');
    if (code >= 0xd800 && code <= 0xdfff) refuse('must be well-formed Unicode');
    return code;
  }

  #takeUnicodeEscape(): number {
    const pair = this.#take(/u([Dd][89ABab][0-9A-Fa-f]{2})\\u([Dd][C-Fc-f][0-9A-Fa-f]{2})/y);
    if (pair === null) return this.#hex(/u([0-9A-Fa-f]{4})/y);
    const high = parseInt(pair[1] ?? '', 16);
    const low = parseInt(pair[2] ?? '', 16);
    return 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
  }

  #takeProperty(negated: boolean): CharacterSet {
    const found = this.#take(/[pP](?:\{([^}]*)\}|([A-Za-z]))/y);
    const name = found?.[1] ?? found?.[2] ?? '';
    const set = propertyClass(name, negated, this.#flags.ignoreCase);
    return set ?? refuse(`must not use the character property "${name}"`);
  }

  /** A bracketed class; nested classes and intersections are Java's own and are refused. */
  #readClass(): string {
    this.#position++;
    const negated = this.#startsWith('^');
    if (negated) this.#position++;
    const ranges: (readonly [number, number])[] = [];
    const categories: string[] = [];
    let first = true;
    while (first || !this.#startsWith(']')) {
      const item = this.#takeClassItem();
      ranges.push(...item.ranges);
      categories.push(...item.categories);
      if (!item.empty) first = false;
    }
    this.#position++;
    return classText({ ranges, categories }, negated);
  }

  #takeClassItem(): CharacterSet & { readonly empty?: boolean } {
    if (this.#position >= this.#source.length) refuse('has a character class that is not closed');
    if (this.#startsWith('[')) refuse('must not nest character classes');
    if (this.#startsWith('&&')) refuse('must not use the class intersection &&');
    const { ignoreCase } = this.#flags;
    if (this.#startsWith('\\Q')) {
      const codes = this.#takeQuoted();
      if (this.#startsWith('-')) refuse('must not use a quotation as the end of a range');
      const ranges = codes.flatMap((code) => rangeOf(code, code, ignoreCase));
      return { ranges, categories: [], empty: codes.length === 0 };
    }
    const low = this.#takeClassCharacter();
    if (typeof low !== 'number') {
      // Java takes this hyphen literally and Perl as an error; nobody should have to know.
      if (this.#startsWith('-') && !this.#startsWith('-]'))
        refuse('must not start a range with a class');
      return low;
    }
    const high = this.#takeRangeEnd(low);
    return { ranges: rangeOf(low, high, ignoreCase), categories: [] };
  }

  #takeRangeEnd(low: number): number {
    if (!this.#startsWith('-') || this.#startsWith('-]')) return low;
    this.#position++;
    if (this.#startsWith('[')) refuse('must not nest character classes');
    if (this.#startsWith('\\Q')) refuse('must not use a quotation as the end of a range');
    if (this.#position >= this.#source.length) refuse('has a character class that is not closed');
    const high = this.#takeClassCharacter();
    if (typeof high !== 'number' || high < low)
      return refuse('has a character range that is not valid');
    return high;
  }

  #takeClassCharacter(): number | CharacterSet {
    return this.#startsWith('\\') ? this.#takeEscape() : this.#takeCodePoint();
  }

  #readGroup(): void {
    for (const [text, name] of refusedGroups) {
      if (this.#startsWith(text)) refuse(`must not use ${name} "${text}"`);
    }
    if (!this.#startsWith('(?')) {
      this.#position++;
      return this.#openGroup(this.#flags, { captures: true });
    }
    const named = this.#take(/\(\?<([A-Za-z][A-Za-z0-9]*)>/y);
    if (named !== null) {
      const name = named[1] ?? '';
      if (this.#groupNames.has(name)) refuse(`must not define the group "${name}" twice`);
      this.#groupNames.add(name);
      return this.#openGroup(this.#flags, { captures: true });
    }
    const flagged = this.#take(/\(\?([A-Za-z]*)(?:-([A-Za-z]*))?([:)])/y);
    if (flagged === null) return refuse('has a group that is not known, after "(?"');
    const [, on = '', off = '', end] = flagged;
    const flags = changedFlags(this.#flags, on, off);
    if (end === ':') return this.#openGroup(flags);
    this.#flags = flags;
    this.#repeatable = undefined;
  }

  #openGroup(inside: Flags, kept: Pick<Token, 'captures'> = {}): void {
    this.#tokens.push({ kind: 'open', text: '(?:', ...kept });
    this.#groups.push({ flags: this.#flags, states: this.#states });
    this.#flags = inside;
    this.#countStates(1);
    this.#repeatable = undefined;
  }

  #closeGroup(): void {
    const group = this.#groups.pop();
    if (group === undefined) return refuse('closes a group that is not open');
    this.#position++;
    this.#tokens.push({ kind: 'close', text: ')' });
    this.#flags = group.flags;
    this.#repeatable = this.#states - group.states;
  }

  #readQuantifier(character: string): void {
    const states = this.#repeatable;
    if (states === undefined) return refuse(`has ${character} where there is nothing to repeat`);
    const found = this.#take(/([*+?]|\{([0-9]+)(,?)([0-9]*)\})(\??)/y);
    if (found === null) return refuse('must have a stray { escaped as \\{');
    if (this.#startsWith('+')) refuse(`must not use the possessive quantifier ${found[0]}+`);
    const [, text = '', low, comma, high] = found;
    const times = low === undefined ? 1 : repeats(Number(low), comma === ',', high);
    this.#tokens.push({ kind: 'repeat', text });
    this.#countStates(states * Math.max(times - 1, 0) + 1);
    this.#repeatable = undefined;
  }
}

/** How often the states of a counted piece are needed. */
function repeats(low: number, open: boolean, highText: string | undefined): number {
  const high = highText === undefined || highText === '' ? undefined : Number(highText);
  if (!open && high !== undefined) refuse('has a repetition that is not valid');
  if (low > PATTERN_REPEATS_MAX || (high ?? 0) > PATTERN_REPEATS_MAX) {
    refuse(`must not repeat more than ${PATTERN_REPEATS_MAX} times`);
  }
  if (high !== undefined && high < low) refuse('has a repetition whose end is before its start');
  return high ?? (open ? low + 1 : low);
}

function changedFlags(flags: Flags, on: string, off: string): Flags {
  const next = { ...flags };
  for (const flag of on) {
    if (flag === 'i') next.ignoreCase = true;
    else if (flag === 's') next.dotAll = true;
    else if ('dmuxU'.includes(flag)) refuse(`must not use the flag (?${flag})`);
    else refuse(`must not use the unknown flag (?${flag})`);
  }
  for (const flag of off) {
    if (flag === 'i') next.ignoreCase = false;
    else if (flag === 's') next.dotAll = false;
    else if (!'dmuxU'.includes(flag)) refuse(`must not use the unknown flag (?-${flag})`);
  }
  return next;
}
