import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { CLOSE_TIMEOUT_MS, createWebSocketStream } from './websocket-stream.ts';

const open: { close(): void }[] = [];
afterEach(() => {
  vi.useRealTimers();
  for (const one of open.splice(0)) one.close();
});

interface Pair {
  readonly stream: Duplex;
  /** The socket below the stream. */
  readonly socket: Socket;
  readonly client: Socket;
}

/** After the upgrade: a stream, and the bare socket of its client. */
async function pair({
  head = Buffer.alloc(0),
  allowHalfOpen = false,
}: { head?: Buffer; allowHalfOpen?: boolean } = {}): Promise<Pair> {
  const server: Server = createServer({ noDelay: true });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no address');
  const client = connect({ port: address.port, host: '127.0.0.1', allowHalfOpen });
  client.on('error', () => undefined);
  const [socket] = await accepted;
  socket.on('error', () => undefined);
  open.push({
    close: () => {
      client.destroy();
      socket.destroy();
      server.close();
    },
  });
  return { stream: createWebSocketStream(socket, head, 1_000_000), socket, client };
}

/** A masked frame with the mask 0: the payload stands there as it is. */
function frame(opcode: number, payload: Buffer | string, final = true): Buffer {
  const bytes = Buffer.from(payload);
  const { length } = bytes;
  const header =
    length < 126
      ? Buffer.from([0x80 | length])
      : Buffer.from([0x80 | 126, length >> 8, length & 0xff]);
  return Buffer.concat([
    Buffer.from([(final ? 0x80 : 0) | opcode]),
    header,
    Buffer.alloc(4),
    bytes,
  ]);
}

const BINARY = 2;
const CLOSE = 8;
const PING = 9;
const CLOSE_1000 = '880203e8';

const ended = (socket: { once(event: 'close', listener: () => void): unknown }): Promise<void> =>
  new Promise((resolve) => socket.once('close', resolve));

async function received(client: Socket, length: number): Promise<string> {
  let data: Buffer = Buffer.alloc(0);
  client.on('data', (chunk: Buffer) => (data = Buffer.concat([data, chunk])));
  await expect.poll(() => data.length).toBeGreaterThanOrEqual(length);
  return data.toString('hex');
}

async function text(stream: Duplex): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

describe('what is written', () => {
  it('is one message for each write, also of those that wait', async () => {
    const { stream, client } = await pair();
    stream.write('one');
    stream.write('two');
    stream.write(Buffer.alloc(600, 'x'));
    const hex = await received(client, 2 + 3 + 2 + 3 + 4 + 600);
    expect(hex).toBe(
      `8203${Buffer.from('one').toString('hex')}8203${Buffer.from('two').toString('hex')}827e0258${'78'.repeat(600)}`,
    );
  });

  it('counts in writableLength until the system has taken it, and drain tells', async () => {
    const { stream, client } = await pair();
    client.pause();
    const chunk = Buffer.alloc(65_536);
    let written = 0;
    for (let turn = 0; turn < 200; turn++) {
      stream.write(chunk);
      written += chunk.length;
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(stream.writableLength).toBeGreaterThan(1_000_000);
    expect(stream.writableLength).toBeLessThan(written);
    expect(stream.writableNeedDrain).toBe(true);
    client.resume();
    await once(stream, 'drain');
    expect(stream.writableLength).toBe(0);
  });

  it('after the client has closed goes nowhere, and does not fail', async () => {
    const { stream, client } = await pair({ allowHalfOpen: true });
    const end = ended(stream);
    client.write(frame(CLOSE, Buffer.from([3, 0xe8])));
    await received(client, 4);
    const failed = vi.fn();
    stream.on('error', failed);
    stream.write('late');
    stream.resume();
    client.end();
    await end;
    expect(failed).not.toHaveBeenCalled();
  });
});

describe('what is read', () => {
  it('is not read further while nobody takes it, and goes on then', async () => {
    const { stream, socket, client } = await pair();
    const payload = Buffer.alloc(60_000, 'x');
    let sent = 0;
    for (let turn = 0; turn < 200; turn++) {
      client.write(frame(BINARY, payload));
      sent += payload.length;
    }
    await expect.poll(() => socket.isPaused()).toBe(true);
    const held = stream.readableLength;
    expect(held).toBeLessThan(200_000);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(stream.readableLength).toBe(held);
    let read = 0;
    stream.on('data', (chunk: Buffer) => (read += chunk.length));
    await expect.poll(() => read).toBe(sent);
  });

  it('includes what came behind the upgrade request', async () => {
    const { stream, client } = await pair({ head: frame(BINARY, 'first').subarray(0, 9) });
    client.write(Buffer.concat([frame(BINARY, 'first').subarray(9), frame(CLOSE, '')]));
    expect(await text(stream)).toBe('first');
  });

  it('of a message that never ends is not held', async () => {
    const { stream, client } = await pair();
    let read = 0;
    stream.on('data', (chunk: Buffer) => (read += chunk.length));
    client.write(frame(BINARY, 'x', false));
    for (let turn = 0; turn < 1000; turn++) client.write(frame(0, 'x', false));
    await expect.poll(() => read).toBe(1001);
    expect(stream.readableLength).toBe(0);
  });

  it('a ping is answered with its payload', async () => {
    const { client } = await pair();
    client.write(frame(PING, 'hello'));
    expect(await received(client, 7)).toBe(`8a05${Buffer.from('hello').toString('hex')}`);
  });

  it('pings of a client that does not read are not answered without end', async () => {
    const { socket, client } = await pair();
    client.pause();
    const pings = Buffer.concat(Array.from({ length: 500 }, () => frame(PING, 'x'.repeat(125))));
    let most = 0;
    const send = async (): Promise<void> => {
      client.write(pings);
      await new Promise((resolve) => setImmediate(resolve));
      most = Math.max(most, socket.writableLength);
    };
    while (most === 0) await send(); // Until the system has taken all that it takes.
    for (let turn = 0; turn < 100; turn++) await send();
    expect(most).toBeLessThan(100_000);
  });
});

describe('the end', () => {
  it('a close of the client is answered, what came before is read, and both sides close', async () => {
    const { stream, client } = await pair();
    client.write(Buffer.concat([frame(BINARY, 'last'), frame(CLOSE, Buffer.from([3, 0xe8]))]));
    const answer = received(client, 4);
    expect(await text(stream)).toBe('last');
    expect(await answer).toBe(CLOSE_1000);
    expect(stream.destroyed).toBe(true);
  });

  it('end sends what was written, then a close, and waits for the client', async () => {
    const { stream, socket, client } = await pair({ allowHalfOpen: true });
    const end = ended(socket);
    stream.write('bye');
    stream.end();
    stream.resume();
    expect(await received(client, 9)).toBe(
      `8203${Buffer.from('bye').toString('hex')}${CLOSE_1000}`,
    );
    expect(socket.destroyed).toBe(false);
    client.end(frame(CLOSE, ''));
    await end;
    expect(stream.destroyed).toBe(true);
  });

  it('a client that does not answer the close is cut after its time', async () => {
    const { stream, socket, client } = await pair({ allowHalfOpen: true });
    client.on('data', () => undefined);
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    stream.end();
    await new Promise((resolve) => stream.once('finish', resolve));
    vi.advanceTimersByTime(CLOSE_TIMEOUT_MS - 1);
    for (let turn = 0; turn < 20; turn++) await new Promise((go) => setImmediate(go));
    expect(socket.destroyed).toBe(false);
    vi.advanceTimersByTime(1);
    expect(socket.destroyed).toBe(true);
  });

  it('a client that goes without a close ends the stream, also one that nobody reads', async () => {
    for (const go of [
      (client: Socket) => client.destroy(),
      (client: Socket) => client.resetAndDestroy(),
    ]) {
      const { stream, client } = await pair();
      client.write(frame(BINARY, 'x'));
      await expect.poll(() => stream.readableLength).toBe(1);
      const end = ended(stream);
      stream.on('readable', () => void stream.read());
      go(client);
      await end;
      expect(stream.destroyed).toBe(true);
    }
  });

  it('what came before an orderly end of the socket is read by a slow reader', async () => {
    const { stream, socket, client } = await pair();
    client.end(Buffer.concat([frame(BINARY, 'slow'), frame(BINARY, 'reader')]));
    await ended(socket);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(await text(stream)).toBe('slowreader');
  });

  it('destroy closes the socket at once, and nothing is read after it', async () => {
    const { stream, socket, client } = await pair();
    const read = vi.fn();
    stream.on('data', () => {
      read();
      stream.destroy();
    });
    client.write(Buffer.concat([frame(BINARY, 'a'), frame(BINARY, 'b'), frame(PING, 'c')]));
    await ended(client);
    expect(socket.destroyed).toBe(true);
    expect(read).toHaveBeenCalledTimes(1);
  });

  it.each([
    ['text', frame(1, 'x'), '880203eb'],
    ['a frame that is not masked', Buffer.from('820178', 'hex'), '880203ea'],
  ])('%s is answered with a close, and ends the stream', async (_title, bytes, answer) => {
    const { stream, client } = await pair();
    const end = ended(client);
    const read = vi.fn();
    stream.on('data', read);
    client.write(Buffer.concat([bytes, frame(BINARY, 'behind')]));
    expect(await received(client, 4)).toBe(answer);
    await end;
    expect(stream.destroyed).toBe(true);
    expect(read).not.toHaveBeenCalled();
  });
});
