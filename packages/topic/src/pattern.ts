import { RE2JS } from 're2js';
import { admittedTopics, endsOnlyAtEnd } from './filter-pattern.ts';
import { PatternRefusal, readJavaPattern, type Token } from './java-pattern.ts';

/** Longest pattern, in UTF-16 units. */
export const PATTERN_LENGTH_MAX = 1024;

/** One text, or if `open` all that begin with it and have no line terminator behind it. */
export interface PlainPattern {
  readonly text: string;
  readonly open: boolean;
}

/** A whole-match regular expression over topics, in linear time. */
export interface TopicPattern {
  readonly source: string;
  /** Whether the whole text matches. */
  matches(text: string): boolean;
  /** Whether the source was written for filter texts: a literal `+` or a final `#` of it stands alone in its level. */
  readonly mentionsWildcards: boolean;
  /** Whether a filter whose text the pattern matches would match this topic name; false unless `mentionsWildcards`. */
  admits(topicName: string): boolean;
  /** What the pattern matches, where that is so simple. */
  readonly plain: PlainPattern | undefined;
}

export type ParsedPattern =
  | { readonly ok: true; readonly value: TopicPattern }
  /** A sentence for people, that fits after "The pattern …". */
  | { readonly ok: false; readonly problem: string };

/**
 * Parses a pattern in the syntax of Java 17's `java.util.regex`, for matching whole texts. What Java refuses is refused;
 * so is what cannot be matched in linear time or would silently mean something else, by name. `$` and `\Z` are allowed at the
 * end only.
 */
export function parseTopicPattern(source: string): ParsedPattern {
  if (source.length > PATTERN_LENGTH_MAX) {
    return { ok: false, problem: `must be at most ${PATTERN_LENGTH_MAX} characters` };
  }
  try {
    const tokens = readJavaPattern(source);
    if (!endsOnlyAtEnd(tokens)) return { ok: false, problem: 'must use $ and \\Z only at its end' };
    const admitted = admittedTopics(tokens);
    const plain = plainPattern(tokens);
    return {
      ok: true,
      value: {
        source,
        matches: matcherOf(tokens, plain),
        mentionsWildcards: admitted !== undefined,
        admits: admitted === undefined ? () => false : compiled(admitted),
        plain,
      },
    };
  } catch (error) {
    if (error instanceof PatternRefusal) return { ok: false, problem: error.message };
    // The engine has limits of its own, such as on nested repetition.
    return { ok: false, problem: 'is too complex' };
  }
}

type Matcher = (text: string) => boolean;

function compiled(expression: string): Matcher {
  const program = RE2JS.compile(expression);
  return (text) => program.matches(text);
}

function plainPattern(tokens: readonly Token[]): PlainPattern | undefined {
  const tail = tokens.at(-1);
  const open = tail?.kind === 'repeat' && tail.text === '*' && tokens.at(-2)?.kind === 'any';
  const head = open ? tokens.slice(0, -2) : tokens;
  if (!head.every((one) => one.kind === 'literal')) return undefined;
  return { text: head.map((one) => literalText(one.text)).join(''), open };
}

/** Most patterns are a text, a prefix or everything: these need no engine. */
function matcherOf(tokens: readonly Token[], plain: PlainPattern | undefined): Matcher {
  if (plain === undefined) return compiled(tokens.map((one) => one.text).join(''));
  const { text: prefix, open } = plain;
  return open ? (text) => isBehind(prefix, text) : (text) => text === prefix;
}

const isBehind = (prefix: string, text: string): boolean =>
  text.startsWith(prefix) && !hasLineTerminator(text, prefix.length);

/** Whether the one matches all that the other does. */
export function plainCovers(one: PlainPattern, other: PlainPattern): boolean {
  return one.open ? isBehind(one.text, other.text) : !other.open && other.text === one.text;
}

const literalText = (text: string): string =>
  text.startsWith('\\x{') ? String.fromCodePoint(parseInt(text.slice(3, -1), 16)) : text;

function hasLineTerminator(text: string, from: number): boolean {
  for (let index = from; index < text.length; index++) {
    const unit = text.charCodeAt(index);
    if (unit === 0x0a || unit === 0x0d || unit === 0x85) return true;
    if (unit === 0x2028 || unit === 0x2029) return true;
  }
  return false;
}
