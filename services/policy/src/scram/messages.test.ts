import { SCRAM_MESSAGE_BYTES_MAX } from '@sallyport/policy-client';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseClientFinal, parseClientFirst } from './messages.ts';

const PROOF = Buffer.alloc(32, 0xfb).toString('base64');

const first = (text: string | Uint8Array) => parseClientFirst(Buffer.from(text));
const final = (text: string | Uint8Array) => parseClientFinal(Buffer.from(text), 32);

describe('client-first-message', () => {
  it.each([
    ['nothing', ''],
    ['no header', 'n=user,r=abc'],
    ['half a header', 'n,n=user,r=abc'],
    ['a header of another letter', 'x,,n=user,r=abc'],
    ['a header in capitals', 'N,,n=user,r=abc'],
    ['somebody else to act for', 'n,a=other,n=user,r=abc'],
    ['itself to act for', 'n,a=user,n=user,r=abc'],
    ['an extension that must be understood', 'n,,m=ext,n=user,r=abc'],
    ['such an extension in another place', 'n,,n=user,r=abc,m=ext'],
    ['no name', 'n,,r=abc'],
    ['an empty name', 'n,,n=,r=abc'],
    ['no nonce', 'n,,n=user'],
    ['an empty nonce', 'n,,n=user,r='],
    ['a nonce with a space', 'n,,n=user,r=a b'],
    ['a nonce that is not ASCII', 'n,,n=user,r=\u00e9'],
    ['a nonce with a control character', 'n,,n=user,r=a\u007f'],
    ['the nonce before the name', 'n,,r=abc,n=user'],
    ['two names', 'n,,n=user,n=admin,r=abc'],
    ['a name behind the nonce', 'n,,n=user,r=abc,n=admin'],
    ['two nonces', 'n,,n=user,r=abc,r=def'],
    ['an attribute that belongs to the end', 'n,,n=user,r=abc,p=AAAA'],
    ['an empty extension', 'n,,n=user,r=abc,x='],
    ['an extension without a name', 'n,,n=user,r=abc,=x'],
    ['an extension with a long name', 'n,,n=user,r=abc,xy=z'],
    ['a comma at the end', 'n,,n=user,r=abc,'],
    ['an escape in small letters', 'n,,n=a=2cb,r=abc'],
    ['an escape of something else', 'n,,n=a=2Ab,r=abc'],
    ['half an escape', 'n,,n=a=2,r=abc'],
    ['an equals sign alone', 'n,,n=a=,r=abc'],
    ['U+0000 in the name', 'n,,n=a\0b,r=abc'],
    ['U+0000 in an extension', 'n,,n=user,r=abc,x=\0'],
  ])('with %s is refused', (_, text) => {
    expect(first(text)).toEqual({ ok: false, reason: 'malformed' });
  });

  it('that is not UTF-8 is refused', () => {
    for (const bytes of [[0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80]]) {
      const message = Buffer.concat([
        Buffer.from('n,,n=a'),
        Buffer.from(bytes),
        Buffer.from(',r=b'),
      ]);
      expect(first(message)).toEqual({ ok: false, reason: 'malformed' });
    }
  });

  it('that asks for channel binding is refused as such', () => {
    for (const text of ['p=tls-unique,,n=user,r=abc', 'p=tls-exporter,,n=user,r=abc', 'p=']) {
      expect(first(text)).toEqual({ ok: false, reason: 'channel_binding' });
    }
  });

  it('has a limit: at it taken, one byte past it refused', () => {
    const start = 'n,,n=user,r=';
    const longest = start + 'x'.repeat(SCRAM_MESSAGE_BYTES_MAX - start.length);
    expect(first(longest).ok).toBe(true);
    expect(first(`${longest}x`)).toEqual({ ok: false, reason: 'malformed' });
    const wide = `n,,n=${'é'.repeat(SCRAM_MESSAGE_BYTES_MAX / 2)},r=abc`;
    expect(first(wide)).toEqual({ ok: false, reason: 'malformed' });
  });

  it('of any cut is refused, or says less', () => {
    const text = 'n,,n=user,r=rOprNGfwEbeRWgbNEkqO,x=y';
    for (let length = 0; length < text.length; length++) {
      const parsed = first(text.slice(0, length));
      if (parsed.ok) expect(text.slice(3)).toContain(parsed.value.bare);
    }
    expect(first('n,,n=user,r').ok).toBe(false);
  });

  it.each([
    ['RFC 7677 §3', 'n,,n=user,r=rOprNGfwEbeRWgbNEkqO', 'user'],
    ['a client that knows channel binding and thinks that we do not', 'y,,n=user,r=abc', 'user'],
    ['an escaped comma and equals sign', 'n,,n=a=2Cb=3Dc,r=abc', 'a,b=c'],
    ['an escape of an escape', 'n,,n==3D2C,r=abc', '=2C'],
    ['letters beyond ASCII', 'n,,n=Jürgen\u{1f600},r=abc', 'Jürgen\u{1f600}'],
    ['extensions that may be passed over', 'n,,n=user,r=abc,x=1,Z==', 'user'],
  ])('%s is taken', (_, text, username) => {
    const parsed = first(text);
    expect(parsed).toMatchObject({ ok: true, value: { username, bare: text.slice(3) } });
  });

  it('never throws, and what it takes is the text that came', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        const parsed = first(Buffer.concat([Buffer.from('n,,n=u,r='), bytes]));
        if (!parsed.ok) return;
        const { header, bare } = parsed.value;
        expect(Buffer.from(header + bare)).toEqual(
          Buffer.concat([Buffer.from('n,,n=u,r='), bytes]),
        );
      }),
    );
  });
});

describe('client-final-message', () => {
  it.each([
    ['nothing', ''],
    ['no channel binding', `r=abc,p=${PROOF}`],
    ['no nonce', `c=biws,p=${PROOF}`],
    ['no proof', 'c=biws,r=abc'],
    ['an empty proof', 'c=biws,r=abc,p='],
    ['a proof that is short', `c=biws,r=abc,p=${Buffer.alloc(31).toString('base64')}`],
    ['a proof that is long', `c=biws,r=abc,p=${Buffer.alloc(33).toString('base64')}`],
    ['a proof of the other hash', `c=biws,r=abc,p=${Buffer.alloc(64).toString('base64')}`],
    ['a proof without its padding', `c=biws,r=abc,p=${PROOF.slice(0, -1)}`],
    ['a proof in base64url', `c=biws,r=abc,p=${PROOF.replaceAll('+', '-')}`],
    ['a proof with a space', `c=biws,r=abc,p= ${PROOF}`],
    ['bits that base64 throws away', `c=biws,r=abc,p=${PROOF.slice(0, -2)}t=`],
    ['the proof before the end', `c=biws,r=abc,p=${PROOF},x=1`],
    ['two proofs', `c=biws,r=abc,p=${PROOF},p=${PROOF}`],
    ['the nonce first', `r=abc,c=biws,p=${PROOF}`],
    ['an extension that must be understood', `c=biws,r=abc,m=ext,p=${PROOF}`],
    ['an attribute of its own as an extension', `c=biws,r=abc,n=user,p=${PROOF}`],
    ['an empty nonce', `c=biws,r=,p=${PROOF}`],
    ['U+0000', `c=biws,r=abc,x=\0,p=${PROOF}`],
    ['no comma', `c=biws`],
  ])('with %s is refused', (_, text) => {
    expect(final(text)).toEqual({ ok: false, reason: 'malformed' });
  });

  it('that is too long is refused', () => {
    const end = `,p=${PROOF}`;
    const start = 'c=biws,r=';
    const room = SCRAM_MESSAGE_BYTES_MAX - start.length - end.length;
    expect(final(`${start}${'x'.repeat(room)}${end}`).ok).toBe(true);
    expect(final(`${start}${'x'.repeat(room + 1)}${end}`).ok).toBe(false);
  });

  it('is taken with what was said before the proof, extensions included', () => {
    expect(final(`c=eSws,r=a=b,x=1,p=${PROOF}`)).toEqual({
      ok: true,
      value: {
        channelBinding: 'eSws',
        nonce: 'a=b',
        withoutProof: 'c=eSws,r=a=b,x=1',
        proof: Buffer.alloc(32, 0xfb),
      },
    });
  });
});
