import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { binaryFrame, CLOSE, closeFrame, FrameReader, pongFrame } from './websocket-frames.ts';

interface Sent {
  readonly opcode: number;
  readonly payload: Uint8Array;
  readonly final?: boolean;
  readonly mask?: readonly [number, number, number, number];
  readonly reserved?: number;
  readonly masked?: boolean;
}

type Form = 7 | 16 | 64;

const shortForm = (length: number): Form => (length < 126 ? 7 : length < 0x10000 ? 16 : 64);

function lengthBytes(length: number, form: Form): Buffer {
  if (form === 7) return Buffer.from([length]);
  const bytes = Buffer.alloc(form === 16 ? 3 : 9);
  bytes[0] = form === 16 ? 126 : 127;
  if (form === 16) bytes.writeUInt16BE(length, 1);
  else bytes.writeBigUInt64BE(BigInt(length), 1);
  return bytes;
}

/** A frame of a client, of the longer forms of the length too. */
function clientFrame(sent: Sent, form = shortForm(sent.payload.length)): Buffer {
  const { opcode, payload, final = true, mask = [1, 2, 3, 4], reserved = 0, masked = true } = sent;
  const length = lengthBytes(payload.length, form);
  if (masked) length.writeUInt8(length.readUInt8(0) | 0x80);
  const key = masked ? mask : [0, 0, 0, 0];
  const hidden = payload.map((byte, index) => byte ^ (key[index & 3] ?? 0));
  const first = Buffer.from([(final ? 0x80 : 0) | reserved | opcode]);
  return Buffer.concat([first, length, Buffer.from(masked ? mask : []), hidden]);
}

const text = (value: string): Uint8Array => new TextEncoder().encode(value);

/** Feeds the bytes in pieces of this size and notes what is told. */
function read(bytes: Buffer, size = bytes.length, messageBytesMax = 1000) {
  const data: Buffer[] = [];
  const events: string[] = [];
  const reader = new FrameReader(
    {
      onData: (piece) => void data.push(Buffer.from(piece)),
      onPing: (payload) => void events.push(`ping ${payload.toString()}`),
      onClose: () => void events.push('close'),
      onViolation: (code) => void events.push(`violation ${code}`),
    },
    messageBytesMax,
  );
  for (let at = 0; at < bytes.length; at += size) {
    reader.feed(Buffer.from(bytes.subarray(at, at + size)));
  }
  return { data: Buffer.concat(data).toString('latin1'), events, pieces: data.length };
}

const BINARY = 2;

describe('frames of a client that break RFC 6455 or MQTT', () => {
  const payload = text('x');
  it.each([
    ['not masked', 1002, { opcode: BINARY, payload, masked: false }],
    [
      'with a reserved bit: compression is not agreed on',
      1002,
      { opcode: 2, payload, reserved: 0x40 },
    ],
    ['with another reserved bit', 1002, { opcode: BINARY, payload, reserved: 0x10 }],
    ['MQTT-5.0 [MQTT-6.0.0-1] of text', 1003, { opcode: 1, payload }],
    ['with a reserved opcode', 1002, { opcode: 3, payload }],
    ['with a reserved control opcode', 1002, { opcode: 0xb, payload }],
    ['that continue nothing', 1002, { opcode: 0, payload }],
    ['a ping in fragments', 1002, { opcode: 9, payload, final: false }],
    ['a ping of 126 bytes', 1002, { opcode: 9, payload: new Uint8Array(126) }],
    ['a close of 126 bytes', 1002, { opcode: 8, payload: new Uint8Array(126) }],
  ] as [string, number, Sent][])('are refused: %s', (_title, code, sent) => {
    for (const size of [1, 2, 1000]) {
      const { events, data } = read(clientFrame(sent), size);
      expect(events).toEqual([`violation ${code}`]);
      expect(data).toBe('');
    }
  });

  it('are refused: a new message inside a message', () => {
    const first = clientFrame({ opcode: BINARY, payload, final: false });
    const { events, data } = read(Buffer.concat([first, clientFrame({ opcode: BINARY, payload })]));
    expect(events).toEqual(['violation 1002']);
    expect(data).toBe('x');
  });

  it('end the reading: nothing behind them is told', () => {
    const after = clientFrame({ opcode: BINARY, payload });
    const bytes = Buffer.concat([clientFrame({ opcode: 1, payload }), after, after]);
    expect(read(bytes, 1)).toMatchObject({ data: '', events: ['violation 1003'] });
    const closed = Buffer.concat([clientFrame({ opcode: 8, payload: text('') }), after]);
    expect(read(closed)).toMatchObject({ data: '', events: ['close'] });
  });
});

describe('the size of a message', () => {
  it.each([1000, 1001])('of %i bytes, the limit being 1000', (length) => {
    const whole = clientFrame({ opcode: BINARY, payload: new Uint8Array(length) });
    const expected = length > 1000 ? ['violation 1009'] : [];
    expect(read(whole, 100).events).toEqual(expected);
    const fragments = [
      clientFrame({ opcode: BINARY, payload: new Uint8Array(500), final: false }),
      clientFrame({ opcode: 0, payload: new Uint8Array(length - 500) }),
    ];
    expect(read(Buffer.concat(fragments)).events).toEqual(expected);
  });

  it('is refused at its header, before a byte of it has come', () => {
    const { events } = read(
      clientFrame({ opcode: BINARY, payload: new Uint8Array(2000) }).subarray(0, 8),
    );
    expect(events).toEqual(['violation 1009']);
  });

  it('is refused when it has more than 32 bits', () => {
    const bytes = Buffer.from('82ff' + '0000000100000000' + '00000000', 'hex');
    expect(read(bytes, 1000, Number.MAX_SAFE_INTEGER).events).toEqual(['violation 1009']);
    expect(read(Buffer.from('82ff' + 'ffffffffffffffff' + '00000000', 'hex')).events).toEqual([
      'violation 1009',
    ]);
  });

  it('starts anew with each message', () => {
    const one = clientFrame({ opcode: BINARY, payload: new Uint8Array(1000) });
    expect(read(Buffer.concat([one, one, one])).events).toEqual([]);
  });
});

describe('what a client sends', () => {
  it.each([0, 1, 125, 126, 127, 65_535, 65_536])(
    '%i bytes come through in every form',
    (length) => {
      const payload = Uint8Array.from({ length }, (_, index) => index & 0xff);
      for (const form of [length < 126 ? 7 : 64, length < 0x10000 ? 16 : 64, 64] as const) {
        const bytes = clientFrame({ opcode: BINARY, payload, mask: [0xff, 0, 0x80, 7] }, form);
        for (const size of [1, 3, 1024, bytes.length]) {
          if (length > 1000 && size < 1000) continue;
          const { data, events } = read(bytes, size, 100_000);
          expect(events).toEqual([]);
          expect(Buffer.from(data, 'latin1').equals(payload)).toBe(true);
        }
      }
    },
  );

  it('is handed on at once, and never held until a message is whole', () => {
    const { data } = read(clientFrame({ opcode: BINARY, payload: text('abcdef') }).subarray(0, 9));
    expect(data).toBe('abc');
  });

  it('a ping between fragments is told, a pong is not', () => {
    const bytes = Buffer.concat([
      clientFrame({ opcode: BINARY, payload: text('a'), final: false }),
      clientFrame({ opcode: 9, payload: text('are you there') }),
      clientFrame({ opcode: 0xa, payload: text('unasked') }),
      clientFrame({ opcode: 0, payload: text('b') }),
      clientFrame({ opcode: 9, payload: new Uint8Array(125) }),
      clientFrame({ opcode: 8, payload: Uint8Array.of(3, 232) }),
    ]);
    for (const size of [1, 7, 1000]) {
      const { data, events } = read(bytes, size);
      expect(data).toBe('ab');
      expect(events).toEqual(['ping are you there', `ping ${'\0'.repeat(125)}`, 'close']);
    }
  });

  it('comes through however it is cut into messages, fragments and chunks', () => {
    const piece = fc.record({
      payload: fc.uint8Array({ maxLength: 300 }),
      final: fc.boolean(),
      mask: fc.tuple(fc.nat(255), fc.nat(255), fc.nat(255), fc.nat(255)),
      ping: fc.boolean(),
    });
    const cut = fc.integer({ min: 1, max: 40 });
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 20 }), cut, (pieces, size) => {
        let inMessage = false;
        const frames = pieces.flatMap(({ payload, final, mask, ping }) => {
          const opcode = inMessage ? 0 : BINARY;
          inMessage = !final;
          const one = clientFrame({ opcode, payload, final, mask });
          return ping ? [one, clientFrame({ opcode: 9, payload: text('p'), mask })] : [one];
        });
        const { data, events } = read(Buffer.concat(frames), size, 1e6);
        const sent = Buffer.concat(pieces.map(({ payload }) => payload)).toString('latin1');
        expect(data).toBe(sent);
        expect(events).toEqual(pieces.filter(({ ping }) => ping).map(() => 'ping p'));
      }),
      { numRuns: 300 },
    );
  });

  it('no rubbish throws', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 200 }),
        fc.integer({ min: 1, max: 50 }),
        (bytes, size) => {
          read(Buffer.from(bytes), size);
        },
      ),
      { numRuns: 2000 },
    );
  });
});

describe('frames of the server', () => {
  it.each([
    [0, '8200'],
    [125, '827d'],
    [126, '827e007e'],
    [512, '827e0200'],
    [513, '827e0201'],
    [65_535, '827effff'],
    [65_536, '827f0000000000010000'],
  ])('of %i bytes are not masked and have the short form of the length', (length, header) => {
    const payload = new Uint8Array(length).fill(7);
    const frame = Buffer.concat(binaryFrame(payload));
    expect(frame.subarray(0, header.length / 2).toString('hex')).toBe(header);
    expect(frame.subarray(header.length / 2).equals(payload)).toBe(true);
  });

  it('a large payload is not copied, a small one has no write of its own', () => {
    const [large, small] = [new Uint8Array(513), new Uint8Array(512)];
    expect(binaryFrame(large)[1]).toBe(large);
    expect(binaryFrame(small)).toHaveLength(1);
  });

  it('pong and close', () => {
    expect(pongFrame(text('hi')).toString('hex')).toBe('8a026869');
    expect(closeFrame(CLOSE.tooBig).toString('hex')).toBe('880203f1');
  });
});
