import { RE2JS } from 're2js';
import { endsOnlyAtEnd } from './filter-pattern.ts';
import { PatternRefusal, readJavaPattern } from './java-pattern.ts';
import { PATTERN_LENGTH_MAX } from './pattern.ts';

/** A regular expression that is searched in a name, in linear time; its first group is what it finds. */
export interface KeywordPattern {
  /** Whether it is found anywhere in the text. */
  find(text: string): boolean;
  /** What the first group took at the first place where it is found; undefined where it took nothing. */
  keyword(text: string): string | undefined;
  /** Groups that capture something. */
  readonly groups: number;
}

export type ParsedKeywordPattern =
  | { readonly ok: true; readonly value: KeywordPattern }
  /** A sentence for people, that fits after "The pattern …". */
  | { readonly ok: false; readonly problem: string };

/** Parsed patterns that are kept: the certificates of a fleet are all searched for the same ones. */
const KEPT_PATTERNS_MAX = 1000;
const kept = new Map<string, ParsedKeywordPattern>();

/**
 * Parses a pattern in the syntax of `java.util.regex`, to be searched in a text (Java's `find`), unlike `parseTopicPattern`, which
 * matches whole texts. What is refused there is refused here.
 */
export function parseKeywordPattern(source: string): ParsedKeywordPattern {
  if (source.length > PATTERN_LENGTH_MAX) {
    return { ok: false, problem: `must be at most ${PATTERN_LENGTH_MAX} characters` };
  }
  const known = kept.get(source);
  if (known !== undefined) return known;
  const parsed = parse(source);
  if (kept.size >= KEPT_PATTERNS_MAX) kept.clear();
  kept.set(source, parsed);
  return parsed;
}

function parse(source: string): ParsedKeywordPattern {
  try {
    const tokens = readJavaPattern(source);
    if (!endsOnlyAtEnd(tokens)) return { ok: false, problem: 'must use $ and \\Z only at its end' };
    const texts = tokens.map((one) => (one.captures === true ? '(' : one.text));
    const program = RE2JS.compile(texts.join(''));
    return {
      ok: true,
      value: {
        find: (text) => program.matcher(text).find(),
        keyword: (text) => {
          const matcher = program.matcher(text);
          return matcher.find() ? (matcher.group(1) ?? undefined) : undefined;
        },
        groups: program.groupCount(),
      },
    };
  } catch (error) {
    if (error instanceof PatternRefusal) return { ok: false, problem: error.message };
    return { ok: false, problem: 'is too complex' };
  }
}

/** A pattern that the text itself matches, and nothing else. */
export function quotedPattern(text: string): string {
  return text.replace(/[\\^$.|?*+()[\]{}]/g, '\\$&');
}
