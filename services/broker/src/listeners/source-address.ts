import { isIPv4, isIPv6 } from 'node:net';

/** Where a connection comes from. */
export interface Source {
  readonly address: string;
  readonly port: number;
}

const MAPPED_IPV4 = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/;

/** Groups of an IPv6 address that one subscriber has for itself. */
const NETWORK_GROUPS = 4;
const GROUPS = 8;

/**
 * One text for one address: IPv4 as it is; IPv4 in IPv6 as IPv4; IPv6 in the form of RFC 5952, without a zone. Anything else is
 * answered as it is.
 */
export function canonicalAddress(address: string): string {
  if (isIPv4(address) || !isIPv6(address)) return address;
  const [plain = ''] = address.split('%', 1);
  // The URL parser knows the short form.
  const short = new URL(`http://[${plain}]`).hostname.slice(1, -1);
  const mapped = MAPPED_IPV4.exec(short);
  if (mapped === null) return short;
  const [high, low] = mapped.slice(1).map((group) => Number.parseInt(group, 16));
  return [high ?? 0, low ?? 0].flatMap((group) => [group >> 8, group & 0xff]).join('.');
}

/** What a limit for each source counts by: the address, of IPv6 its /64. `address` is canonical. */
export function networkOf(address: string): string {
  if (!address.includes(':')) return address;
  const [left = '', right = ''] = address.split('::', 2);
  const [before, after] = [left, right].map((part) => (part === '' ? [] : part.split(':')));
  const there = [...(before ?? []), ...(after ?? [])].length;
  const zeros = Array.from({ length: GROUPS - there }, () => '0');
  return [...(before ?? []), ...zeros, ...(after ?? [])].slice(0, NETWORK_GROUPS).join(':');
}

/** `address:port`, IPv6 in brackets. `address` is canonical. */
export function peerOf({ address, port }: Source): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}
