import { describe, expect, test } from 'vitest';
import { MemorySocket } from '../../test-support/memory-socket.ts';
import { settle } from '../../test-support/settle.ts';
import { Flusher, HAND_BYTES_MAX, Output } from './output.ts';

const BUFFER_BYTES_MAX = 256 * 1024;

function outputOn(socket: MemorySocket, bufferBytesMax = BUFFER_BYTES_MAX) {
  const received: Buffer[] = [];
  let room = 0;
  socket.onBytes = (bytes) => received.push(bytes);
  const output = new Output(socket, new Flusher(), bufferBytesMax, () => room++);
  socket.on('drain', () => output.drained());
  return { output, text: () => Buffer.concat(received).toString(), rooms: () => room };
}

const letters = (count: number): Buffer => Buffer.alloc(count, 'x');

describe('what is written', () => {
  test('of one turn leaves in one write', async () => {
    const socket = new MemorySocket();
    const { output, text } = outputOn(socket);
    for (const letter of 'abc') output.write(Buffer.from(letter));
    expect(socket.writes).toEqual([]);
    await settle(2);
    expect(socket.writes).toEqual([3]);
    output.write(Buffer.from('d'));
    await settle(2);
    expect(socket.writes).toEqual([3, 1]);
    expect(text()).toBe('abcd');
  });

  test('in small and in large pieces comes in order', async () => {
    const socket = new MemorySocket();
    const { output, text } = outputOn(socket);
    const parts = ['a', letters(20_000).toString(), 'b', 'c', letters(200_000).toString(), 'd'];
    for (const part of parts) output.write(Buffer.from(part));
    await settle(4);
    expect(text()).toBe(parts.join(''));
  });

  test('is handed over in pieces that a slow line can show to be moving', async () => {
    const socket = new MemorySocket();
    const { output, text } = outputOn(socket);
    socket.freeze();
    output.write(letters(5 * HAND_BYTES_MAX + 1));
    output.write(Buffer.from('end'));
    await settle(2);
    expect(socket.writableLength).toBe(HAND_BYTES_MAX);
    socket.thaw();
    await settle(4);
    expect(Math.max(...socket.writes)).toBe(HAND_BYTES_MAX);
    expect(text()).toHaveLength(5 * HAND_BYTES_MAX + 4);
    expect(text().endsWith('xend')).toBe(true);
  });

  test('leaves all the same when the stream wants more than is handed over at once', async () => {
    const socket = new MemorySocket(10 * HAND_BYTES_MAX);
    const { output, text } = outputOn(socket);
    output.write(letters(3 * HAND_BYTES_MAX));
    await settle();
    expect(text()).toHaveLength(3 * HAND_BYTES_MAX);
  });

  test('before the end all goes out, however much it is', async () => {
    const socket = new MemorySocket();
    const { output, text } = outputOn(socket);
    output.write(letters(5 * HAND_BYTES_MAX));
    output.write(Buffer.from('end'));
    output.finish();
    socket.end();
    await settle();
    expect(text()).toHaveLength(5 * HAND_BYTES_MAX + 3);
  });

  test('after the end, or the loss, of the stream goes nowhere', async () => {
    for (const end of ['end', 'destroy'] as const) {
      const socket = new MemorySocket();
      const { output, text } = outputOn(socket);
      socket[end]();
      output.write(Buffer.from('late'));
      output.finish();
      output.write(Buffer.from('later'));
      await settle();
      expect(text()).toBe('');
    }
  });
});

describe('congestion', () => {
  test('begins one byte past the limit, and ends with a call when half of it has left', async () => {
    const socket = new MemorySocket();
    socket.freeze();
    const { output, rooms } = outputOn(socket);
    output.write(letters(BUFFER_BYTES_MAX));
    expect(output.congested).toBe(false);
    output.write(letters(1));
    expect(output.congested).toBe(true);
    await settle(2);
    expect(output.congested).toBe(true);
    socket.thaw(HAND_BYTES_MAX);
    await settle(2);
    expect([output.congested, rooms()]).toEqual([true, 0]);
    socket.thaw(HAND_BYTES_MAX);
    await settle(2);
    expect([output.congested, rooms()]).toEqual([false, 1]);
    socket.thaw();
    await settle(2);
    expect(rooms()).toBe(1);
  });

  test('ends also where the stream takes all at once and never says that it has drained', async () => {
    const socket = new MemorySocket(1024 * 1024);
    const { output, rooms } = outputOn(socket, 100);
    output.write(letters(101));
    expect(output.congested).toBe(true);
    await settle(2);
    expect([output.congested, rooms()]).toEqual([false, 1]);
  });
});

describe('a client that takes nothing', () => {
  const LIMIT_MS = 1000;

  test('is stuck behind the limit, and not at it', async () => {
    const socket = new MemorySocket();
    socket.freeze();
    const { output } = outputOn(socket);
    expect(output.isStuck(0, LIMIT_MS)).toBe(false);
    output.write(Buffer.from('x'));
    await settle(2);
    expect(output.isStuck(100, LIMIT_MS)).toBe(false);
    expect(output.isStuck(1100, LIMIT_MS)).toBe(false);
    expect(output.isStuck(1101, LIMIT_MS)).toBe(true);
  });

  test('is not stuck when there is nothing for it', async () => {
    const socket = new MemorySocket();
    const { output } = outputOn(socket);
    output.write(Buffer.from('x'));
    await settle(2);
    for (const now of [0, 5000, 10_000]) expect(output.isStuck(now, LIMIT_MS)).toBe(false);
  });

  test('is not stuck when it takes a piece now and then, however long all of it takes', async () => {
    const socket = new MemorySocket();
    socket.freeze();
    const { output } = outputOn(socket);
    output.write(letters(1024 * 1024));
    await settle(2);
    for (let now = 1; now < 16 * 900; now += 900) {
      expect(output.isStuck(now, LIMIT_MS)).toBe(false);
      socket.thaw(HAND_BYTES_MAX);
      await settle(2);
    }
    expect(socket.writableLength).toBe(0);
  });

  test('is stuck when what it takes is less than a piece', async () => {
    const socket = new MemorySocket();
    socket.freeze();
    const { output } = outputOn(socket);
    output.write(letters(1024 * 1024));
    await settle(2);
    output.isStuck(1, LIMIT_MS);
    socket.thaw(HAND_BYTES_MAX / 2);
    expect(output.isStuck(1002, LIMIT_MS)).toBe(true);
  });
});
