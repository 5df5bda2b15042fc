/** A set of code points: ranges, and Unicode categories in RE2's own words. */
export interface CharacterSet {
  readonly ranges: readonly (readonly [number, number])[];
  readonly categories: readonly string[];
}

const CODE_POINT_MAX = 0x10_ffff;

const set = (...ranges: (readonly [number, number])[]): CharacterSet => ({
  ranges,
  categories: [],
});

const SPACE = set([0x09, 0x0d], [0x20, 0x20]);
const DIGIT = set([0x30, 0x39]);
const LOWER = set([0x61, 0x7a]);
const UPPER = set([0x41, 0x5a]);
const ALPHA = set([0x41, 0x5a], [0x61, 0x7a]);

/** The predefined classes of `java.util.regex` without UNICODE_CHARACTER_CLASS, by their letter. */
const predefined: ReadonlyMap<string, CharacterSet> = new Map([
  ['d', DIGIT],
  ['s', SPACE],
  ['w', set([0x30, 0x39], [0x41, 0x5a], [0x5f, 0x5f], [0x61, 0x7a])],
  [
    'h',
    set(
      [0x09, 0x09],
      [0x20, 0x20],
      [0xa0, 0xa0],
      [0x1680, 0x1680],
      [0x180e, 0x180e],
      [0x2000, 0x200a],
      [0x202f, 0x202f],
      [0x205f, 0x205f],
      [0x3000, 0x3000],
    ),
  ],
  ['v', set([0x0a, 0x0d], [0x85, 0x85], [0x2028, 0x2029])],
]);

/** What `.` does not match in Java: the line terminators. */
export const LINE_TERMINATORS = set([0x0a, 0x0a], [0x0d, 0x0d], [0x85, 0x85], [0x2028, 0x2029]);

/** The POSIX classes of Java, US-ASCII only. */
const posix: ReadonlyMap<string, CharacterSet> = new Map([
  ['Lower', LOWER],
  ['Upper', UPPER],
  ['ASCII', set([0, 0x7f])],
  ['Alpha', ALPHA],
  ['Digit', DIGIT],
  ['Alnum', set([0x30, 0x39], [0x41, 0x5a], [0x61, 0x7a])],
  ['Punct', set([0x21, 0x2f], [0x3a, 0x40], [0x5b, 0x60], [0x7b, 0x7e])],
  ['Graph', set([0x21, 0x7e])],
  ['Print', set([0x20, 0x7e])],
  ['Blank', set([0x09, 0x09], [0x20, 0x20])],
  ['Cntrl', set([0, 0x1f], [0x7f, 0x7f])],
  ['XDigit', set([0x30, 0x39], [0x41, 0x46], [0x61, 0x66])],
  ['Space', SPACE],
]);

/** General categories that Java and RE2 both know by the same name. */
const CATEGORIES: ReadonlySet<string> = new Set(
  'L Lu Ll Lt Lm Lo M Mn Mc Me N Nd Nl No P Pc Pd Ps Pe Pi Pf Po S Sm Sc Sk So Z Zs Zl Zp'.split(
    ' ',
  ),
);

/** Classes whose meaning depends on letter case, which `(?i)` changes from one Java to the next. */
const CASED: ReadonlySet<string> = new Set(['Lower', 'Upper', 'Lu', 'Ll', 'Lt']);

/** The class of `\d`, `\W` and the like, or undefined for another letter. */
export function predefinedClass(letter: string): CharacterSet | undefined {
  const found = predefined.get(letter.toLowerCase());
  if (found === undefined) return undefined;
  return letter === letter.toLowerCase() ? found : complement(found);
}

/** The class of `\p{name}` or `\P{name}`, or undefined when it cannot be reproduced. */
export function propertyClass(
  name: string,
  negated: boolean,
  ignoreCase: boolean,
): CharacterSet | undefined {
  if (ignoreCase && CASED.has(name)) return undefined;
  const found = posix.get(name);
  if (found !== undefined) return negated ? complement(found) : found;
  if (!CATEGORIES.has(name)) return undefined;
  return { ranges: [], categories: [`\\${negated ? 'P' : 'p'}{${name}}`] };
}

/** All code points that are not in the ranges of `given`, which are in order and apart. */
function complement(given: CharacterSet): CharacterSet {
  const ranges: [number, number][] = [];
  let next = 0;
  for (const [low, high] of given.ranges) {
    if (low > next) ranges.push([next, low - 1]);
    next = high + 1;
  }
  if (next <= CODE_POINT_MAX) ranges.push([next, CODE_POINT_MAX]);
  return { ranges, categories: [] };
}

/** A range, and with `ignoreCase` the ASCII letters of the other case: Java folds no others. */
export function rangeOf(low: number, high: number, ignoreCase: boolean): [number, number][] {
  const ranges: [number, number][] = [[low, high]];
  if (!ignoreCase) return ranges;
  for (const [from, to, shift] of [
    [0x41, 0x5a, 0x20],
    [0x61, 0x7a, -0x20],
  ] as const) {
    const first = Math.max(low, from);
    const last = Math.min(high, to);
    if (first <= last) ranges.push([first + shift, last + shift]);
  }
  return ranges;
}

/** The set in RE2's syntax. */
export function classText({ ranges, categories }: CharacterSet, negated: boolean): string {
  const body = ranges.map(([low, high]) => `${codePointText(low)}-${codePointText(high)}`).join('');
  return `[${negated ? '^' : ''}${body}${categories.join('')}]`;
}

/** One code point in RE2's syntax, with no meaning of its own in or out of a class. */
export function codePointText(code: number): string {
  const character = String.fromCodePoint(code);
  return /^[A-Za-z0-9/_]$/.test(character) ? character : `\\x{${code.toString(16)}}`;
}
