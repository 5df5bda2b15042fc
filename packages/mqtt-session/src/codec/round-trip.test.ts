import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decoderOf, packetsOf } from '../../test-support/client-bytes.ts';
import { oracleBytes, oraclePacket } from '../../test-support/oracle.ts';
import { clientPacket, connectPacket, serverPacket } from '../../test-support/packets.ts';
import {
  encodeAck,
  encodeAuth,
  encodeConnack,
  encodeDisconnect,
  encodePingresp,
  encodePublish,
  encodeSuback,
  encodeUnsuback,
  type ProtocolVersion,
  type ServerPacket,
} from './index.ts';

const versions: readonly ProtocolVersion[] = [3, 4, 5];
const RUNS = { numRuns: 400, verbose: 1 } as const; // A failure prints its seed.

function encoded(packet: ServerPacket, version: ProtocolVersion): Buffer {
  switch (packet.type) {
    case 'connack':
      return encodeConnack(packet, version);
    case 'publish':
      return encodePublish(packet, version);
    case 'suback':
      return encodeSuback(packet, version);
    case 'unsuback':
      return encodeUnsuback(packet, version);
    case 'pingresp':
      return encodePingresp();
    case 'disconnect':
      return encodeDisconnect(packet);
    case 'auth':
      return encodeAuth(packet);
    default:
      return encodeAck(packet, version);
  }
}

describe.each(versions)('against mqtt-packet as the other side, version %i', (version) => {
  test('a CONNECT is read as it was meant', () => {
    fc.assert(
      fc.property(connectPacket(version), (packet) => {
        expect(packetsOf(decoderOf(0), [oracleBytes(packet, version)])).toEqual([packet]);
      }),
      RUNS,
    );
  });

  test('every other packet of a client is read as it was meant', () => {
    fc.assert(
      fc.property(clientPacket(version), (packet) => {
        expect(packetsOf(decoderOf(version), [oracleBytes(packet, version)])).toEqual([packet]);
      }),
      RUNS,
    );
  });

  test('every packet of the server is read there as it was meant', () => {
    fc.assert(
      fc.property(serverPacket(version), (packet) => {
        expect(oraclePacket(encoded(packet, version), version)).toEqual(packet);
      }),
      RUNS,
    );
  });

  test('a stream that is cut at any byte gives the same packets', () => {
    fc.assert(
      fc.property(
        fc.array(clientPacket(version), { minLength: 1, maxLength: 6 }),
        fc.integer({ min: 1, max: 40 }),
        (packets, step) => {
          const stream = Buffer.concat(packets.map((packet) => oracleBytes(packet, version)));
          for (let cut = 0; cut <= stream.length; cut++) {
            const halves = [stream.subarray(0, cut), stream.subarray(cut)];
            expect(packetsOf(decoderOf(version), halves)).toEqual(packets);
          }
          const pieces: Buffer[] = [];
          for (let at = 0; at < stream.length; at += step)
            pieces.push(stream.subarray(at, at + step));
          expect(packetsOf(decoderOf(version), pieces)).toEqual(packets);
        },
      ),
      { numRuns: 30, verbose: 1 },
    );
  });
});
