import { describe, expect, it } from 'vitest';
import { canonicalAddress, networkOf, peerOf } from './source-address.ts';

describe('the address of a source', () => {
  it.each([
    ['192.0.2.7', '192.0.2.7'],
    ['::ffff:192.0.2.7', '192.0.2.7'],
    ['::FFFF:c000:207', '192.0.2.7'],
    ['0:0:0:0:0:ffff:c000:0207', '192.0.2.7'],
    ['::ffff:0.0.0.1', '0.0.0.1'],
    ['2001:DB8:0:0:0:0:0:1', '2001:db8::1'],
    ['fe80::1%eth0', 'fe80::1'],
    ['::1', '::1'],
    ['::', '::'],
    ['::c000:207', '::c000:207'],
    ['not an address', 'not an address'],
  ])('%s is written %s', (address, canonical) => {
    expect(canonicalAddress(address)).toBe(canonical);
  });

  it.each([
    ['192.0.2.7', '192.0.2.7'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2'],
    ['2001:db8:1:2::', '2001:db8:1:2'],
    ['2001:db8::1', '2001:db8:0:0'],
    ['1::4:5:6:7:8', '1:0:0:4'],
    ['::2:3:4:5:6:7', '0:0:2:3'],
    ['::1', '0:0:0:0'],
    ['::', '0:0:0:0'],
  ])('%s is counted as %s', (address, network) => {
    expect(networkOf(address)).toBe(network);
  });

  it('stands in brackets before a port when it is IPv6', () => {
    expect(peerOf({ address: '2001:db8::1', port: 1 })).toBe('[2001:db8::1]:1');
    expect(peerOf({ address: '192.0.2.7', port: 65_535 })).toBe('192.0.2.7:65535');
  });
});
