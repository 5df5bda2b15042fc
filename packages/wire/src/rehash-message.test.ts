import { REHASH_SECRETS_MAX } from '@sallyport/domain';
import { describe, expect, it } from 'vitest';
import { decodeRehash, encodeRehash, REHASH_MESSAGE_BYTES_MAX } from './rehash-message.ts';

const one = { id: 'c1', secretId: 's1', verifier: 'sealed' };
const bytes = (text: string): Uint8Array => Buffer.from(text);
const many = (count: number) => Array.from({ length: count }, () => one);

describe('decodeRehash', () => {
  it.each([
    ['nothing', ''],
    ['no object', 'null'],
    ['a list', '[]'],
    ['another version', JSON.stringify({ v: 2, secrets: [] })],
    ['no list', JSON.stringify({ v: 1, secrets: {} })],
    ['a secret that is none', JSON.stringify({ v: 1, secrets: [null] })],
    ['a number for an id', JSON.stringify({ v: 1, secrets: [{ ...one, id: 5 }] })],
    ['an empty id', JSON.stringify({ v: 1, secrets: [{ ...one, secretId: '' }] })],
    ['a long id', JSON.stringify({ v: 1, secrets: [{ ...one, id: 'x'.repeat(129) }] })],
    [
      'a long verifier',
      JSON.stringify({ v: 1, secrets: [{ ...one, verifier: 'x'.repeat(1025) }] }),
    ],
    ['one secret too many', encodeRehash(many(REHASH_SECRETS_MAX + 1))],
    ['a long message', `${' '.repeat(REHASH_MESSAGE_BYTES_MAX)}${encodeRehash([one])}`],
  ])('refuses %s', (_, text) => {
    expect(decodeRehash(bytes(text))).toBeUndefined();
  });

  it('refuses bytes that are no text', () => {
    expect(decodeRehash(Uint8Array.of(0xff))).toBeUndefined();
  });

  it('reads what was written, at the limit too, and drops members that it does not know', () => {
    expect(decodeRehash(bytes(encodeRehash(many(REHASH_SECRETS_MAX))))).toEqual(
      many(REHASH_SECRETS_MAX),
    );
    const more = JSON.stringify({ v: 1, secrets: [{ ...one, at: 5 }] });
    expect(decodeRehash(bytes(more))).toEqual([one]);
  });
});
