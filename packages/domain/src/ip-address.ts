/** An address as a number of 32 or 128 bits. */
export interface IpAddress {
  readonly bits: 32 | 128;
  readonly value: bigint;
}

/** All addresses that begin with the same bits. */
export interface IpNetwork extends IpAddress {
  /** 0 to `bits`; the bits of `value` past it are 0. */
  readonly prefix: number;
}

/** Longest text that is looked at; the longest address is shorter. */
const TEXT_LENGTH_MAX = 64;
const GROUPS = 8;
const MAPPED_PREFIX = 96;
const MAPPED = 0xffffn << 32n;

function parseV4(text: string): bigint | undefined {
  const parts = text.split('.');
  if (parts.length !== 4) return undefined;
  let value = 0n;
  for (const part of parts) {
    // A zero in front would be octal to some, and decimal to others.
    if (!/^(0|[1-9][0-9]{0,2})$/.test(part) || Number(part) > 255) return undefined;
    value = (value << 8n) | BigInt(part);
  }
  return value;
}

/** The groups of one side of `::`; the last may be an IPv4 address. */
function parseGroups(text: string, mayEndInV4: boolean): bigint[] | undefined {
  if (text === '') return [];
  const groups: bigint[] = [];
  const parts = text.split(':');
  for (const [index, part] of parts.entries()) {
    if (mayEndInV4 && index === parts.length - 1 && part.includes('.')) {
      const v4 = parseV4(part);
      if (v4 === undefined) return undefined;
      groups.push(v4 >> 16n, v4 & 0xffffn);
    } else if (/^[0-9A-Fa-f]{1,4}$/.test(part)) groups.push(BigInt(`0x${part}`));
    else return undefined;
  }
  return groups;
}

function parseV6(text: string): bigint | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const [head = '', tail] = halves;
  const left = parseGroups(head, tail === undefined);
  const right = parseGroups(tail ?? '', true);
  if (left === undefined || right === undefined) return undefined;
  const missing = GROUPS - left.length - right.length;
  if (tail === undefined ? missing !== 0 : missing < 1) return undefined;
  const zeros = Array.from({ length: missing }, () => 0n);
  return [...left, ...zeros, ...right].reduce((value, group) => (value << 16n) | group, 0n);
}

const isMapped = (value: bigint): boolean => value >> 32n === MAPPED >> 32n;

/** The address that a text is, RFC 4291 §2.2; IPv4 inside IPv6 is IPv4. Undefined for anything else, a zone included. */
export function parseIpAddress(text: string): IpAddress | undefined {
  if (text.length > TEXT_LENGTH_MAX) return undefined;
  const v4 = parseV4(text);
  if (v4 !== undefined) return { bits: 32, value: v4 };
  const v6 = parseV6(text);
  if (v6 === undefined) return undefined;
  return isMapped(v6) ? { bits: 32, value: v6 & 0xffffffffn } : { bits: 128, value: v6 };
}

/** `address/prefix`. Bits past the prefix are cleared. Undefined for anything else. */
export function parseIpNetwork(text: string): IpNetwork | undefined {
  const [address = '', length = '', ...more] = text.split('/', 3);
  if (more.length > 0 || !/^(0|[1-9][0-9]{0,2})$/.test(length)) return undefined;
  const parsed = parseIpAddress(address);
  if (parsed === undefined) return undefined;
  const written = Number(length);
  // A mapped network says its prefix in 128 bits; one that is wider than all of IPv4 is none.
  const mapped = parsed.bits === 32 && address.includes(':');
  const prefix = mapped ? written - MAPPED_PREFIX : written;
  if (prefix < 0 || prefix > parsed.bits) return undefined;
  return { bits: parsed.bits, prefix, value: startOf(parsed, prefix) };
}

/** The first address of the network of this size that an address is in. */
export function startOf({ bits, value }: IpAddress, prefix: number): bigint {
  const rest = BigInt(bits - prefix);
  return (value >> rest) << rest;
}

/** The one text of an address: IPv4 with dots, IPv6 as RFC 5952 has it. */
export function formatIpAddress({ bits, value }: IpAddress): string {
  if (bits === 32) {
    return [24n, 16n, 8n, 0n].map((shift) => (value >> shift) & 0xffn).join('.');
  }
  const groups = Array.from({ length: GROUPS }, (_, index) =>
    ((value >> BigInt(16 * (GROUPS - 1 - index))) & 0xffffn).toString(16),
  );
  const { start, length } = longestZeros(groups);
  if (length < 2) return groups.join(':');
  return `${groups.slice(0, start).join(':')}::${groups.slice(start + length).join(':')}`;
}

/** The first of the longest runs of zeros. */
function longestZeros(groups: readonly string[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  let length = 0;
  for (const [index, group] of groups.entries()) {
    length = group === '0' ? length + 1 : 0;
    if (length > best.length) best = { start: index - length + 1, length };
  }
  return best;
}

export const formatIpNetwork = (network: IpNetwork): string =>
  `${formatIpAddress(network)}/${network.prefix}`;

/** The address of `address:port`, IPv6 in brackets. Undefined for anything else. */
export function addressOfPeer(peer: string): string | undefined {
  const end = peer.lastIndexOf(':');
  if (end <= 0) return undefined;
  return peer.startsWith('[') ? peer.slice(1, end - 1) : peer.slice(0, end);
}
