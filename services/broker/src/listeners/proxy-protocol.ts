import { isIPv4, isIPv6 } from 'node:net';

/** Longest header that is read; haproxy's own limit for v2. */
export const PROXY_HEADER_BYTES_MAX = 536;

const V1_BYTES_MAX = 107;
/** One space between the fields, and no leading zeros. */
const V1_LINE = /^PROXY TCP([46]) ([^ ]+) ([^ ]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})$/;
const V1_PREFIX = Buffer.from('PROXY ');
const V2_PREFIX = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
const V2_FIXED_BYTES = 16;
const CRLF = Buffer.from('\r\n');

const COMMAND = { local: 0, proxy: 1 } as const;
/** Family and transport in one byte, and how many bytes of addresses follow. */
const V2_UNSPECIFIED = 0x00;
const V2_TCP4 = { family: 0x11, bytes: 12 } as const;
const V2_TCP6 = { family: 0x21, bytes: 36 } as const;

export interface ProxySource {
  readonly address: string;
  readonly port: number;
}

export type ProxyHeader =
  | { readonly state: 'need_more' }
  | {
      readonly state: 'header';
      /** Undefined for a connection of the load balancer itself: a health check, or of an unknown kind. */
      readonly source: ProxySource | undefined;
      /** What was read behind the header. */
      readonly rest: Buffer;
    }
  | { readonly state: 'malformed' };

const NEED_MORE: ProxyHeader = { state: 'need_more' };
const MALFORMED: ProxyHeader = { state: 'malformed' };

function startsLike(data: Buffer, prefix: Buffer): boolean {
  const length = Math.min(data.length, prefix.length);
  return data.subarray(0, length).equals(prefix.subarray(0, length));
}

function parseV1(data: Buffer): ProxyHeader {
  const end = data.subarray(0, V1_BYTES_MAX).indexOf(CRLF);
  if (end < 0) return data.length >= V1_BYTES_MAX ? MALFORMED : NEED_MORE;
  const rest = data.subarray(end + CRLF.length);
  const line = data.toString('latin1', 0, end);
  if (/^PROXY UNKNOWN( |$)/.test(line)) return { state: 'header', source: undefined, rest };
  const fields = V1_LINE.exec(line);
  if (fields === null) return MALFORMED;
  const [, family, address = '', destination = '', sourcePort, destinationPort] = fields;
  const isAddress = family === '4' ? isIPv4 : isIPv6;
  const [port, portThere] = [Number(sourcePort), Number(destinationPort)];
  if (!isAddress(address) || !isAddress(destination) || Math.max(port, portThere) > 65_535) {
    return MALFORMED;
  }
  return { state: 'header', source: { address, port }, rest };
}

/** Whether the type-length-value blocks end where the header ends. */
function tlvsFit(data: Buffer): boolean {
  let at = 0;
  while (at < data.length) {
    if (at + 3 > data.length) return false;
    at += 3 + data.readUInt16BE(at + 1);
  }
  return at === data.length;
}

function ipv6Of(bytes: Buffer): string {
  const groups: string[] = [];
  for (let at = 0; at < 16; at += 2) groups.push(bytes.readUInt16BE(at).toString(16));
  // The URL parser knows the short form of RFC 5952.
  return new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1);
}

function sourceOf(family: number, body: Buffer): ProxySource | 'unspecified' | undefined {
  if (family === V2_UNSPECIFIED) return 'unspecified';
  if (family === V2_TCP4.family && body.length >= V2_TCP4.bytes) {
    if (!tlvsFit(body.subarray(V2_TCP4.bytes))) return undefined;
    return { address: body.subarray(0, 4).join('.'), port: body.readUInt16BE(8) };
  }
  if (family === V2_TCP6.family && body.length >= V2_TCP6.bytes) {
    if (!tlvsFit(body.subarray(V2_TCP6.bytes))) return undefined;
    return { address: ipv6Of(body.subarray(0, 16)), port: body.readUInt16BE(32) };
  }
  return undefined; // Unix sockets and datagrams never lead here.
}

function parseV2(data: Buffer): ProxyHeader {
  if (data.length < V2_FIXED_BYTES) return NEED_MORE;
  const versionAndCommand = data.readUInt8(12);
  const command = versionAndCommand & 0x0f;
  if (versionAndCommand >> 4 !== 2 || command > COMMAND.proxy) return MALFORMED;
  const end = V2_FIXED_BYTES + data.readUInt16BE(14);
  if (end > PROXY_HEADER_BYTES_MAX) return MALFORMED;
  if (data.length < end) return NEED_MORE;
  const rest = data.subarray(end);
  if (command === COMMAND.local) return { state: 'header', source: undefined, rest };
  const source = sourceOf(data.readUInt8(13), data.subarray(V2_FIXED_BYTES, end));
  if (source === undefined) return MALFORMED;
  return { state: 'header', source: source === 'unspecified' ? undefined : source, rest };
}

/**
 * Reads a PROXY protocol header, version 1 or 2, from the start of a connection. Pure; bounded by `PROXY_HEADER_BYTES_MAX`.
 * After an answer other than `need_more` it must not be fed again.
 * @source haproxy doc/proxy-protocol.txt §2.1, §2.2
 */
export class ProxyHeaderParser {
  #data = Buffer.alloc(0);

  feed(chunk: Uint8Array): ProxyHeader {
    this.#data = Buffer.concat([this.#data, chunk]);
    const data = this.#data;
    const [v1, v2] = [startsLike(data, V1_PREFIX), startsLike(data, V2_PREFIX)];
    if (!v1 && !v2) return MALFORMED;
    if (data.length < V1_PREFIX.length) return NEED_MORE;
    return v1 ? parseV1(data) : parseV2(data);
  }
}
