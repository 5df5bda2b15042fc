import { PacketDecoder, type DecoderLimits } from '../src/codec/decoder.ts';
import type { ClientPacket, ProtocolVersion } from '../src/codec/packet.ts';
import { ProtocolError, type ReasonCode } from '../src/codec/reason-code.ts';
import { defaultLimits } from '../src/limits.ts';

/** Bytes written by hand: numbers are single bytes, text is its UTF-8 without a length. */
export type Part = number | string | Uint8Array | readonly number[];

export const bytes = (...parts: Part[]): Buffer =>
  Buffer.concat(
    parts.map((part) => (typeof part === 'number' ? Buffer.from([part]) : Buffer.from(part))),
  );

export const uint16 = (value: number): Buffer => Buffer.from([value >> 8, value & 0xff]);

/** A string or binary data with its length before it. */
export const field = (...parts: Part[]): Buffer => {
  const content = bytes(...parts);
  return bytes(uint16(content.length), content);
};

export const varint = (value: number): Buffer => {
  const digits: number[] = [];
  let rest = value;
  do {
    digits.push(rest % 128);
    rest = Math.floor(rest / 128);
  } while (rest > 0);
  return Buffer.from(digits.map((digit, index) => digit + (index < digits.length - 1 ? 128 : 0)));
};

/** A packet with the right remaining length. */
export const packet = (first: number, ...parts: Part[]): Buffer => {
  const body = bytes(...parts);
  return bytes(first, varint(body.length), body);
};

/** Properties with their length before them. */
export const properties = (...parts: Part[]): Buffer => {
  const content = bytes(...parts);
  return bytes(varint(content.length), content);
};

/** Nothing before MQTT 5, no properties in it. */
export const noProperties = (version: ProtocolVersion): Buffer => bytes(version === 5 ? [0] : []);

export const protocolName = (version: ProtocolVersion): Buffer =>
  field(version === 3 ? 'MQIsdp' : 'MQTT');

/** The smallest CONNECT of a version. */
export const connectBytes = (version: ProtocolVersion): Buffer =>
  packet(0x10, protocolName(version), version, 2, uint16(60), noProperties(version), field('c'));

/** A decoder behind an accepted CONNECT; 0 = before it. */
export function decoderOf(
  version: ProtocolVersion | 0,
  limits: Partial<DecoderLimits> = {},
): PacketDecoder {
  const decoder = new PacketDecoder({ ...defaultLimits, ...limits });
  if (version === 0) return decoder;
  decoder.push(connectBytes(version));
  decoder.next();
  decoder.accept();
  return decoder;
}

/** All packets that the chunks hold. */
export function packetsOf(decoder: PacketDecoder, chunks: readonly Buffer[]): ClientPacket[] {
  const packets: ClientPacket[] = [];
  for (const chunk of chunks) {
    decoder.push(chunk);
    for (let one = decoder.next(); one !== undefined; one = decoder.next()) packets.push(one);
  }
  return packets;
}

/** The reason for which the bytes are refused; undefined when they are not. Any other error is thrown on. */
export function refusal(decoder: PacketDecoder, ...chunks: Buffer[]): ReasonCode | undefined {
  try {
    packetsOf(decoder, chunks);
    return undefined;
  } catch (error) {
    if (error instanceof ProtocolError) return error.reason;
    throw error;
  }
}
