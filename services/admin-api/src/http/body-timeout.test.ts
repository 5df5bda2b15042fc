import { once } from 'node:events';
import type { IncomingMessage, RequestListener } from 'node:http';
import { connect, type Socket } from 'node:net';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { BODY_PROGRESS_BYTES_MIN, limitBodyPauses } from './body-timeout.ts';
import { Listening } from './listening.ts';

const TIMEOUT_MS = 150;
const listenings: Listening[] = [];
const sockets: Socket[] = [];

afterEach(async () => {
  vi.useRealTimers();
  for (const socket of sockets.splice(0)) socket.destroy();
  for (const listening of listenings.splice(0)) await listening.close();
});

/** Sends the head of a request, and tells what comes back until the connection ends. */
async function send(
  head: string,
  handler: RequestListener,
): Promise<{ readonly socket: Socket; readonly said: Promise<string> }> {
  const listening = new Listening({ bodyTimeoutMs: TIMEOUT_MS });
  listenings.push(listening);
  const [url = ''] = await listening.open(['127.0.0.1:0'], handler);
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  sockets.push(socket);
  await once(socket, 'connect');
  let text = '';
  socket.on('data', (bytes) => (text += bytes.toString()));
  socket.on('error', () => undefined);
  const said = once(socket, 'close').then(() => text);
  socket.write(`POST / HTTP/1.1\r\nhost: x\r\n${head}\r\n`);
  return { socket, said };
}

const answered: RequestListener = (request, response) => {
  request.resume();
  request.once('end', () => response.end('all of it'));
};

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

describe('a body that does not come in', () => {
  it.each([
    ['with its length told', 'content-length: 4\r\n', 'abc'],
    ['in chunks', 'transfer-encoding: chunked\r\n', '1\r\na\r\n'],
  ])('ends the request, %s', async (_, head, body) => {
    const { socket, said } = await send(head, answered);
    socket.write(body);
    expect(await said).toMatch(/^HTTP\/1\.1 408 /);
  });

  it('ends an answer that is under way, without a word in between', async () => {
    const { said } = await send('content-length: 4\r\n', (request, response) => {
      request.resume();
      response.write('first');
    });
    expect(await said).toMatch(/\r\n5\r\nfirst\r\n$/);
  });

  it('is not missed where there is none, or where all of it has come', async () => {
    for (const [head, body] of [
      ['', ''],
      ['content-length: 4\r\n', 'abcd'],
    ] as const) {
      const { socket, said } = await send(`connection: close\r\n${head}`, (request, response) => {
        request.resume();
        setTimeout(() => response.end('late'), 2 * TIMEOUT_MS);
      });
      socket.write(body);
      expect(await said).toMatch(/late/);
    }
  });
});

describe('a body that is worked on as it comes', () => {
  let heldUp = false;
  let incoming: IncomingMessage | undefined;
  const working: RequestListener = (request, response) => {
    incoming = request;
    limitBodyPauses(request, response, { heldUp: () => heldUp, timeoutMs: TIMEOUT_MS });
    answered(request, response);
  };
  const some = 'x'.repeat(BODY_PROGRESS_BYTES_MIN);

  it('may take as long as it comes', async () => {
    // By the test's clock: on the machine's more may pass between two parts than a body has.
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    heldUp = false;
    const length = 8 * some.length;
    const head = `connection: close\r\ncontent-length: ${length}\r\n`;
    const { socket, said } = await send(head, working);
    const read = async (): Promise<void> => {
      while (incoming?.socket.bytesRead !== socket.bytesWritten) {
        await new Promise((resolve) => setImmediate(resolve));
      }
    };
    await read();
    for (let part = 0; part < 8; part++) {
      socket.write(some);
      await read();
      vi.advanceTimersByTime(TIMEOUT_MS);
    }
    expect(await said).toContain('all of it');
  });

  it('may stand still for as long as nobody takes it, and not longer', async () => {
    heldUp = true;
    const { socket, said } = await send('content-length: 4\r\n', working);
    let over = false;
    void said.then(() => (over = true));
    await pause(4 * TIMEOUT_MS);
    expect(over).toBe(false);
    heldUp = false;
    socket.write('a');
    expect(await said).toMatch(/^HTTP\/1\.1 408 /);
  });

  it('ends when it only drips', async () => {
    heldUp = false;
    const { socket, said } = await send('content-length: 1000000\r\n', working);
    const drip = setInterval(() => socket.write('x'), TIMEOUT_MS / 10);
    expect(await said).toMatch(/^HTTP\/1\.1 408 /);
    clearInterval(drip);
  });

  it('has nothing to limit any more when all of it has come', async () => {
    heldUp = false;
    const seen: IncomingMessage[] = [];
    const head = 'connection: close\r\ncontent-length: 1\r\n';
    const { socket, said } = await send(head, (request, response) => {
      seen.push(request);
      limitBodyPauses(request, response, { heldUp: () => false, timeoutMs: TIMEOUT_MS });
      request.resume();
      setTimeout(() => response.end('late'), 3 * TIMEOUT_MS);
    });
    socket.write('x');
    expect(await said).toContain('late');
    expect(seen[0]?.complete).toBe(true);
  });
});
