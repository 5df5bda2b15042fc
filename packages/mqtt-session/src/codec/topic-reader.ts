import { parseTopicName, TOPIC_BYTES_MAX, TOPIC_LEVELS_MAX } from '@sallyport/topic';
import { malformed, ProtocolError, reasonCode } from './reason-code.ts';
import { byteAt, textOf } from './text.ts';

/** Topic names that a reader remembers. */
const REMEMBERED_MAX = 8;

const SLASH = 0x2f;
const PLUS = 0x2b;
const HASH = 0x23;

interface Remembered {
  readonly hash: number;
  readonly bytes: Uint8Array;
  readonly topic: string;
}

/**
 * Reads topic names, and remembers the last few: one that comes again costs a comparison of its bytes, and is the very
 * same string, whose hash is known already.
 */
export class TopicReader {
  readonly #remembered: Remembered[] = [];
  /** What was read last; most clients have one topic. */
  #last: Remembered | undefined;
  /** Place of the next topic that is remembered. */
  #turn = 0;

  /** As `topicNameOf`. */
  read(bytes: Buffer, start: number, end: number): string {
    const last = this.#last;
    if (last !== undefined && isSame(last.bytes, bytes, start, end)) return last.topic;
    const hash = hashOf(bytes, start, end);
    const found = this.#find(hash, bytes, start, end) ?? this.#remember(hash, bytes, start, end);
    this.#last = found;
    return found.topic;
  }

  #find(hash: number, bytes: Buffer, start: number, end: number): Remembered | undefined {
    for (const one of this.#remembered) {
      if (one.hash === hash && isSame(one.bytes, bytes, start, end)) return one;
    }
    return undefined;
  }

  #remember(hash: number, bytes: Buffer, start: number, end: number): Remembered {
    const topic = topicNameOf(bytes, start, end);
    const copy = new Uint8Array(end - start);
    for (let index = start; index < end; index++) copy[index - start] = byteAt(bytes, index);
    const remembered = { hash, bytes: copy, topic };
    this.#remembered[this.#turn] = remembered;
    this.#turn = (this.#turn + 1) % REMEMBERED_MAX;
    return remembered;
  }
}

function isSame(known: Uint8Array, bytes: Buffer, start: number, end: number): boolean {
  if (known.length !== end - start) return false;
  for (let index = 0; index < known.length; index++) {
    if (byteAt(known, index) !== byteAt(bytes, start + index)) return false;
  }
  return true;
}

function hashOf(bytes: Buffer, start: number, end: number): number {
  let hash = 0;
  for (let index = start; index < end; index++) {
    hash = (Math.imul(hash, 31) + byteAt(bytes, index)) | 0;
  }
  return hash;
}

/** Whether the bytes are a topic name of printable ASCII: the case that needs no second look. */
function isPlainTopic(bytes: Buffer, start: number, end: number): boolean {
  if (start === end) return false;
  let levels = 1;
  for (let index = start; index < end; index++) {
    const byte = byteAt(bytes, index);
    if (byte < 0x20 || byte > 0x7e || byte === PLUS || byte === HASH) return false;
    if (byte === SLASH) levels++;
  }
  return levels <= TOPIC_LEVELS_MAX;
}

/**
 * The topic name of bytes from a client, for which the rules of `parseTopicName` hold.
 * @throws ProtocolError: malformed packet for text that no client may send, topic name invalid for the rest
 * @source MQTT-3.1.1 [MQTT-3.3.2-1] [MQTT-3.3.2-2], MQTT-5.0 [MQTT-3.3.2-1] [MQTT-3.3.2-2]
 */
export function topicNameOf(bytes: Buffer, start: number, end: number): string {
  if (end - start > TOPIC_BYTES_MAX) throw invalidTopic('too_long');
  if (isPlainTopic(bytes, start, end)) return bytes.toString('latin1', start, end);
  const parsed = parseTopicName(textOf(bytes, start, end));
  // MQTT-5.0 [MQTT-3.3.2-2]: what has a wildcard is no topic name at all.
  if (!parsed.ok && parsed.problem === 'wildcard_in_name')
    throw malformed('wildcard in a topic name');
  if (!parsed.ok) throw invalidTopic(parsed.problem);
  return parsed.value;
}

const invalidTopic = (problem: string): ProtocolError =>
  new ProtocolError(reasonCode.topicNameInvalid, `topic name is refused: ${problem}`);
