import { parseTopicName, textProblem } from '@sallyport/topic';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  bytes,
  decoderOf,
  field,
  packet,
  packetsOf,
  refusal,
  uint16,
} from '../../test-support/client-bytes.ts';
import { ProtocolError, reasonCode } from './index.ts';
import { textOf } from './text.ts';
import { topicNameOf, TopicReader } from './topic-reader.ts';

const { malformedPacket } = reasonCode;

/** The text, or undefined when it is refused. */
function textOrRefusal(given: Uint8Array): string | undefined {
  const padded = bytes('before', given, 'behind');
  try {
    return textOf(padded, 6, 6 + given.length);
  } catch (error) {
    if (error instanceof ProtocolError && error.reason === malformedPacket) return undefined;
    throw error;
  }
}

const refused: readonly (readonly [what: string, bytes: readonly number[]])[] = [
  ['[MQTT-1.5.3-2] [MQTT-1.5.4-2] U+0000', [0x00]],
  ['U+0001', [0x01]],
  ['U+001F', [0x1f]],
  ['U+007F', [0x7f]],
  ['U+0080', [0xc2, 0x80]],
  ['U+009F', [0xc2, 0x9f]],
  ['the non-character U+FDD0', [0xef, 0xb7, 0x90]],
  ['the non-character U+FDEF', [0xef, 0xb7, 0xaf]],
  ['the non-character U+FFFE', [0xef, 0xbf, 0xbe]],
  ['the non-character U+FFFF', [0xef, 0xbf, 0xbf]],
  ['the non-character U+1FFFE', [0xf0, 0x9f, 0xbf, 0xbe]],
  ['the non-character U+10FFFF', [0xf4, 0x8f, 0xbf, 0xbf]],
  ['[MQTT-1.5.3-1] [MQTT-1.5.4-1] the surrogate U+D800', [0xed, 0xa0, 0x80]],
  ['[MQTT-1.5.3-1] [MQTT-1.5.4-1] the surrogate U+DFFF', [0xed, 0xbf, 0xbf]],
  ['a pair of surrogates', [0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80]],
  ['U+0000 in two bytes', [0xc0, 0x80]],
  ['U+002F in two bytes', [0xc0, 0xaf]],
  ['U+007F in two bytes', [0xc1, 0xbf]],
  ['U+002F in three bytes', [0xe0, 0x80, 0xaf]],
  ['U+07FF in three bytes', [0xe0, 0x9f, 0xbf]],
  ['U+FFFF in four bytes', [0xf0, 0x8f, 0xbf, 0xbf]],
  ['U+110000', [0xf4, 0x90, 0x80, 0x80]],
  ['a sequence of five bytes', [0xf8, 0x88, 0x80, 0x80, 0x80]],
  ['a continuation byte alone', [0x80]],
  ['a byte 0xFF', [0xff]],
  ['two bytes cut to one', [0xc3]],
  ['three bytes cut to two', [0xe2, 0x82]],
  ['four bytes cut to three', [0xf0, 0x9f, 0x98]],
  ['a sequence broken by ASCII', [0xe2, 0x41, 0xac]],
];

const allowed: readonly (readonly [what: string, text: string])[] = [
  ['nothing', ''],
  ['ASCII', ' az~'],
  ['U+00A0, the first behind the controls', '\u00a0'],
  ['two bytes', 'ä\u07ff'],
  ['three bytes', '\u0800€\ud7ff\ue000\ufdcf\ufdf0\ufffd'],
  ['four bytes', '\u{10000}😀\u{10fffd}'],
  ['[MQTT-1.5.3-3] [MQTT-1.5.4-3] U+FEFF at the start, which stays', '\ufeffa'],
  ['U+FEFF alone', '\ufeff'],
  ['U+FEFF in the middle', 'a\ufeffb'],
];

describe('text', () => {
  test.each(refused)('%s is refused', (_, given) => {
    expect(textOrRefusal(bytes(given))).toBeUndefined();
    expect(textOrRefusal(bytes('a/', given, '/b'))).toBeUndefined();
    expect(textOrRefusal(bytes('ä', given))).toBeUndefined();
  });

  test.each(allowed)('%s is read as it is', (_, text) => {
    expect(textOrRefusal(bytes(text))).toBe(text);
  });

  test.each(refused)('%s is refused wherever a client may write text', (_, given) => {
    const bad = field('a', given);
    const property = (id: number, ...value: Buffer[]): Buffer => {
      const content = bytes(id, ...value);
      return packet(0x30, field('t'), content.length, content);
    };
    const places: readonly (readonly [string, 0 | 4 | 5, Buffer])[] = [
      ['client id', 0, packet(0x10, field('MQTT'), 4, 2, uint16(0), bad)],
      ['user name', 0, packet(0x10, field('MQTT'), 4, 0x82, uint16(0), field('c'), bad)],
      ['will topic', 0, packet(0x10, field('MQTT'), 4, 6, uint16(0), field('c'), bad, field())],
      ['topic name', 4, packet(0x30, bad)],
      ['topic filter of SUBSCRIBE', 4, packet(0x82, uint16(1), bad, 0)],
      ['topic filter of UNSUBSCRIBE', 4, packet(0xa2, uint16(1), bad)],
      ['content type', 5, property(0x03, bad)],
      ['response topic', 5, property(0x08, bad)],
      ['name of a user property', 5, property(0x26, bad, field('v'))],
      ['value of a user property', 5, property(0x26, field('n'), bad)],
      ['reason string', 5, packet(0xe0, 0, bad.length + 1, 0x1f, bad)],
      ['authentication method', 5, packet(0xf0, 0x18, bad.length + 1, 0x15, bad)],
    ];
    for (const [place, version, given_] of places) {
      expect(refusal(decoderOf(version), given_), place).toBe(malformedPacket);
    }
  });

  test('two byte strings that differ never become one text', () => {
    const some = fc.oneof(
      fc.uint8Array({ maxLength: 6 }),
      fc
        .array(fc.constantFrom(0x41, 0xc3, 0xa4, 0xef, 0xbb, 0xbf, 0xe2, 0x82, 0xac, 0xf0), {
          maxLength: 6,
        })
        .map((all) => Uint8Array.from(all)),
    );
    const seen = new Map<string, string>();
    fc.assert(
      fc.property(some, (given) => {
        const text = textOrRefusal(given);
        if (text === undefined) return;
        const hex = Buffer.from(given).toString('hex');
        expect(seen.get(text) ?? hex).toBe(hex);
        seen.set(text, hex);
        expect(Buffer.from(text, 'utf8').toString('hex')).toBe(hex);
      }),
      { numRuns: 5000, verbose: 1 },
    );
    expect(seen.size).toBeGreaterThan(100);
  });

  test('what packages/topic allows as text is what is allowed', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 8 }), (text) => {
        const isWellFormed = Buffer.from(text).toString() === text;
        const isAllowed = isWellFormed && textProblem(text) === undefined;
        expect(textOrRefusal(bytes(text)) === text).toBe(isAllowed);
      }),
      { numRuns: 1500, verbose: 1 },
    );
  });
});

describe('topic names', () => {
  const piece = fc.constantFrom(
    'a',
    'b',
    '/',
    '/',
    '+',
    '#',
    'ä',
    '\u0001',
    '\ufeff',
    '/////////',
    'x'.repeat(300),
  );
  const name = fc.array(piece, { maxLength: 8 }).map((all) => all.join(''));

  /** The topic, or the reason of the refusal. */
  const read = (
    topic: string,
    by: (given: Buffer, start: number, end: number) => string,
  ): string | number => {
    const given = bytes('--', topic, '--');
    try {
      return by(given, 2, given.length - 2);
    } catch (error) {
      if (error instanceof ProtocolError) return error.reason;
      throw error;
    }
  };

  test('are those of parseTopicName, whatever was read before', () => {
    const reader = new TopicReader();
    fc.assert(
      fc.property(name, (topic) => {
        const parsed = parseTopicName(topic);
        const expected = parsed.ok
          ? topic
          : parsed.problem === 'control_character' || parsed.problem === 'wildcard_in_name'
            ? malformedPacket
            : reasonCode.topicNameInvalid;
        expect(read(topic, topicNameOf)).toBe(expected);
        expect(read(topic, (...given) => reader.read(...given))).toBe(expected);
        expect(read(topic, (...given) => reader.read(...given))).toBe(expected);
      }),
      { numRuns: 5000, verbose: 1 },
    );
  });

  test('a reader of many topics in any order mixes none up', () => {
    const reader = new TopicReader();
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 40 }), { maxLength: 200 }), (order) => {
        for (const index of order) {
          const topic = index % 3 === 0 ? `ä/${index}` : `plant/${index}/temperature`;
          expect(read(topic, (...given) => reader.read(...given))).toBe(topic);
        }
      }),
    );
  });

  test('a topic of bytes that collide in the reader’s hash is not taken for another', () => {
    // 31 * 'a' + 'b' = 31 * 'b' + 'C'.
    const reader = new TopicReader();
    for (const topic of ['ab', 'bC', 'ab', 'bC']) {
      expect(read(topic, (...given) => reader.read(...given))).toBe(topic);
    }
  });

  test('a topic that was refused is refused again', () => {
    const decoder = (): Buffer[] => [packet(0x30, field('t')), packet(0x30, field('a/#'))];
    expect(refusal(decoderOf(4), ...decoder())).toBe(reasonCode.malformedPacket);
    expect(packetsOf(decoderOf(4), [packet(0x30, field('t'))])).toMatchObject([{ topic: 't' }]);
  });
});
