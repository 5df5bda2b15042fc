import { Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { MessagePile, PILED_BYTES_MAX } from './message-pile.ts';

/** A stream that takes the next message when it is told to. */
class SlowStream extends Writable {
  readonly messages: string[] = [];
  #taken: (() => void) | undefined;

  constructor() {
    super({ objectMode: true });
  }

  override _write(message: Uint8Array, _encoding: unknown, taken: () => void): void {
    this.messages.push(Buffer.from(message).toString());
    this.#taken = taken;
  }

  async take(): Promise<void> {
    this.#taken?.();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

const open = () => {
  const stream = new SlowStream();
  let written = 0;
  const pile = new MessagePile(stream, () => (written += 1));
  const add = (...texts: string[]): void => {
    for (const text of texts) pile.add(Buffer.from(text));
  };
  return { stream, pile, add, written: () => written };
};

describe('a pile of messages', () => {
  it('writes what is alone at once, and what comes while it is on its way as one message', async () => {
    const { stream, pile, add, written } = open();
    add('a', 'b', 'c');
    expect([stream.messages, pile.size, written()]).toEqual([['a'], 2, 0]);
    await stream.take();
    add('d');
    expect([stream.messages, pile.size, written()]).toEqual([['a', 'bc'], 1, 1]);
    await stream.take();
    await stream.take();
    expect([stream.messages, pile.size, written()]).toEqual([['a', 'bc', 'd'], 0, 3]);
    add('e');
    expect(stream.messages.at(-1)).toBe('e');
  });

  it('makes a message as long as it may be, no longer, unless one part is', async () => {
    const { stream, add } = open();
    const half = PILED_BYTES_MAX / 2;
    add('', 'x'.repeat(half), 'y'.repeat(half), 'z', 'w'.repeat(PILED_BYTES_MAX + 1), 'v');
    const lengths: number[] = [];
    for (let count = 0; count < 5; count++) {
      lengths.push(stream.messages.at(-1)?.length ?? NaN);
      await stream.take();
    }
    expect(lengths).toEqual([0, 2 * half, 1, PILED_BYTES_MAX + 1, 1]);
  });

  it('ends the stream behind all that was added, and takes nothing more', async () => {
    const { stream, pile, add } = open();
    add('a', 'b');
    pile.end();
    pile.end();
    add('c');
    expect(stream.writableEnded).toBe(false);
    await stream.take();
    expect([stream.messages, stream.writableEnded]).toEqual([['a', 'b'], false]);
    await stream.take();
    expect([stream.messages, stream.writableEnded]).toEqual([['a', 'b'], true]);
    const idle = open();
    idle.pile.end();
    expect(idle.stream.writableEnded).toBe(true);
  });

  it('writes nothing more when it is closed, or its stream has broken', async () => {
    const { stream, pile, add } = open();
    add('a', 'b');
    pile.close();
    await stream.take();
    add('c');
    pile.end();
    expect([stream.messages, pile.size, stream.writableEnded]).toEqual([['a'], 0, false]);
    const broken = open();
    broken.stream.on('error', () => undefined);
    broken.add('a', 'b');
    broken.stream.destroy(new Error('broken'));
    await broken.stream.take();
    broken.add('c');
    expect([broken.stream.messages, broken.pile.size]).toEqual([['a'], 0]);
  });
});
