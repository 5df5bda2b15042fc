import { isUtf8 } from 'node:buffer';
import { textProblem } from '@sallyport/topic';
import { malformed, violation } from './reason-code.ts';

/** A byte whose presence the caller has checked. */
export function byteAt(bytes: Uint8Array, index: number): number {
  return bytes[index] as number; // INVARIANT: callers compare with the end of the packet first.
}

/** Two bytes, most significant first, whose presence the caller has checked. */
export function uint16At(bytes: Uint8Array, index: number): number {
  return (byteAt(bytes, index) << 8) | byteAt(bytes, index + 1);
}

/** A packet identifier, 1–65535. @source MQTT-3.1.1 [MQTT-2.3.1-1], MQTT-5.0 [MQTT-2.2.1-3] */
export function packetIdAt(bytes: Uint8Array, index: number): number {
  const packetId = uint16At(bytes, index);
  if (packetId === 0) throw violation('packet identifier is 0');
  return packetId;
}

/** Index of the first byte that is no printable ASCII character, or `end`. */
function printableEnd(bytes: Buffer, start: number, end: number): number {
  for (let index = start; index < end; index++) {
    const byte = byteAt(bytes, index);
    if (byte < 0x20 || byte > 0x7e) return index;
  }
  return end;
}

/**
 * The text of bytes from a client. Judged by its bytes, so two that differ never become the same text, and U+FEFF stays.
 * O(bytes); no more than one scan and one copy when all of them are printable ASCII.
 * @throws ProtocolError (malformed packet) for ill-formed UTF-8, U+0000, control characters and non-characters
 * @source MQTT-3.1.1 [MQTT-1.5.3-1] [MQTT-1.5.3-2] [MQTT-1.5.3-3], MQTT-5.0 [MQTT-1.5.4-1] [MQTT-1.5.4-2] [MQTT-1.5.4-3]
 */
export function textOf(bytes: Buffer, start: number, end: number): string {
  if (printableEnd(bytes, start, end) === end) return bytes.toString('latin1', start, end);
  if (!isUtf8(bytes.subarray(start, end))) throw malformed('text is no well-formed UTF-8');
  const text = bytes.toString('utf8', start, end);
  if (textProblem(text) !== undefined) {
    throw malformed('text has a control character or a non-character');
  }
  return text;
}
