import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { saslprep } from './saslprep.ts';

describe('RFC 4013', () => {
  test.each([
    ['§3 example 5, a control character', '\u0007'],
    ['§3 example 6, a direction that ends with the other', '\u06271'],
    ['DEL', 'a\u007f'],
    ['a control of the upper range', 'a\u0085'],
    ['a private character', '\ue000'],
    ['a private character of a high plane', '\u{100000}'],
    ['a non-character', '\ufdd0'],
    ['the last non-character', '\u{10ffff}'],
    ['a lone high surrogate', 'a\ud800'],
    ['a lone low surrogate', '\udc00a'],
    ['an interlinear mark', '\ufff9'],
    ['the replacement character', 'a\ufffdb'],
    ['an ideographic description', '\u2ff0'],
    ['a mark of direction', 'a\u200eb'],
    ['an override of direction', 'a\u202eb'],
    ['a deprecated format character', '\u206a'],
    ['a language tag', '\u{e0001}'],
    ['a tagging character', '\u{e0041}'],
    ['an end of Arabic verse', '\u06dd'],
    ['a line separator', 'a\u2028b'],
    ['letters of both directions', '\u0627a\u0628'],
    ['a direction that begins with the other', '1\u0627'],
    ['nothing', ''],
    ['nothing once it is mapped', '\u00ad\u200c\ufeff'],
    ['text that is too long', 'x'.repeat(4097)],
  ])('%s is refused', (_, text) => {
    expect(saslprep(text)).toBeUndefined();
  });

  test.each([
    ['§3 example 1, a soft hyphen goes', 'I\u00adX', 'IX'],
    ['§3 example 2, no change', 'user', 'user'],
    ['§3 example 3, case is kept', 'USER', 'USER'],
    ['§3 example 4, a feminine ordinal', '\u00aa', 'a'],
    ['§3 example 5, a Roman numeral', '\u2168', 'IX'],
    ['spaces become U+0020', 'a\u00a0b\u3000c\u200bd', 'a b c d'],
    ['composed is composed', 'e\u0301', '\u00e9'],
    ['a ligature is taken apart', '\ufb01n', 'fin'],
    ['one direction, at both ends', '\u0627\u0031\u0628', '\u0627\u0031\u0628'],
    ['Hebrew', '\u05d0\u05d1', '\u05d0\u05d1'],
    ['what Unicode has assigned since 3.2', 'pass\u{1f600}', 'pass\u{1f600}'],
    ['the longest text', 'x'.repeat(4096), 'x'.repeat(4096)],
  ])('%s', (_, text, prepared) => {
    expect(saslprep(text)).toBe(prepared);
  });

  test('what is prepared stays as it is', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (text) => {
        const prepared = saslprep(text);
        if (prepared !== undefined) expect(saslprep(prepared)).toBe(prepared);
      }),
    );
  });

  test('printable ASCII is never changed', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme-ascii', minLength: 1 }), (text) => {
        expect(saslprep(text)).toBe(text);
      }),
    );
  });
});
