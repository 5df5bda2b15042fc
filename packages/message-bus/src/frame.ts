import type { BusMessage } from './message-bus.ts';

/** Of the whole frame layout. A node drops and reports what it does not know, so that versions can be mixed for a while. */
export const FRAME_VERSION = 1;

/** Length of the fixed part: version, flags, and the numbers below. */
const FIXED_BYTES = 42;

/** Most that a frame adds to the payload: fixed part, topic, ids, and properties within the limits of MQTT packets. */
export const FRAME_HEADER_BYTES_MAX = 128 * 1024;

const OFFSET = {
  version: 0,
  flags: 1,
  origin: 2, // u64
  sequence: 10, // u48
  brokerCounter: 16, // u48
  messageId: 22, // u16, 0 = absent
  topicBytes: 24, // u16
  clientIdBytes: 26, // u16, ABSENT = no client id
  brokerIdBytes: 28, // u16, ABSENT = no broker id
  propertiesBytes: 30, // u32, 0 = none
  expiry: 34, // f64, 0 = none
} as const;

const FLAG = { qos: 0b11, retain: 0b100, dup: 0b1000, noLocal: 0b1_0000 } as const;
const PAYLOAD_SHIFT = 5;
/** What the payload was before it became bytes; `none` is an absent one. */
const PAYLOAD = { bytes: 0, text: 1, json: 2, none: 3 } as const;
const ABSENT = 0xffff;
const EMPTY = Buffer.alloc(0);

export interface Frame {
  /** Eight bytes as a latin1 string; one value for each start of a bus. */
  readonly origin: string;
  readonly sequence: number;
  readonly message: BusMessage;
}

export type DecodedFrame =
  | { readonly ok: true; readonly frame: Frame }
  | { readonly ok: false; readonly problem: 'unknown_version' | 'malformed' };

function payloadOf(payload: unknown): { kind: number; bytes: Uint8Array } {
  if (payload instanceof Uint8Array) return { kind: PAYLOAD.bytes, bytes: payload };
  if (typeof payload === 'string') return { kind: PAYLOAD.text, bytes: Buffer.from(payload) };
  if (payload === undefined) return { kind: PAYLOAD.none, bytes: EMPTY };
  return { kind: PAYLOAD.json, bytes: Buffer.from(JSON.stringify(payload)) };
}

/** Byte values of the first level go beside the others, as base64, so that no value of a client can pose as bytes. */
function propertiesOf(properties: BusMessage['properties']): Buffer {
  if (properties === undefined) return EMPTY;
  const plain: [string, unknown][] = [];
  const bytes: [string, string][] = [];
  for (const [name, value] of Object.entries(properties)) {
    if (value instanceof Uint8Array) bytes.push([name, Buffer.from(value).toString('base64')]);
    else if (value !== undefined) plain.push([name, value]);
  }
  return Buffer.from(JSON.stringify([plain, bytes]));
}

function readProperties(text: string): Record<string, unknown> {
  // Written by `propertiesOf` of a node of the same cluster; what is not an array throws, and the frame is dropped.
  const [plain, bytes] = JSON.parse(text) as [[string, unknown][], [string, string][]];
  return {
    ...Object.fromEntries(plain),
    ...Object.fromEntries(bytes.map(([name, value]) => [name, Buffer.from(value, 'base64')])),
  };
}

function flagsOf(message: BusMessage, payloadKind: number): number {
  return (
    ((message.qos ?? 0) & FLAG.qos) |
    (message.retain === true ? FLAG.retain : 0) |
    (message.dup === true ? FLAG.dup : 0) |
    (message.nl === true ? FLAG.noLocal : 0) |
    (payloadKind << PAYLOAD_SHIFT)
  );
}

function lengthField(id: string | undefined): number {
  return id === undefined ? ABSENT : Buffer.byteLength(id);
}

/** The bytes of one message; undefined when its topic or an id is too long for the format. `origin` is of eight bytes. */
export function encodeFrame(
  from: { readonly origin: Buffer; readonly sequence: number },
  message: BusMessage,
): Buffer | undefined {
  const payload = payloadOf(message.payload);
  const properties = propertiesOf(message.properties);
  const topicBytes = Buffer.byteLength(message.topic);
  const clientIdBytes = Buffer.byteLength(message.clientId ?? '');
  const brokerIdBytes = Buffer.byteLength(message.brokerId ?? '');
  if (topicBytes > 0xffff || clientIdBytes >= ABSENT || brokerIdBytes >= ABSENT) return undefined;
  const frame = Buffer.allocUnsafe(
    FIXED_BYTES +
      topicBytes +
      clientIdBytes +
      brokerIdBytes +
      properties.length +
      payload.bytes.length,
  );
  frame[OFFSET.version] = FRAME_VERSION;
  frame[OFFSET.flags] = flagsOf(message, payload.kind);
  from.origin.copy(frame, OFFSET.origin, 0, 8);
  frame.writeUIntBE(from.sequence, OFFSET.sequence, 6);
  frame.writeUIntBE(message.brokerCounter ?? 0, OFFSET.brokerCounter, 6);
  frame.writeUInt16BE(message.messageId ?? 0, OFFSET.messageId);
  frame.writeUInt16BE(topicBytes, OFFSET.topicBytes);
  frame.writeUInt16BE(lengthField(message.clientId), OFFSET.clientIdBytes);
  frame.writeUInt16BE(lengthField(message.brokerId), OFFSET.brokerIdBytes);
  frame.writeUInt32BE(properties.length, OFFSET.propertiesBytes);
  frame.writeDoubleBE(message.messageExpiry ?? 0, OFFSET.expiry);
  let at = FIXED_BYTES;
  at += frame.write(message.topic, at);
  at += frame.write(message.clientId ?? '', at);
  at += frame.write(message.brokerId ?? '', at);
  at += properties.copy(frame, at);
  frame.set(payload.bytes, at);
  return frame;
}

function readPayload(kind: number, bytes: Buffer): Buffer | string | undefined {
  if (kind === PAYLOAD.text) return bytes.toString();
  if (kind === PAYLOAD.json) return JSON.parse(bytes.toString()) as Buffer;
  // A copy: a view would keep the whole chunk of the socket alive for as long as the message waits somewhere.
  return kind === PAYLOAD.bytes ? Buffer.from(bytes) : undefined;
}

/** Throws when a JSON part cannot be read. */
function readMessage(frame: Buffer): BusMessage | undefined {
  const flags = frame.readUInt8(OFFSET.flags);
  const lengthAt = (offset: number): number => frame.readUInt16BE(offset);
  const [clientIdBytes, brokerIdBytes] = [
    lengthAt(OFFSET.clientIdBytes),
    lengthAt(OFFSET.brokerIdBytes),
  ];
  const topicEnd = FIXED_BYTES + lengthAt(OFFSET.topicBytes);
  const clientIdEnd = topicEnd + (clientIdBytes === ABSENT ? 0 : clientIdBytes);
  const brokerIdEnd = clientIdEnd + (brokerIdBytes === ABSENT ? 0 : brokerIdBytes);
  const propertiesEnd = brokerIdEnd + frame.readUInt32BE(OFFSET.propertiesBytes);
  if (propertiesEnd > frame.length) return undefined;
  const message: BusMessage = {
    cmd: 'publish',
    topic: frame.toString('utf8', FIXED_BYTES, topicEnd),
    qos: Math.min(flags & FLAG.qos, 2) as 0 | 1 | 2, // Bounded by the line itself.
    retain: (flags & FLAG.retain) !== 0,
    dup: (flags & FLAG.dup) !== 0,
    brokerCounter: frame.readUIntBE(OFFSET.brokerCounter, 6),
  };
  const payload = readPayload((flags >> PAYLOAD_SHIFT) & 3, frame.subarray(propertiesEnd));
  if (payload !== undefined) message.payload = payload;
  if ((flags & FLAG.noLocal) !== 0) message.nl = true;
  if (brokerIdBytes !== ABSENT) message.brokerId = frame.toString('utf8', clientIdEnd, brokerIdEnd);
  if (clientIdBytes !== ABSENT) message.clientId = frame.toString('utf8', topicEnd, clientIdEnd);
  const messageId = frame.readUInt16BE(OFFSET.messageId);
  if (messageId !== 0) message.messageId = messageId;
  const expiry = frame.readDoubleBE(OFFSET.expiry);
  if (expiry !== 0) message.messageExpiry = expiry;
  if (propertiesEnd > brokerIdEnd) {
    message.properties = readProperties(frame.toString('utf8', brokerIdEnd, propertiesEnd));
  }
  return message;
}

/** The message of a frame; never throws. Payloads that were bytes are Buffers again. */
export function decodeFrame(data: Uint8Array): DecodedFrame {
  const frame = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  if (frame.length > 0 && frame[OFFSET.version] !== FRAME_VERSION) {
    return { ok: false, problem: 'unknown_version' };
  }
  if (frame.length < FIXED_BYTES) return { ok: false, problem: 'malformed' };
  try {
    const message = readMessage(frame);
    if (message === undefined) return { ok: false, problem: 'malformed' };
    const origin = frame.toString('latin1', OFFSET.origin, OFFSET.sequence);
    return {
      ok: true,
      frame: { origin, sequence: frame.readUIntBE(OFFSET.sequence, 6), message },
    };
  } catch {
    return { ok: false, problem: 'malformed' };
  }
}
