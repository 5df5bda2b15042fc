import { parseKeywordPattern, parseTopicPattern } from '@sallyport/topic';
import type { CertificateIdentity } from './certificate.ts';
import {
  namesClientId,
  type PatternValues,
  resolvedPattern,
  withValues,
} from './pattern-placeholder.ts';
import type { Problems } from './text.ts';

/** Most entries of one mapping. */
export const MAPPING_ENTRIES_MAX = 256;
/** Most patterns for each direction of one entry. */
export const MAPPING_PATTERNS_MAX = 100;

export interface MappingEntry {
  /** A keyword, or without a keyword pattern a regular expression that is searched in the Common Name. */
  readonly key: string;
  /** Whole-match regular expressions in Java's syntax; may hold `${cn}` and `${clientId}`. */
  readonly publish: readonly string[];
  readonly subscribe: readonly string[];
}

/** Topics by what the Common Name of the certificate says. */
export interface CertificateMapping {
  readonly kind: 'mapping';
  /**
   * A regular expression that is searched in the Common Name; its first group is the keyword, and the entry with that key applies.
   * When absent, the key of every entry is searched, and all that are found apply.
   */
  readonly keywordPattern?: string;
  readonly entries: readonly MappingEntry[];
}

/** What applies to one certificate: patterns by the index of their entry and in it. */
export interface MappedPatterns {
  readonly publish: readonly MappedPattern[];
  readonly subscribe: readonly MappedPattern[];
  /** Some of what applies names the client id. */
  readonly byClientId?: true;
}

/** What a mapping looks at. */
export interface MappingFacts {
  readonly certificate?: CertificateIdentity | undefined;
  readonly clientId: string;
}

export interface MappedPattern {
  /** `<entry>/<pattern>`, indexes from 0. */
  readonly place: string;
  readonly pattern: string;
}

/**
 * The patterns that apply to a certificate and a client id, or undefined when no entry does: then nobody is let in. A pattern with a
 * placeholder applies only where what that stands for may name somebody. O(entries · length of the name).
 * @source compat C3.1: the name is searched, the topics are matched whole; tbmq 4.9
 */
export function mapCertificate(
  { keywordPattern, entries }: CertificateMapping,
  { certificate, clientId }: MappingFacts,
): MappedPatterns | undefined {
  const [name = ''] = certificate?.chainCommonNames ?? [];
  if (name === '') return undefined;
  const applies = selector(keywordPattern, name);
  const publish: MappedPattern[] = [];
  const subscribe: MappedPattern[] = [];
  let found = false;
  let byClientId = false;
  const values = { commonName: name, clientId };
  for (const [index, entry] of entries.entries()) {
    if (!applies(entry.key)) continue;
    found = true;
    publish.push(...resolved(entry.publish, index, values));
    subscribe.push(...resolved(entry.subscribe, index, values));
    byClientId ||= [...entry.publish, ...entry.subscribe].some(namesClientId);
  }
  return found ? { publish, subscribe, ...(byClientId && { byClientId }) } : undefined;
}

function selector(keywordPattern: string | undefined, name: string): (key: string) => boolean {
  if (keywordPattern === undefined) {
    return (key) => {
      const parsed = parseKeywordPattern(key);
      return parsed.ok && parsed.value.find(name);
    };
  }
  const parsed = parseKeywordPattern(keywordPattern);
  const keyword = parsed.ok ? parsed.value.keyword(name) : undefined;
  return (key) => key === keyword;
}

function resolved(
  patterns: readonly string[],
  entry: number,
  values: PatternValues,
): MappedPattern[] {
  return patterns.flatMap((pattern, index) => {
    const text = resolvedPattern(pattern, values);
    return text === undefined ? [] : [{ place: `${entry}/${index}`, pattern: text }];
  });
}

export function checkMapping(problems: Problems, mapping: CertificateMapping): void {
  const { keywordPattern, entries } = mapping;
  if (keywordPattern !== undefined) checkKeywordPattern(problems, keywordPattern);
  if (entries.length > MAPPING_ENTRIES_MAX) {
    problems.add('/access/entries', `must have at most ${MAPPING_ENTRIES_MAX} entries`);
    return;
  }
  const keys = new Set<string>();
  for (const [index, entry] of entries.entries()) {
    const here = `/access/entries/${index}`;
    problems.text(`${here}/key`, entry.key, 1024);
    if (keys.has(entry.key)) problems.add(`${here}/key`, 'is the key of an earlier entry');
    keys.add(entry.key);
    if (keywordPattern === undefined) {
      const parsed = parseKeywordPattern(entry.key);
      if (!parsed.ok) problems.add(`${here}/key`, parsed.problem);
    }
    checkPatterns(problems, `${here}/publish`, entry.publish);
    checkPatterns(problems, `${here}/subscribe`, entry.subscribe);
  }
}

function checkKeywordPattern(problems: Problems, pattern: string): void {
  const parsed = parseKeywordPattern(pattern);
  if (!parsed.ok) problems.add('/access/keywordPattern', parsed.problem);
  else if (parsed.value.groups === 0) {
    problems.add('/access/keywordPattern', 'must have a group, which is the keyword');
  }
}

function checkPatterns(problems: Problems, pointer: string, patterns: readonly string[]): void {
  if (patterns.length > MAPPING_PATTERNS_MAX) {
    problems.add(pointer, `must have at most ${MAPPING_PATTERNS_MAX} entries`);
  }
  for (const [index, pattern] of patterns.entries()) {
    const parsed = parseTopicPattern(withValues(pattern, { commonName: 'x', clientId: 'x' }));
    if (!parsed.ok) problems.add(`${pointer}/${index}`, parsed.problem);
  }
}
