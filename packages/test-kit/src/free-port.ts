import { randomInt } from 'node:crypto';
import { type Server, createServer } from 'node:net';

/** Below the range from which Linux takes the source ports of connections, so that no client sits on a chosen port. */
const PORT_MIN = 10_240;
const PORT_MAX = 32_000;
const BLOCK = 64;
const BLOCKS = Math.floor((PORT_MAX - PORT_MIN) / BLOCK);

interface Held {
  /** Listens on the first port of the block, which is what keeps every other process out of it. */
  readonly lock: Server;
  readonly end: number;
  next: number;
}

/** On the global object, since a test runner may load this module once a file. */
const held = globalThis as { sallyportPorts?: Promise<Held> | undefined };

/** Resolves to null where somebody else listens. */
function listenOn(port: number): Promise<Server | null> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => {
      resolve(null);
    });
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => {
      resolve(server);
    });
  });
}

async function canListen(port: number): Promise<boolean> {
  const server = await listenOn(port);
  if (server === null) return false;
  await new Promise((resolve) => server.close(resolve));
  return true;
}

async function holdBlock(): Promise<Held> {
  const first = randomInt(BLOCKS);
  for (let offset = 0; offset < BLOCKS; offset += 1) {
    const start = PORT_MIN + ((first + offset) % BLOCKS) * BLOCK;
    const lock = await listenOn(start);
    if (lock !== null) return { lock: lock.unref(), next: start + 1, end: start + BLOCK };
  }
  throw new Error(`none of ${BLOCKS} blocks of ports is free`);
}

async function portOf(block: Promise<Held>): Promise<number | null> {
  const mine = await block;
  while (mine.next < mine.end) {
    const port = mine.next;
    mine.next += 1;
    if (await canListen(port)) return port;
  }
  return null;
}

/**
 * A TCP port that nobody listens on, never the same twice, also not in two processes: each takes them from a block
 * that it holds, and keeps, while it lives.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const block = (held.sallyportPorts ??= holdBlock());
    const port = await portOf(block);
    if (port !== null) return port;
    // Whoever comes second here finds the next block already begun. The lock of the full one stays held.
    if (held.sallyportPorts === block) held.sallyportPorts = undefined;
  }
}

/** Several of them. */
export async function freePorts(count: number): Promise<readonly number[]> {
  return Promise.all(Array.from({ length: count }, () => freePort()));
}
