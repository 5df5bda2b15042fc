import { setImmediate } from 'node:timers/promises';

/** Iterations between two looks at what else there is to do: a few milliseconds. */
const SLICE_ITERATIONS = 500;

const BLOCK_BYTES = 64;
const DIGEST_BYTES = 16;
/** Where the length of the message stands in its last block. */
const LENGTH_AT = BLOCK_BYTES - 8;
const START = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476] as const;

type State = Int32Array;

/** Of each round: what is added, in which order the words are taken, and how far each step turns. @source RFC 1320 §3.4 */
const ROUNDS = [
  {
    add: 0,
    order: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    turns: [3, 7, 11, 19],
    mix: (x: number, y: number, z: number): number => (x & y) | (~x & z),
  },
  {
    add: 0x5a827999,
    order: [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15],
    turns: [3, 5, 9, 13],
    mix: (x: number, y: number, z: number): number => (x & y) | (x & z) | (y & z),
  },
  {
    add: 0x6ed9eba1,
    order: [0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15],
    turns: [3, 9, 11, 15],
    mix: (x: number, y: number, z: number): number => x ^ y ^ z,
  },
] as const;

function compress(state: State, words: Int32Array): void {
  const mixed = state.slice();
  for (const round of ROUNDS) mixRound(mixed, words, round);
  for (const [index, word] of mixed.entries()) state[index] = (state[index] ?? 0) + word;
}

function mixRound(state: State, words: Int32Array, round: (typeof ROUNDS)[number]): void {
  const { add, order, turns, mix } = round;
  let [a = 0, b = 0, c = 0, d = 0] = state;
  for (const [step, word] of order.entries()) {
    const sum = (a + mix(b, c, d) + (words[word] ?? 0) + add) | 0;
    const turn = turns[step & 3] ?? 0;
    [a, d, c, b] = [d, c, b, (sum << turn) | (sum >>> (32 - turn))];
  }
  state.set([a, b, c, d]);
}

/** Goes on from a state that has seen `before` bytes, whole blocks. */
function digest(start: State, message: Uint8Array, before = 0): State {
  const padding = BLOCK_BYTES - ((message.length + 8) % BLOCK_BYTES);
  const padded = Buffer.alloc(message.length + padding + 8);
  padded.set(message);
  padded[message.length] = 0x80;
  const bits = (before + message.length) * 8;
  padded.writeUInt32LE(bits >>> 0, padded.length - BLOCK_BYTES + LENGTH_AT);
  padded.writeUInt32LE(Math.floor(bits / 2 ** 32), padded.length - 4);
  const state = start.slice();
  const words = new Int32Array(BLOCK_BYTES / 4);
  for (let at = 0; at < padded.length; at += BLOCK_BYTES) {
    for (let word = 0; word < words.length; word++) words[word] = padded.readInt32LE(at + 4 * word);
    compress(state, words);
  }
  return state;
}

function bytesOf(state: State): Buffer {
  const bytes = Buffer.alloc(DIGEST_BYTES);
  for (const [index, word] of state.entries()) bytes.writeInt32LE(word, 4 * index);
  return bytes;
}

/** The digest of 16 bytes. OpenSSL 3 has it no more; it protects nothing, and is here for hashes that are there. @source RFC 1320 */
export const md4 = (message: Uint8Array): Buffer =>
  bytesOf(digest(Int32Array.from(START), message));

/** The states behind the two keyed blocks of an HMAC. @source RFC 2104 */
interface KeyedStates {
  readonly inner: State;
  readonly outer: State;
}

function keyed(key: Uint8Array): KeyedStates {
  const block = Buffer.alloc(BLOCK_BYTES);
  block.set(key.length > BLOCK_BYTES ? md4(key) : key);
  const behind = (mask: number): State => {
    const state = Int32Array.from(START);
    const words = new Int32Array(BLOCK_BYTES / 4);
    const masked = block.map((byte) => byte ^ mask);
    for (let word = 0; word < words.length; word++) {
      words[word] = Buffer.from(masked).readInt32LE(4 * word);
    }
    compress(state, words);
    return state;
  };
  return { inner: behind(0x36), outer: behind(0x5c) };
}

/** One block that holds a digest, and ends a message whose first block was a key. */
function lastBlock(): Int32Array {
  const words = new Int32Array(BLOCK_BYTES / 4);
  words[DIGEST_BYTES / 4] = 0x80;
  words[LENGTH_AT / 4] = (BLOCK_BYTES + DIGEST_BYTES) * 8;
  return words;
}

/** PBKDF2 with HMAC-MD4, in slices: what else there is to do waits for a few milliseconds at a time. @source RFC 8018 §5.2 */
export async function pbkdf2Md4(
  password: Uint8Array,
  salt: Uint8Array,
  { iterations, keyBytes }: { readonly iterations: number; readonly keyBytes: number },
): Promise<Buffer> {
  const states = keyed(password);
  const blocks: Buffer[] = [];
  for (let index = 1; blocks.length * DIGEST_BYTES < keyBytes; index++) {
    const number = Buffer.alloc(4);
    number.writeUInt32BE(index);
    blocks.push(await derivedBlock(states, Buffer.concat([salt, number]), iterations));
  }
  return Buffer.concat(blocks).subarray(0, keyBytes);
}

async function derivedBlock(
  { inner, outer }: KeyedStates,
  first: Uint8Array,
  iterations: number,
): Promise<Buffer> {
  const words = lastBlock();
  words.set(digest(inner, first, BLOCK_BYTES));
  const state = outer.slice();
  compress(state, words);
  const result = state.slice();
  for (let done = 1; done < iterations; done++) {
    for (const start of [inner, outer]) {
      words.set(state);
      state.set(start);
      compress(state, words);
    }
    for (let word = 0; word < result.length; word++) {
      result[word] = (result[word] ?? 0) ^ (state[word] ?? 0);
    }
    if (done % SLICE_ITERATIONS === 0) await setImmediate();
  }
  return bytesOf(result);
}
