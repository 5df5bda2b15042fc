import type { Random } from './random.ts';

/** How far texts, properties and packets stray from what a client ought to send: 0 to 1. */
export interface Malice {
  readonly random: Random;
  readonly malice: number;
}

/** Two bytes of length, cut to 16 bits, then the bytes. */
export function bytesField(bytes: Buffer): Buffer {
  return Buffer.concat([Buffer.from([(bytes.length >> 8) & 0xff, bytes.length & 0xff]), bytes]);
}

/** Names that mean something to JavaScript, to MQTT, or to a decoder of UTF-8. */
const HOSTILE: readonly [Buffer, ...Buffer[]] = [
  Buffer.from(''),
  Buffer.from('__proto__'),
  Buffer.from('constructor'),
  Buffer.from('hasOwnProperty'),
  Buffer.from('toString'),
  Buffer.from('\0'),
  Buffer.from('a\0b'),
  Buffer.from('\u0001\u001f\u007f\u009f'),
  Buffer.from('\ufeffbom'),
  Buffer.from('\ufffe\uffff'),
  Buffer.from('\u{1f600}'),
  Buffer.from([0xc0, 0x80]),
  Buffer.from([0xed, 0xa0, 0x80]), // A surrogate.
  Buffer.from([0xf5, 0x80, 0x80, 0x80]),
  Buffer.from([0x80]),
  Buffer.from([0x61, 0xe2, 0x82]), // Cut in the middle of a character.
  Buffer.from('x'.repeat(257)),
  Buffer.from('é'.repeat(600)),
  Buffer.alloc(65_535, 0x61),
];

const HOSTILE_TOPICS: readonly [string, ...string[]] = [
  '#',
  '+',
  '+/+/#',
  'a#',
  'a+/b',
  '+a',
  '#/x',
  '/',
  '//',
  'a//b',
  '$SYS/#',
  '$SYS/broker/x',
  '$share/group/dev/#',
  '$share//t',
  '$share/g',
  '$share/a+b/t',
  '$share/g/#',
  '$queue/t',
  '../../etc/passwd',
  '${clientid}/x',
  `${'a/'.repeat(100)}b`,
  '/'.repeat(2000),
];

export function anyText({ random, malice }: Malice): Buffer {
  if (random.chance(0.2 * malice)) return random.pick(HOSTILE);
  return Buffer.from(`text-${random.below(100)}`);
}

/** Topics of the user of the fuzzer, those of others, and those that are none. */
export function anyTopic({ random, malice }: Malice, username: string): Buffer {
  if (random.chance(0.1 * malice)) return random.pick(HOSTILE);
  if (random.chance(0.2 * malice)) return Buffer.from(random.pick(HOSTILE_TOPICS));
  if (random.chance(0.1)) return Buffer.from(`dev/canary/${random.pick(['x', 'y', 'x/y'])}`);
  return Buffer.from(`dev/${username}/${random.below(20)}`);
}

export function anyFilter(context: Malice, username: string): Buffer {
  const { random } = context;
  if (!random.chance(0.4)) return anyTopic(context, username);
  const owner = random.chance(0.1) ? 'canary' : username;
  return Buffer.from(`${random.pick(['', '$share/g/'])}dev/${owner}/${random.pick(['#', '+'])}`);
}
