import { createHash } from 'node:crypto';
import type { TopicSyntax } from './message-bus.ts';

/** Levels of a topic that appear in its subject; deeper ones are told apart by the receiver. */
const SUBJECT_LEVELS_MAX = 3;

/** Longest token that stands in a subject as it is; a longer one is hashed. So a subject stays below 300 bytes. */
const SUBJECT_TOKEN_BYTES_MAX = 64;

const PLAIN_TOKEN = /^[A-Za-z0-9_-]{1,64}$/;
const PLAIN_BYTE = /^[A-Za-z0-9_-]$/;

/** Nodes' own messages. Clients can neither publish nor, without a grant, read there. */
const SYSTEM_LEVEL = '$SYS';

/**
 * One level of a topic as one token of a NATS subject: `[A-Za-z0-9_-]` as they are, other bytes `%xx`, an empty level `%`, and
 * `~` with a hash for what is long. Two levels have the same token only if their hashes collide.
 */
export function tokenOf(level: string): string {
  if (PLAIN_TOKEN.test(level)) return level;
  if (level === '') return '%';
  let token = '';
  for (const byte of Buffer.from(level)) {
    const character = String.fromCharCode(byte);
    token += PLAIN_BYTE.test(character) ? character : `%${byte.toString(16).padStart(2, '0')}`;
    if (token.length > SUBJECT_TOKEN_BYTES_MAX) {
      return `~${createHash('sha256').update(level).digest('base64url')}`;
    }
  }
  return token;
}

/** The branch of the subjects and the levels that stand below it; undefined for topics that never leave the node. */
function branchOf(
  levels: readonly string[],
): { branch: string; below: readonly string[] } | undefined {
  const first = levels[0] ?? '';
  if (!first.startsWith('$')) return { branch: 'm', below: levels };
  return first === SYSTEM_LEVEL ? { branch: 's', below: levels.slice(1) } : undefined;
}

/** The subject of a topic name, below `prefix`, or undefined when it never leaves the node. */
export function subjectOfTopic(
  prefix: string,
  topic: string,
  syntax: TopicSyntax,
): string | undefined {
  const found = branchOf(topic.split(syntax.separator, SUBJECT_LEVELS_MAX + 1));
  if (found === undefined) return undefined;
  let subject = `${prefix}.${found.branch}`;
  for (const level of found.below.slice(0, SUBJECT_LEVELS_MAX)) subject += `.${tokenOf(level)}`;
  return subject;
}

/**
 * The subjects that carry everything a filter matches, and perhaps more; none for filters of topics that never leave the node.
 * @example subjectsOfFilter('p', 'a/#', syntax) // ['p.m.a', 'p.m.a.>'], because `#` includes its parent level
 */
export function subjectsOfFilter(prefix: string, filter: string, syntax: TopicSyntax): string[] {
  const found = branchOf(filter.split(syntax.separator));
  if (found === undefined) return [];
  let subject = `${prefix}.${found.branch}`;
  for (const [index, level] of found.below.entries()) {
    if (index === SUBJECT_LEVELS_MAX) return [subject];
    if (level === syntax.wildcardSome) {
      // `m` alone is no topic's subject: a topic has at least one level. `s` alone is that of `$SYS`.
      return index === 0 && found.branch === 'm' ? [`${subject}.>`] : [subject, `${subject}.>`];
    }
    subject += level === syntax.wildcardOne ? '.*' : `.${tokenOf(level)}`;
  }
  return [subject];
}
