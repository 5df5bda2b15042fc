import { RE2JS } from 're2js';

/** Longest pattern, in UTF-16 units. */
export const PATTERN_LENGTH_MAX = 1024;

/** A whole-match regular expression over topics, in linear time. */
export interface TopicPattern {
  readonly source: string;
  /** Whether the whole text matches. */
  matches(text: string): boolean;
  /** Whether the source was written for filter texts: it contains a literal `#` or an escaped `+`. */
  readonly mentionsWildcards: boolean;
}

export type ParsedPattern =
  | { readonly ok: true; readonly value: TopicPattern }
  /** A sentence for people, that fits after "The pattern …". */
  | { readonly ok: false; readonly problem: string };

/** Parses a pattern in Java's syntax; what cannot be matched in linear time, or would change its meaning, is refused. */
export function parseTopicPattern(source: string): ParsedPattern {
  if (source.length > PATTERN_LENGTH_MAX) {
    return { ok: false, problem: `must be at most ${PATTERN_LENGTH_MAX} characters` };
  }
  try {
    const program = RE2JS.compile(source);
    return {
      ok: true,
      value: {
        source,
        matches: (text) => program.matches(text),
        mentionsWildcards: source.includes('#') || source.includes('\\+'),
      },
    };
  } catch {
    return { ok: false, problem: 'must be a valid regular expression' };
  }
}
