const OPCODE = {
  continuation: 0x0,
  text: 0x1,
  binary: 0x2,
  close: 0x8,
  ping: 0x9,
  pong: 0xa,
} as const;

const FINAL = 0x80;
const RESERVED = 0x70;
const MASKED = 0x80;
const CONTROL = 0x8;
const CONTROL_BYTES_MAX = 125;
const LENGTH_16 = 126;
const LENGTH_64 = 127;
const MASK_BYTES = 4;
/** Into which a payload of that size is copied behind its header; larger ones are written as they are. */
const COPIED_BYTES_MAX = 512;

/** Why a connection is closed. @source RFC 6455 §7.4.1 */
export const CLOSE = {
  normal: 1000,
  protocolError: 1002,
  unsupportedData: 1003,
  tooBig: 1009,
} as const;
export type CloseCode = (typeof CLOSE)[keyof typeof CLOSE];

/** What a client sends. After `onClose` and `onViolation` nothing follows. */
export interface FrameHandler {
  /** A piece of a binary message: a part of a chunk that was fed, and never empty. */
  onData(piece: Buffer): void;
  onPing(payload: Buffer): void;
  onClose(): void;
  onViolation(code: CloseCode): void;
}

interface Header {
  readonly opcode: number;
  readonly final: boolean;
  readonly payloadBytes: number;
  /** Of the header, the mask included. */
  readonly bytes: number;
}

/** Size of the header whose second byte this is. */
function headerBytes(lengthByte: number): number {
  const length = lengthByte & ~MASKED;
  const extended = length === LENGTH_16 ? 2 : length === LENGTH_64 ? 8 : 0;
  return 2 + extended + MASK_BYTES;
}

/** Infinity for what has more than 32 bits. */
function payloadBytes(data: Buffer, at: number): number {
  const length = data.readUInt8(at + 1) & ~MASKED;
  if (length === LENGTH_16) return data.readUInt16BE(at + 2);
  if (length !== LENGTH_64) return length;
  return data.readUInt32BE(at + 2) === 0 ? data.readUInt32BE(at + 6) : Infinity;
}

/** In place: whoever reads a socket has the chunk for himself. `phase`: bytes of the payload that came before. */
function unmask(bytes: Buffer, mask: number, phase: number): void {
  if (mask === 0) return;
  const shift = (phase & 3) * 8;
  // The byte that is due next is the highest.
  const turned = shift === 0 ? mask : (mask << shift) | (mask >>> (32 - shift));
  const { length } = bytes;
  const view = new DataView(bytes.buffer, bytes.byteOffset, length);
  let at = 0;
  for (; at + 3 < length; at += 4) view.setInt32(at, view.getInt32(at) ^ turned);
  for (; at < length; at += 1)
    view.setUint8(at, view.getUint8(at) ^ (turned >>> (24 - 8 * (at & 3))));
}

/**
 * Takes the frames of a client apart. Binary messages only, without extensions; nothing of a message is held back, so that it
 * costs the same whatever somebody sends: at most a control frame.
 * @source RFC 6455 §5
 */
export class FrameReader {
  readonly #handler: FrameHandler;
  readonly #messageBytesMax: number;
  /** A header, or a control frame, that is not there as a whole. */
  #begun: Buffer | undefined;
  /** Of the payload of the data frame that is being read. */
  #missing = 0;
  #seen = 0;
  #mask = 0;
  /** Of the message so far, later fragments not yet included; undefined between two messages. */
  #messageBytes: number | undefined;
  #stopped = false;

  constructor(handler: FrameHandler, messageBytesMax: number) {
    this.#handler = handler;
    this.#messageBytesMax = messageBytesMax;
  }

  /** `chunk` is written to. */
  feed(chunk: Buffer): void {
    const data = this.#begun === undefined ? chunk : Buffer.concat([this.#begun, chunk]);
    this.#begun = undefined;
    let at = 0;
    while (at < data.length && !this.#stopped) {
      const taken = this.#missing > 0 ? this.#payload(data, at) : this.#frame(data, at);
      if (taken === 0) {
        this.#begun = Buffer.from(data.subarray(at)); // A copy: the chunk may be large.
        return;
      }
      at += taken;
    }
  }

  #payload(data: Buffer, at: number): number {
    const piece = data.subarray(at, at + this.#missing);
    unmask(piece, this.#mask, this.#seen);
    this.#missing -= piece.length;
    this.#seen += piece.length;
    this.#handler.onData(piece);
    return piece.length;
  }

  /** How many bytes it took; 0 when it needs more. */
  #frame(data: Buffer, at: number): number {
    const there = data.length - at;
    if (there < 2) return 0;
    const first = data.readUInt8(at);
    const lengthByte = data.readUInt8(at + 1);
    const opcode = first & 0x0f;
    const violation = this.#violationOf(first, lengthByte);
    if (violation !== undefined) return this.#stop(violation);
    const bytes = headerBytes(lengthByte);
    if (there < bytes) return 0;
    const header: Header = {
      opcode,
      final: (first & FINAL) !== 0,
      payloadBytes: payloadBytes(data, at),
      bytes,
    };
    const mask = data.readUInt32BE(at + bytes - MASK_BYTES);
    if (opcode < CONTROL) return this.#dataFrame(header, mask);
    if (there < bytes + header.payloadBytes) return 0;
    const start = at + bytes;
    const payload = data.subarray(start, start + header.payloadBytes);
    unmask(payload, mask, 0);
    this.#control(opcode, payload);
    return bytes + payload.length;
  }

  #dataFrame({ final, payloadBytes: length, bytes }: Header, mask: number): number {
    const messageBytes = (this.#messageBytes ?? 0) + length;
    if (messageBytes > this.#messageBytesMax) return this.#stop(CLOSE.tooBig);
    this.#messageBytes = final ? undefined : messageBytes;
    this.#missing = length;
    this.#seen = 0;
    this.#mask = mask;
    return bytes;
  }

  #control(opcode: number, payload: Buffer): void {
    if (opcode === OPCODE.ping) this.#handler.onPing(payload);
    if (opcode === OPCODE.close) {
      this.#stopped = true;
      this.#handler.onClose();
    }
  }

  #violationOf(first: number, lengthByte: number): CloseCode | undefined {
    if ((first & RESERVED) !== 0 || (lengthByte & MASKED) === 0) return CLOSE.protocolError;
    const inMessage = this.#messageBytes !== undefined;
    switch (first & 0x0f) {
      case OPCODE.text:
        return CLOSE.unsupportedData; // MQTT-3.1.1 [MQTT-6.0.0-1], MQTT-5.0 [MQTT-6.0.0-1]
      case OPCODE.binary:
        return inMessage ? CLOSE.protocolError : undefined;
      case OPCODE.continuation:
        return inMessage ? undefined : CLOSE.protocolError;
      case OPCODE.close:
      case OPCODE.ping:
      case OPCODE.pong: {
        const whole = (first & FINAL) !== 0 && (lengthByte & ~MASKED) <= CONTROL_BYTES_MAX;
        return whole ? undefined : CLOSE.protocolError;
      }
      default:
        return CLOSE.protocolError;
    }
  }

  #stop(code: CloseCode): number {
    this.#stopped = true;
    this.#handler.onViolation(code);
    return 1; // Whatever it is, it is not read.
  }
}

/** The parts of a frame of the server: unmasked, final. The payload is not copied when it is large. */
function frame(opcode: number, payload: Uint8Array): readonly Uint8Array[] {
  const { length } = payload;
  const headerLength = length < LENGTH_16 ? 2 : length < 0x10000 ? 4 : 10;
  const copied = length <= COPIED_BYTES_MAX;
  const start = Buffer.allocUnsafe(headerLength + (copied ? length : 0));
  start[0] = FINAL | opcode;
  start[1] = length < LENGTH_16 ? length : length < 0x10000 ? LENGTH_16 : LENGTH_64;
  if (headerLength === 4) start.writeUInt16BE(length, 2);
  if (headerLength === 10) start.writeBigUInt64BE(BigInt(length), 2);
  if (!copied) return [start, payload];
  start.set(payload, headerLength);
  return [start];
}

export const binaryFrame = (payload: Uint8Array): readonly Uint8Array[] =>
  frame(OPCODE.binary, payload);

/** `payload`: at most 125 bytes. */
export const pongFrame = (payload: Uint8Array): Buffer =>
  Buffer.concat(frame(OPCODE.pong, payload));

export const closeFrame = (code: CloseCode): Buffer =>
  Buffer.concat(frame(OPCODE.close, Uint8Array.of(code >> 8, code & 0xff)));
