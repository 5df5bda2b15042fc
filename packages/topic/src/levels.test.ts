import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  levelsOf,
  parseSubscription,
  parseTopicFilter,
  parseTopicName,
  TOPIC_BYTES_MAX,
  TOPIC_LEVELS_MAX,
  type TopicProblem,
  topicProblemText,
  utf8Bytes,
} from './levels.ts';

const problemOf = (parsed: { ok: boolean; problem?: TopicProblem }): TopicProblem | 'none' =>
  parsed.problem ?? 'none';

const invalidAnywhere: readonly (readonly [string, TopicProblem])[] = [
  ['', 'empty'],
  ['a\u0000b', 'control_character'],
  ['a\u0001', 'control_character'],
  ['\u001f', 'control_character'],
  ['\u007f', 'control_character'],
  ['\u009f', 'control_character'],
  ['a/\ufdd0', 'control_character'],
  ['\ufdef', 'control_character'],
  ['\uffff', 'control_character'],
  ['\ufffe', 'control_character'],
  ['\u{1ffff}', 'control_character'],
  ['\u{10fffe}', 'control_character'],
  ['\ud800', 'lone_surrogate'],
  ['a\udc00b', 'lone_surrogate'],
  ['\ude00\ud83d', 'lone_surrogate'],
  ['é'.repeat(TOPIC_BYTES_MAX / 2) + 'x', 'too_long'],
  ['x'.repeat(TOPIC_BYTES_MAX + 1), 'too_long'],
  ['/'.repeat(TOPIC_LEVELS_MAX), 'too_many_levels'],
];

describe('what is no topic at all', () => {
  test.each(invalidAnywhere)('%j is refused as a name and as a filter: %s', (text, problem) => {
    expect(problemOf(parseTopicName(text))).toBe(problem);
    expect(problemOf(parseTopicFilter(text))).toBe(problem);
  });

  test('every problem has a sentence', () => {
    for (const [, problem] of invalidAnywhere) expect(topicProblemText[problem]).toMatch(/^must /);
  });
});

describe('limits', () => {
  test.each([
    ['x'.repeat(TOPIC_BYTES_MAX)],
    ['é'.repeat(TOPIC_BYTES_MAX / 2)],
    ['\u{1f600}'.repeat(TOPIC_BYTES_MAX / 4)],
    ['/'.repeat(TOPIC_LEVELS_MAX - 1)],
  ])('a topic at the limit is accepted (%#)', (text) => {
    expect(parseTopicName(text)).toEqual({ ok: true, value: text });
    expect(parseTopicFilter(text)).toEqual({ ok: true, value: text });
  });

  test('the characters beside the refused ranges are accepted', () => {
    for (const text of [
      ' ',
      '~',
      '\u00a0',
      '\ufdcf',
      '\ufdf0',
      '\ufffd',
      '\u{10000}',
      '$',
      '\ufeff',
    ]) {
      expect(parseTopicName(text).ok, JSON.stringify(text)).toBe(true);
    }
  });
});

describe('wildcards', () => {
  test.each([
    ['+', 'wildcard_in_name'],
    ['#', 'wildcard_in_name'],
    ['a/+/b', 'wildcard_in_name'],
    ['a+', 'wildcard_in_name'],
  ] as const)('MQTT-3.1.1 [MQTT-3.3.2-2] the topic name %j is refused', (text, problem) => {
    expect(problemOf(parseTopicName(text))).toBe(problem);
  });

  test.each([
    ['a+', 'wildcard_not_alone_in_level'],
    ['+a/b', 'wildcard_not_alone_in_level'],
    ['a/++', 'wildcard_not_alone_in_level'],
    ['a#', 'wildcard_not_alone_in_level'],
    ['a/#b', 'wildcard_not_alone_in_level'],
    ['##', 'wildcard_not_alone_in_level'],
    ['#/a', 'multi_level_wildcard_not_last'],
    ['a/#/b', 'multi_level_wildcard_not_last'],
    ['#/', 'multi_level_wildcard_not_last'],
    ['#/#', 'multi_level_wildcard_not_last'],
  ] as const)(
    'MQTT-3.1.1 [MQTT-4.7.1-2] [MQTT-4.7.1-3] the filter %j is refused',
    (text, problem) => {
      expect(problemOf(parseTopicFilter(text))).toBe(problem);
    },
  );

  test.each(['#', '+', '/', '//', '+/+', 'a/#', '/#', '+/#', 'a//b', '$SYS/#', ' ', 'a b/ü'])(
    'the filter %j is accepted',
    (text) => {
      expect(parseTopicFilter(text)).toEqual({ ok: true, value: text });
    },
  );
});

describe('shared subscriptions', () => {
  test.each([
    '$share/',
    '$share//a',
    '$share/g',
    '$share/+/a',
    '$share/#/a',
    '$share/g+/a',
    '$share/\u0000/a',
    `$share/${'g'.repeat(TOPIC_BYTES_MAX)}/a`,
  ])('MQTT-5.0 [MQTT-4.8.2-1] [MQTT-4.8.2-2] %j is refused', (text) => {
    expect(problemOf(parseSubscription(text))).toBe('share_group_invalid');
  });

  test('the filter after the group is judged like any other', () => {
    expect(problemOf(parseSubscription('$share/g/'))).toBe('empty');
    expect(problemOf(parseSubscription('$share/g/a+'))).toBe('wildcard_not_alone_in_level');
    expect(problemOf(parseSubscription('$share/g/#/a'))).toBe('multi_level_wildcard_not_last');
  });

  test('group and filter are told apart', () => {
    expect(parseSubscription('$share/g/a/#')).toEqual({
      ok: true,
      value: { filter: 'a/#', group: 'g' },
    });
    expect(parseSubscription('$share/g//')).toEqual({
      ok: true,
      value: { filter: '/', group: 'g' },
    });
    expect(parseSubscription('$shared/g/a')).toEqual({
      ok: true,
      value: { filter: '$shared/g/a', group: undefined },
    });
    const longest = `$share/g/${'x'.repeat(TOPIC_BYTES_MAX - 9)}`;
    expect(parseSubscription(longest).ok).toBe(true);
    expect(parseSubscription(`${longest}x`).ok).toBe(false);
  });
});

describe('properties', () => {
  test('utf8Bytes is the length that encoding gives', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        expect(utf8Bytes(text)).toBe(Buffer.byteLength(text, 'utf8'));
      }),
    );
  });

  test('utf8Bytes counts a lone surrogate like the replacement character that encoding puts there', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0xd700, max: 0xe0ff })), (units) => {
        const text = String.fromCharCode(...units);
        expect(utf8Bytes(text)).toBe(Buffer.byteLength(text, 'utf8'));
      }),
    );
  });

  test('levels join to the topic that they came from', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom('a', '', '+', 'ü'), { minLength: 1 }), (levels) => {
        expect(levelsOf(levels.join('/'))).toEqual(levels);
      }),
    );
  });
});
