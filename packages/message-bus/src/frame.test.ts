import { describe, expect, test } from 'vitest';
import { decodeFrame, encodeFrame } from './frame.ts';
import type { BusMessage } from './message-bus.ts';

const from = { origin: Buffer.from('0102030405060708', 'hex'), sequence: 2 ** 40 + 1 };

function roundTrip(message: BusMessage): unknown {
  const encoded = encodeFrame(from, message);
  if (encoded === undefined) throw new Error('not encoded');
  const decoded = decodeFrame(encoded);
  if (!decoded.ok) throw new Error(decoded.problem);
  expect(decoded.frame.origin).toBe(from.origin.toString('latin1'));
  expect(decoded.frame.sequence).toBe(from.sequence);
  return decoded.frame.message;
}

const full: BusMessage = {
  cmd: 'publish',
  topic: 'a/ü/b',
  payload: Buffer.from([0, 1, 2, 255]),
  qos: 2,
  retain: true,
  dup: true,
  messageId: 65_535,
  brokerId: 'node',
  brokerCounter: 2 ** 41,
  clientId: '',
  nl: true,
  messageExpiry: 1_800_000_000_000.5,
  properties: {
    correlationData: Buffer.from([1, 2]),
    userProperties: { a: ['x', 'y'], b: 'z' },
    subscriptionIdentifier: 7,
  },
};

describe('frames', () => {
  test('every field of a packet survives, and Buffers stay Buffers', () => {
    const read = roundTrip(full) as BusMessage;
    expect(read).toEqual(full);
    expect(Buffer.isBuffer(read.payload)).toBe(true);
    expect(Buffer.isBuffer(read.properties?.['correlationData'])).toBe(true);
  });

  test('absent fields stay absent', () => {
    expect(roundTrip({ topic: 'a', payload: Buffer.alloc(0) })).toEqual({
      cmd: 'publish',
      topic: 'a',
      payload: Buffer.alloc(0),
      qos: 0,
      retain: false,
      dup: false,
      brokerCounter: 0,
    });
    expect(roundTrip({ topic: 'a' })).not.toHaveProperty('payload');
    expect(roundTrip({ topic: 'a', payload: 'text' })).toHaveProperty('payload', 'text');
  });

  test('a property of a client cannot pose as bytes or reach a prototype', () => {
    const properties = JSON.parse(
      '{"__proto__": {"x": 1}, "userProperties": {"correlationData": "AQI="}}',
    ) as Record<string, unknown>;
    const read = roundTrip({ topic: 'a', properties }) as BusMessage;
    expect(read.properties?.['userProperties']).toEqual({ correlationData: 'AQI=' });
    expect(read.properties?.['x']).toBeUndefined();
  });

  test('the payload does not share memory with the frame', () => {
    const encoded = encodeFrame(from, { topic: 'a', payload: Buffer.from('abc') });
    if (encoded === undefined) throw new Error('not encoded');
    const decoded = decodeFrame(encoded);
    encoded.fill(0);
    expect(decoded.ok && decoded.frame.message.payload).toEqual(Buffer.from('abc'));
  });

  test('topics of 65,535 bytes fit, one more does not', () => {
    expect(roundTrip({ topic: 'x'.repeat(65_535) })).toHaveProperty('topic.length', 65_535);
    expect(encodeFrame(from, { topic: 'x'.repeat(65_536) })).toBeUndefined();
    expect(encodeFrame(from, { topic: 'a', clientId: 'x'.repeat(65_535) })).toBeUndefined();
  });

  test('another version is said to be one', () => {
    const encoded = Buffer.from(encodeFrame(from, full) ?? []);
    encoded[0] = 2;
    expect(decodeFrame(encoded)).toEqual({ ok: false, problem: 'unknown_version' });
    expect(decodeFrame(Buffer.from([9]))).toEqual({ ok: false, problem: 'unknown_version' });
  });

  test('a frame cut anywhere before its payload is malformed', () => {
    const encoded = encodeFrame(from, full) ?? Buffer.alloc(0);
    const payloadStart = encoded.length - 4;
    for (let length = 0; length < payloadStart; length++) {
      expect(decodeFrame(encoded.subarray(0, length))).toEqual({ ok: false, problem: 'malformed' });
    }
    expect(decodeFrame(encoded.subarray(0, payloadStart)).ok).toBe(true);
  });

  test('no change of one byte throws', () => {
    const encoded = encodeFrame(from, full) ?? Buffer.alloc(0);
    for (let at = 0; at < encoded.length; at++) {
      for (const value of [0, 1, 0x7f, 0xff]) {
        const changed = Buffer.from(encoded);
        changed[at] = value;
        expect(() => decodeFrame(changed)).not.toThrow();
      }
    }
  });
});
