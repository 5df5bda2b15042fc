import { describe, expect, test } from 'vitest';
import { PROXY_HEADER_BYTES_MAX, type ProxyHeader, ProxyHeaderParser } from './proxy-protocol.ts';

const REST = Buffer.from([0x10, 0x00, 0xff]);
const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');

function v2(versionAndCommand: number, family: number, body: Buffer, length = body.length): Buffer {
  const fixed = Buffer.from([versionAndCommand, family, length >> 8, length & 0xff]);
  return Buffer.concat([SIGNATURE, fixed, body]);
}
const tcp4 = Buffer.from([192, 0, 2, 1, 198, 51, 100, 1, 0xff, 0xff, 0x07, 0x5b]);
const tcp6 = Buffer.concat([
  Buffer.from('20010db8000000000000000000000001', 'hex'),
  Buffer.from('20010db8000000000000000000000002', 'hex'),
  Buffer.from([0x00, 0x01, 0x07, 0x5b]),
]);
const tlv = (length: number, claimed = length): Buffer =>
  Buffer.concat([Buffer.from([0x04, claimed >> 8, claimed & 0xff]), Buffer.alloc(length)]);

const good: [string, Buffer, { address: string; port: number } | undefined][] = [
  [
    'v1 TCP4',
    Buffer.from('PROXY TCP4 192.0.2.1 198.51.100.1 65535 1883\r\n'),
    { address: '192.0.2.1', port: 65_535 },
  ],
  [
    'v1 TCP6',
    Buffer.from('PROXY TCP6 2001:db8::1 ::1 0 1883\r\n'),
    { address: '2001:db8::1', port: 0 },
  ],
  ['v1 UNKNOWN', Buffer.from('PROXY UNKNOWN\r\n'), undefined],
  ['v1 UNKNOWN with more', Buffer.from('PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n'), undefined],
  ['v1 of 107 bytes', Buffer.from(`PROXY UNKNOWN ${'x'.repeat(91)}\r\n`), undefined],
  ['v2 TCP4', v2(0x21, 0x11, tcp4), { address: '192.0.2.1', port: 65_535 }],
  ['v2 TCP6', v2(0x21, 0x21, tcp6), { address: '2001:db8::1', port: 1 }],
  [
    'v2 TCP4 with TLVs',
    v2(0x21, 0x11, Buffer.concat([tcp4, tlv(4), tlv(0)])),
    { address: '192.0.2.1', port: 65_535 },
  ],
  [
    'v2 of the most bytes',
    v2(0x21, 0x11, Buffer.concat([tcp4, tlv(PROXY_HEADER_BYTES_MAX - 31)])),
    { address: '192.0.2.1', port: 65_535 },
  ],
  ['v2 LOCAL', v2(0x20, 0x00, Buffer.alloc(0)), undefined],
  ['v2 LOCAL with what must be skipped', v2(0x20, 0x11, Buffer.alloc(7)), undefined],
  ['v2 of an unspecified family', v2(0x21, 0x00, Buffer.alloc(5)), undefined],
];

const bad: [string, Buffer][] = [
  ['MQTT', Buffer.from([0x10, 0x0c])],
  ['v1 in lower case', Buffer.from('proxy TCP4 ')],
  ['v1 of another family', Buffer.from('PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n')],
  ['v1 with IPv6 as TCP4', Buffer.from('PROXY TCP4 ::1 ::1 1 2\r\n')],
  ['v1 with IPv4 as TCP6', Buffer.from('PROXY TCP6 192.0.2.1 192.0.2.1 1 2\r\n')],
  ['v1 with half an address', Buffer.from('PROXY TCP4 192.0.2 192.0.2.1 1 2\r\n')],
  ['v1 with port 65536', Buffer.from('PROXY TCP4 192.0.2.1 192.0.2.1 65536 2\r\n')],
  ['v1 to port 65536', Buffer.from('PROXY TCP4 192.0.2.1 192.0.2.1 2 65536\r\n')],
  ['v1 with a leading zero', Buffer.from('PROXY TCP4 192.0.2.1 192.0.2.1 01 2\r\n')],
  ['v1 with a field too many', Buffer.from('PROXY TCP4 192.0.2.1 192.0.2.1 1 2 3\r\n')],
  ['v1 with a field too few', Buffer.from('PROXY TCP4 192.0.2.1 192.0.2.1 1\r\n')],
  ['v1 with two spaces', Buffer.from('PROXY TCP4  192.0.2.1 192.0.2.1 1 2\r\n')],
  ['v1 of 108 bytes', Buffer.from(`PROXY UNKNOWN ${'x'.repeat(92)}\r\n`)],
  ['v1 without an end', Buffer.from(`PROXY UNKNOWN ${'x'.repeat(200)}`)],
  ['v2 of version 1', v2(0x11, 0x11, tcp4)],
  ['v2 of version 3', v2(0x31, 0x11, tcp4)],
  ['v2 of an unknown command', v2(0x22, 0x11, tcp4)],
  ['v2 of a Unix socket', v2(0x21, 0x31, Buffer.alloc(216))],
  ['v2 of datagrams', v2(0x21, 0x12, tcp4)],
  ['v2 TCP4 with 11 bytes', v2(0x21, 0x11, tcp4.subarray(0, 11))],
  ['v2 TCP6 with 35 bytes', v2(0x21, 0x21, tcp6.subarray(0, 35))],
  ['v2 with a TLV over the end', v2(0x21, 0x11, Buffer.concat([tcp4, tlv(4, 5)]))],
  ['v2 with two bytes of a TLV', v2(0x21, 0x11, Buffer.concat([tcp4, Buffer.alloc(2)]))],
  ['v2 one byte too long, before it has come', v2(0x21, 0x11, tcp4, PROXY_HEADER_BYTES_MAX - 15)],
  ['v2 LOCAL too long', v2(0x20, 0x00, Buffer.alloc(0), 0xffff)],
];

describe('the PROXY header', () => {
  test.each(good)('%s is read, in one piece and in single bytes', (_title, header, source) => {
    const expected = { state: 'header', source, rest: REST };
    expect(new ProxyHeaderParser().feed(Buffer.concat([header, REST]))).toEqual(expected);
    const parser = new ProxyHeaderParser();
    const answers: ProxyHeader[] = [];
    for (const byte of header) answers.push(parser.feed(Buffer.from([byte])));
    expect(answers.slice(0, -1).every((answer) => answer.state === 'need_more')).toBe(true);
    expect(answers.at(-1)).toEqual({ ...expected, rest: Buffer.alloc(0) });
  });

  test.each(bad)('%s is malformed, in one piece and in single bytes', (_title, header) => {
    expect(new ProxyHeaderParser().feed(header)).toEqual({ state: 'malformed' });
    const parser = new ProxyHeaderParser();
    let last: ProxyHeader = { state: 'need_more' };
    for (const byte of header) {
      last = parser.feed(Buffer.from([byte]));
      if (last.state !== 'need_more') break;
    }
    expect(last).toEqual({ state: 'malformed' });
  });

  test.each(good)('%s, cut anywhere, is not finished', (_title, header) => {
    for (let length = 0; length < header.length; length++) {
      expect(new ProxyHeaderParser().feed(header.subarray(0, length)).state).toBe('need_more');
    }
  });

  test('no two changed bytes throw or read past the header', () => {
    const header = v2(0x21, 0x21, Buffer.concat([tcp6, tlv(8)]));
    for (let at = 0; at < header.length; at++) {
      for (const value of [0, 1, 0x0d, 0x20, 0x21, 0x7f, 0xff]) {
        const changed = Buffer.from(header);
        changed[at] = value;
        changed[(at + 7) % header.length] = value;
        expect(() => new ProxyHeaderParser().feed(changed)).not.toThrow();
      }
    }
  });
});
