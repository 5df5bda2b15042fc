import { encodePublish, type ProtocolVersion, type Qos } from '../codec/index.ts';
import type { Message } from '../message.ts';

/** A message with its encodings: each is made once, whatever number of clients get it. */
export class Publication {
  readonly message: Message;
  #encodings: (Buffer | undefined)[] | undefined;
  #kept: Publication | undefined;

  constructor(message: Message) {
    this.message = message;
  }

  /** The same for whoever keeps it: its payload does not hold on to the rest of the chunk that was read. */
  get kept(): Publication {
    const { payload } = this.message;
    if (this.message.qos > 0 || this.message.retain) return this;
    this.#kept ??= new Publication({ ...this.message, payload: Buffer.from(payload) });
    return this.#kept;
  }

  /** The bytes for clients of this version; with QoS > 0 each of them gets a copy, `withPacketId`. */
  encoded(version: ProtocolVersion, qos: Qos, retain: boolean): Buffer {
    const index = (version === 5 ? 6 : 0) + qos * 2 + (retain ? 1 : 0);
    this.#encodings ??= [];
    let bytes = this.#encodings[index];
    if (bytes === undefined) {
      const { topic, payload, properties } = this.message;
      bytes = encodePublish({ topic, payload, qos, retain, dup: false, properties }, version);
      this.#encodings[index] = bytes;
    }
    return bytes;
  }
}
