import { encodeField, encodeRemainingLength, encodeUint16 } from './raw-mqtt.ts';

/** @source MQTT-5.0 §2.2.2.2 */
const table = {
  payloadFormatIndicator: { id: 0x01, kind: 'byte' },
  messageExpiryInterval: { id: 0x02, kind: 'uint32' },
  contentType: { id: 0x03, kind: 'string' },
  responseTopic: { id: 0x08, kind: 'string' },
  correlationData: { id: 0x09, kind: 'binary' },
  subscriptionIdentifiers: { id: 0x0b, kind: 'variable' },
  sessionExpiryInterval: { id: 0x11, kind: 'uint32' },
  assignedClientIdentifier: { id: 0x12, kind: 'string' },
  serverKeepAlive: { id: 0x13, kind: 'uint16' },
  authenticationMethod: { id: 0x15, kind: 'string' },
  authenticationData: { id: 0x16, kind: 'binary' },
  requestProblemInformation: { id: 0x17, kind: 'byte' },
  willDelayInterval: { id: 0x18, kind: 'uint32' },
  requestResponseInformation: { id: 0x19, kind: 'byte' },
  responseInformation: { id: 0x1a, kind: 'string' },
  serverReference: { id: 0x1c, kind: 'string' },
  reasonString: { id: 0x1f, kind: 'string' },
  receiveMaximum: { id: 0x21, kind: 'uint16' },
  topicAliasMaximum: { id: 0x22, kind: 'uint16' },
  topicAlias: { id: 0x23, kind: 'uint16' },
  maximumQos: { id: 0x24, kind: 'byte' },
  retainAvailable: { id: 0x25, kind: 'byte' },
  userProperties: { id: 0x26, kind: 'pair' },
  maximumPacketSize: { id: 0x27, kind: 'uint32' },
  wildcardSubscriptionAvailable: { id: 0x28, kind: 'byte' },
  subscriptionIdentifierAvailable: { id: 0x29, kind: 'byte' },
  sharedSubscriptionAvailable: { id: 0x2a, kind: 'byte' },
} as const;

type Table = typeof table;
type Kind = Table[Mqtt5PropertyName]['kind'];

export type Mqtt5PropertyName = keyof Table;

interface Values {
  readonly byte: number;
  readonly uint16: number;
  readonly uint32: number;
  readonly variable: readonly number[];
  readonly string: string;
  readonly binary: Buffer;
  readonly pair: readonly (readonly [name: string, value: string])[];
}

/** Properties of a packet of MQTT 5. User properties and subscription identifiers may come several times and stand in lists. */
export type Mqtt5Properties = { readonly [N in Mqtt5PropertyName]?: Values[Table[N]['kind']] };

/** Properties to send; or their bytes, valid or not, without the length before them. */
export type RawMqtt5Properties = Mqtt5Properties | Uint8Array;

/** One occurrence: what the lists hold many of. Strings may be given as bytes, valid or not. */
type OneValue = number | string | Uint8Array | readonly [string | Uint8Array, string | Uint8Array];

function encodeUint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function encodeValue(kind: Kind, value: OneValue): Buffer {
  if (typeof value === 'number') {
    if (kind === 'byte') return Buffer.from([value]);
    if (kind === 'uint16') return encodeUint16(value);
    if (kind === 'uint32') return encodeUint32(value);
    return encodeRemainingLength(value);
  }
  if (typeof value === 'string' || value instanceof Uint8Array) return encodeField(value);
  return Buffer.concat(value.map(encodeField));
}

/** Identifier and value of one property, once. Nothing is checked: two of one kind are two calls. */
export function encodeMqtt5Property(name: Mqtt5PropertyName, value: OneValue): Buffer {
  const { id, kind } = table[name];
  return Buffer.concat([Buffer.from([id]), encodeValue(kind, value)]);
}

function occurrences(kind: Kind, value: unknown): readonly OneValue[] {
  // The type of Mqtt5Properties ties the kind to the value.
  return (kind === 'variable' || kind === 'pair' ? value : [value]) as readonly OneValue[];
}

/** Length and properties; a lone zero when there are none. */
export function encodeMqtt5Properties(properties: RawMqtt5Properties = {}): Buffer {
  const bytes =
    properties instanceof Uint8Array
      ? properties
      : Buffer.concat(
          // Object.entries forgets that the keys are those of the type.
          (Object.entries(properties) as [Mqtt5PropertyName, unknown][]).flatMap(([name, value]) =>
            occurrences(table[name].kind, value).map((one) => encodeMqtt5Property(name, one)),
          ),
        );
  return Buffer.concat([encodeRemainingLength(bytes.length), bytes]);
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Reads the fields of a packet one after the other. Throws at whatever the standard does not allow. */
export class Mqtt5Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get done(): boolean {
    return this.#at >= this.#bytes.length;
  }

  take(length: number): Buffer {
    const end = this.#at + length;
    if (end > this.#bytes.length) throw new Error('a field reaches beyond the packet');
    const bytes = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return bytes;
  }

  rest(): Buffer {
    return this.take(this.#bytes.length - this.#at);
  }

  byte(): number {
    return this.take(1).readUInt8();
  }

  uint16(): number {
    return this.take(2).readUInt16BE();
  }

  /** @source MQTT-5.0 §1.5.5 */
  variable(): number {
    let value = 0;
    for (let index = 0; index < 4; index += 1) {
      const digit = this.byte();
      value += (digit & 0x7f) * 128 ** index;
      if ((digit & 0x80) !== 0) continue;
      if (digit === 0 && index > 0) throw new Error('a variable byte integer is not minimal');
      return value;
    }
    throw new Error('a variable byte integer of more than four bytes');
  }

  binary(): Buffer {
    return this.take(this.uint16());
  }

  string(): string {
    const text = utf8.decode(this.binary());
    if (text.includes('\0')) throw new Error('a string with U+0000');
    return text;
  }

  /** The properties with their length, of which only those named may occur. */
  properties(allowed: readonly Mqtt5PropertyName[]): Mqtt5Properties {
    const reader = new Mqtt5Reader(this.take(this.variable()));
    const found = new Map<Mqtt5PropertyName, unknown>();
    while (!reader.done) reader.#property(allowed, found);
    // Each value was read as the kind that the table ties to its name.
    return Object.fromEntries(found);
  }

  #property(allowed: readonly Mqtt5PropertyName[], found: Map<Mqtt5PropertyName, unknown>): void {
    const id = this.variable();
    const name = allowed.find((one) => table[one].id === id);
    if (name === undefined) throw new Error(`property 0x${id.toString(16)} is not allowed here`);
    const { kind } = table[name];
    const before = found.get(name);
    if (kind === 'variable' || kind === 'pair') {
      found.set(name, [...((before as unknown[] | undefined) ?? []), this.#value(kind)]);
      return;
    }
    if (before !== undefined) throw new Error(`property ${name} occurs twice`);
    found.set(name, this.#value(kind));
  }

  #value(kind: Kind): unknown {
    switch (kind) {
      case 'byte':
        return this.byte();
      case 'uint16':
        return this.uint16();
      case 'uint32':
        return this.take(4).readUInt32BE();
      case 'variable':
        return this.variable();
      case 'string':
        return this.string();
      case 'binary':
        return this.binary();
      case 'pair':
        return [this.string(), this.string()];
    }
  }
}
