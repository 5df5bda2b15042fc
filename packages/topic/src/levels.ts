declare const brand: unique symbol;

/** A topic name of a PUBLISH that passed `parseTopicName`. */
export type TopicName = string & { readonly [brand]: 'TopicName' };

/** A topic filter of a SUBSCRIBE that passed `parseTopicFilter`; never with a `$share/<group>/` prefix. */
export type TopicFilter = string & { readonly [brand]: 'TopicFilter' };

/** Longest topic that any broker node accepts, in UTF-8 bytes. */
export const TOPIC_BYTES_MAX = 1024;

/** Most levels that a topic name or filter may have. */
export const TOPIC_LEVELS_MAX = 32;

export type TopicProblem =
  | 'empty'
  | 'too_long'
  | 'too_many_levels'
  | 'control_character'
  | 'lone_surrogate'
  | 'wildcard_in_name'
  | 'wildcard_not_alone_in_level'
  | 'multi_level_wildcard_not_last'
  | 'share_group_invalid';

export type Parsed<T> =
  { readonly ok: true; readonly value: T } | { readonly ok: false; readonly problem: TopicProblem };

/** A sentence for people, that fits after "The topic filter …". */
export const topicProblemText: Readonly<Record<TopicProblem, string>> = {
  empty: 'must have at least one character',
  too_long: `must be at most ${TOPIC_BYTES_MAX} bytes of UTF-8`,
  too_many_levels: `must have at most ${TOPIC_LEVELS_MAX} levels`,
  control_character: 'must not contain control characters or non-characters',
  lone_surrogate: 'must be well-formed Unicode',
  wildcard_in_name: 'must not contain + or #, because it is a topic name',
  wildcard_not_alone_in_level: 'must have + and # alone in their level',
  multi_level_wildcard_not_last: 'must have # only as its last level',
  share_group_invalid: 'must name a share group without +, # or /, followed by a filter',
};

/** The levels of a topic. O(length). */
export function levelsOf(topic: string): string[] {
  return topic.split('/');
}

const fail = (problem: TopicProblem): { ok: false; problem: TopicProblem } => ({
  ok: false,
  problem,
});

/** Length in UTF-8 bytes, without encoding. Lone surrogates count as three. */
export function utf8Bytes(text: string): number {
  let bytes = 0;
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index);
    if (unit < 0x80) bytes += 1;
    else if (unit < 0x800) bytes += 2;
    else if (unit >= 0xd800 && unit < 0xdc00 && (text.charCodeAt(index + 1) & 0xfc00) === 0xdc00) {
      bytes += 4;
      index++;
    } else bytes += 3;
  }
  return bytes;
}

/** C0 and C1 controls and Unicode non-characters, which a server may refuse. MQTT-3.1.1 §1.5.3, MQTT-5.0 §1.5.4 */
function isControl(code: number): boolean {
  return (
    code < 0x20 ||
    (code >= 0x7f && code <= 0x9f) ||
    (code >= 0xfdd0 && code <= 0xfdef) ||
    (code & 0xfffe) === 0xfffe
  );
}

/** Nearly every name is: told without taking it apart into characters. */
function isPlainAscii(text: string): boolean {
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index);
    if (unit < 0x20 || unit >= 0x7f) return false;
  }
  return true;
}

/** The first problem of `text` as an MQTT string of ours, or undefined. @source MQTT-3.1.1 [MQTT-1.5.3-1] [MQTT-1.5.3-2] */
export function textProblem(text: string): 'control_character' | 'lone_surrogate' | undefined {
  if (isPlainAscii(text)) return undefined;
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    if (isControl(code)) return 'control_character';
    if (code >= 0xd800 && code <= 0xdfff) return 'lone_surrogate';
  }
  return undefined;
}

function commonProblem(text: string): TopicProblem | undefined {
  if (text.length === 0) return 'empty'; // MQTT-3.1.1 [MQTT-4.7.3-1]
  if (text.length > TOPIC_BYTES_MAX || utf8Bytes(text) > TOPIC_BYTES_MAX) return 'too_long';
  const problem = textProblem(text);
  if (problem !== undefined) return problem;
  let levels = 1;
  for (let index = 0; index < text.length; index++) if (text.charCodeAt(index) === 0x2f) levels++;
  return levels > TOPIC_LEVELS_MAX ? 'too_many_levels' : undefined;
}

/**
 * The topic name of a PUBLISH or a will: 1 to `TOPIC_BYTES_MAX` bytes, no wildcards.
 * @source MQTT-3.1.1 [MQTT-3.3.2-2], MQTT-5.0 [MQTT-3.3.2-2]
 */
export function parseTopicName(text: string): Parsed<TopicName> {
  const problem = commonProblem(text);
  if (problem !== undefined) return fail(problem);
  if (text.includes('+') || text.includes('#')) return fail('wildcard_in_name');
  return { ok: true, value: text as TopicName }; // Checked above; the brand says so.
}

/**
 * A topic filter without `$share`: wildcards alone in their level, `#` last.
 * @source MQTT-3.1.1 [MQTT-4.7.1-2] [MQTT-4.7.1-3], MQTT-5.0 [MQTT-4.7.1-1] [MQTT-4.7.1-2]
 */
export function parseTopicFilter(text: string): Parsed<TopicFilter> {
  const problem = commonProblem(text);
  if (problem !== undefined) return fail(problem);
  if (text.includes('+') || text.includes('#')) {
    const levels = levelsOf(text);
    for (const [index, level] of levels.entries()) {
      if (level.length > 1 && (level.includes('+') || level.includes('#'))) {
        return fail('wildcard_not_alone_in_level');
      }
      if (level === '#' && index < levels.length - 1) return fail('multi_level_wildcard_not_last');
    }
  }
  return { ok: true, value: text as TopicFilter }; // Checked above; the brand says so.
}

/** What a client asks for in a SUBSCRIBE: a filter, perhaps shared. */
export interface Subscription {
  readonly filter: TopicFilter;
  /** The share group of `$share/<group>/<filter>`, else undefined. */
  readonly group: string | undefined;
}

/** Parses the filter of a SUBSCRIBE, `$share/<group>/` included. @source MQTT-5.0 [MQTT-4.8.2-1] [MQTT-4.8.2-2] */
export function parseSubscription(text: string): Parsed<Subscription> {
  if (text !== '$share' && !text.startsWith('$share/')) {
    const parsed = parseTopicFilter(text);
    return parsed.ok ? { ok: true, value: { filter: parsed.value, group: undefined } } : parsed;
  }
  const end = text.indexOf('/', 7);
  const group = end < 0 ? '' : text.slice(7, end);
  if (group === '' || group.includes('+') || group.includes('#')) {
    return fail('share_group_invalid');
  }
  if (textProblem(group) !== undefined || utf8Bytes(text) > TOPIC_BYTES_MAX) {
    return fail('share_group_invalid');
  }
  const parsed = parseTopicFilter(text.slice(end + 1));
  return parsed.ok ? { ok: true, value: { filter: parsed.value, group } } : parsed;
}
