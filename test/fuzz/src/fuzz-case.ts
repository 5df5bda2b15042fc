import { mutate } from './mutate.ts';
import { anyPacket, firstPacket, type FuzzLogin, loginPacket, type Version } from './packets.ts';
import { Random } from './random.ts';

/** What one connection does; the seed and the index decide all of it. */
export interface FuzzCase {
  readonly version: Version;
  /** Sent and answered before the rest; absent: the rest is the first that the server sees. */
  readonly login?: Buffer;
  /** Written one after the other. */
  readonly segments: readonly Buffer[];
}

const PACKETS_MAX = 10;
const BYTEWISE_MAX = 80;
const SEGMENTS_MAX = 8;

export function fuzzCase(seed: number, index: number, login: FuzzLogin): FuzzCase {
  const random = Random.ofCase(seed, index);
  const version = random.pick<Version>([3, 4, 4, 5, 5]);
  // Most of what is worth attacking lies behind packets that are right.
  const malice = random.pick([0, 0, 0.05, 0.2, 1]);
  const context = { random, version, login, malice };
  const loggedIn = random.chance(0.65);
  const packets: Buffer[] = [];
  const count = random.between(1, PACKETS_MAX);
  for (let number = 0; number < count; number++) {
    const isFirst = number === 0 && !loggedIn && random.chance(0.8);
    const packet = isFirst ? firstPacket(context) : anyPacket(context);
    const mutated = random.chance(0.02 + 0.6 * malice);
    packets.push(mutated ? mutate(random, packet, anyPacket(context)) : packet.bytes);
  }
  const segments = cut(random, Buffer.concat(packets));
  return loggedIn
    ? { version, segments, login: loginPacket(context).bytes }
    : { version, segments };
}

/** How the bytes come: at once, byte by byte, or in pieces. */
function cut(random: Random, bytes: Buffer): Buffer[] {
  if (bytes.length <= BYTEWISE_MAX && random.chance(0.1)) {
    return Array.from(bytes, (byte) => Buffer.from([byte]));
  }
  if (bytes.length < 2 || random.chance(0.5)) return [bytes];
  const cuts = Array.from({ length: random.between(1, SEGMENTS_MAX) }, () =>
    random.between(1, bytes.length - 1),
  );
  const ends = [...new Set([...cuts, bytes.length])].sort((a, b) => a - b);
  return ends.map((end, index) => bytes.subarray(ends[index - 1] ?? 0, end));
}
