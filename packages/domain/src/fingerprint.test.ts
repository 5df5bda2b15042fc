import { describe, expect, test } from 'vitest';
import { fingerprintText, parseFingerprint } from './fingerprint.ts';

const HEX = '00ff10a5'.repeat(8);
const COLONS = HEX.match(/../g)?.join(':') ?? '';
const BASE64 = Buffer.from(HEX, 'hex').toString('base64');

describe('a fingerprint', () => {
  test.each([
    ['lower-case hex', HEX],
    ['upper-case hex', HEX.toUpperCase()],
    ['hex with colons', COLONS],
    ['upper-case hex with colons', COLONS.toUpperCase()],
    ['its prefix and hex', `SHA256:${HEX}`],
    ['its prefix in lower case, and colons', `sha256:${COLONS}`],
    ['base64 of 44 characters', BASE64],
    ['base64 of 43 characters, as OpenSSH writes it', `SHA256:${BASE64.slice(0, 43)}`],
    ['its canonical form', fingerprintText(HEX)],
  ])('is read from %s', (_, text) => {
    expect(parseFingerprint(text)).toBe(HEX);
  });

  test.each([
    ['nothing', ''],
    ['a prefix alone', 'SHA256:'],
    ['one digit too few', HEX.slice(1)],
    ['one digit too many', `${HEX}0`],
    ['a letter that is no digit', `g${HEX.slice(1)}`],
    ['a colon at the end', `${COLONS}:`],
    ['some colons only', `${COLONS.slice(0, 47)}${HEX.slice(32)}`],
    ['another digest', `SHA1:${HEX}`],
    ['a prefix twice', `SHA256:SHA256:${HEX}`],
    ['space around it', ` ${HEX}`],
    ['42 characters of base64', BASE64.slice(0, 42)],
    ['base64 for addresses', `${'-'.repeat(42)}8`],
    ['base64 with bits that belong to no byte', `${'A'.repeat(42)}B`],
    ['padding in the middle', `${BASE64.slice(0, 20)}=${BASE64.slice(21)}`],
    ['a name of JavaScript', '__proto__'],
  ])('is not read from %s', (_, text) => {
    expect(parseFingerprint(text)).toBeUndefined();
  });

  test('is told with its prefix, in upper case, with colons', () => {
    expect(fingerprintText(HEX)).toMatch(/^SHA256:00:FF:10:A5:00(:[0-9A-F]{2}){27}$/);
  });

  test('of any digest is read from base64 as from hex', () => {
    for (let round = 0; round < 256; round++) {
      const digest = Buffer.from(
        Array.from({ length: 32 }, (_, at) => (round * 7 + at * 31) % 256),
      );
      const hex = digest.toString('hex');
      expect(parseFingerprint(digest.toString('base64'))).toBe(hex);
      expect(parseFingerprint(fingerprintText(hex))).toBe(hex);
    }
  });
});
