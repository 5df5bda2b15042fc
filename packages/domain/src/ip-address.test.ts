import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  addressOfPeer,
  formatIpAddress,
  formatIpNetwork,
  parseIpAddress,
  parseIpNetwork,
} from './ip-address.ts';

const canonical = (text: string): string | undefined => {
  const address = parseIpAddress(text);
  return address && formatIpAddress(address);
};
const network = (text: string): string | undefined => {
  const parsed = parseIpNetwork(text);
  return parsed && formatIpNetwork(parsed);
};

describe('an address', () => {
  it.each([
    '',
    ' ',
    '1.2.3',
    '1.2.3.4.5',
    '256.0.0.1',
    '01.2.3.4',
    '1.2.3.4 ',
    '1.2.3.4/32',
    '0x1.2.3.4',
    ':',
    ':::',
    '1::2::3',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1:2:3:4:5:6:7:8::',
    '12345::',
    'g::',
    '::1%eth0',
    '1.2.3.4::',
    '::1.2.3',
    '[::1]',
    '__proto__',
    `${'0'.repeat(5000)}::1`,
  ])('is not %j', (text) => {
    expect(parseIpAddress(text)).toBeUndefined();
  });

  it.each([
    ['192.0.2.1', '192.0.2.1'],
    ['0.0.0.0', '0.0.0.0'],
    ['::', '::'],
    ['::1', '::1'],
    ['2001:DB8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['1::', '1::'],
    ['::FFFF:192.0.2.1', '192.0.2.1'],
    ['::ffff:c000:0201', '192.0.2.1'],
    ['0:0:0:0:0:ffff:10.0.0.1', '10.0.0.1'],
    ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
  ])('%s is %s, in one text', (text, expected) => {
    expect(canonical(text)).toBe(expected);
  });

  it('is read back from its own text, whatever it is', () => {
    const value = fc.bigInt({ min: 0n, max: 2n ** 128n - 1n });
    fc.assert(
      fc.property(value, (bits) => {
        const text = formatIpAddress({ bits: 128, value: bits });
        const parsed = parseIpAddress(text);
        if (parsed?.bits === 128) expect(parsed.value).toBe(bits);
        else expect(parsed).toEqual({ bits: 32, value: bits & 0xffffffffn });
        // The platform's own shortest form.
        if (parsed?.bits === 128) expect(new URL(`http://[${text}]`).hostname).toBe(`[${text}]`);
      }),
    );
  });
});

describe('a network', () => {
  it.each([
    '192.0.2.0',
    '192.0.2.0/33',
    '192.0.2.0/-1',
    '192.0.2.0/024',
    '192.0.2.0/24/1',
    '::/129',
    '::ffff:0:0/95',
    '/8',
    'a/8',
  ])('is not %j', (text) => {
    expect(parseIpNetwork(text)).toBeUndefined();
  });

  it.each([
    ['192.0.2.77/24', '192.0.2.0/24'],
    ['192.0.2.77/32', '192.0.2.77/32'],
    ['10.1.2.3/0', '0.0.0.0/0'],
    ['2001:db8:1:2:3::/48', '2001:db8:1::/48'],
    ['::1/128', '::1/128'],
    ['::ffff:192.0.2.77/120', '192.0.2.0/24'],
  ])('%s is %s, with the bits past its prefix cleared', (text, expected) => {
    expect(network(text)).toBe(expected);
  });
});

it('the address of a peer is what stands before its port', () => {
  expect(addressOfPeer('192.0.2.1:1883')).toBe('192.0.2.1');
  expect(addressOfPeer('[2001:db8::1]:1883')).toBe('2001:db8::1');
  expect(addressOfPeer('')).toBeUndefined();
  expect(addressOfPeer('nothing')).toBeUndefined();
});
