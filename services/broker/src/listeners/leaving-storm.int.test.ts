import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { openGate } from '../../test-support/gate.ts';
import type { AcceptedConnection, RunningListener } from './listener.ts';
import { readAgain, stopReading } from './socket-reading.ts';
import { startListener } from './start-listener.ts';
import { SLICE_MIN, StormBrake, type StormLimits } from './storm-brake.ts';

const CLIENTS = 1200;
/** Fewer than may wait to be accepted. */
const DIALLED_AT_ONCE = 200;
/** More than a slice, much less than all of them. */
const LEAVES_A_TURN_MAX = 4 * SLICE_MIN;

const open: (RunningListener | Socket)[] = [];
afterEach(async () => {
  for (const one of open.splice(0)) {
    if ('destroy' in one) one.destroy();
    else await one[Symbol.asyncDispose]();
  }
});

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

interface Storm {
  readonly listener: RunningListener;
  readonly clients: Socket[];
  readonly accepted: AcceptedConnection[];
  readonly brakes: number[];
  /** Clients that left, turn by turn. */
  readonly leaves: number[];
}

/** A listener with as many clients; `leaves` is filled by whoever speaks with them, as the engine would. */
async function gather(limits: StormLimits, count = CLIENTS): Promise<Storm> {
  const brakes: number[] = [];
  const accepted: AcceptedConnection[] = [];
  const leaves: number[] = [];
  let turns = 0;
  const left = (connection: AcceptedConnection): void => {
    leaves[turns] = (leaves[turns] ?? 0) + 1;
    connection.leaving();
  };
  const next = (): void => {
    turns++;
    if (open.length > 0) setImmediate(next);
  };
  const brake = new StormBrake({ limits, onBrake: ({ sockets }) => brakes.push(sockets) });
  const listener = await startListener(
    { name: 'tcp:default', host: '127.0.0.1', port: 0, gate: openGate(), brake },
    (connection) => {
      accepted.push(connection);
      connection.stream.on('data', (chunk: Buffer) => {
        if (chunk.toString() === 'bye') {
          left(connection);
          connection.stream.end();
        } else connection.stream.write(chunk);
      });
      connection.stream.on('end', () => left(connection));
    },
  );
  open.push(listener);
  const clients: Socket[] = [];
  while (clients.length < count) {
    const some = Math.min(DIALLED_AT_ONCE, count - clients.length);
    const dialled = Array.from({ length: some }, () => dial(listener.address.port));
    clients.push(...(await Promise.all(dialled)));
  }
  await expect.poll(() => listener.connections).toBe(count);
  next();
  return { listener, clients, accepted, brakes, leaves };
}

async function dial(port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1' });
  socket.on('error', () => undefined);
  open.push(socket);
  await once(socket, 'connect');
  return socket;
}

/** They all leave in one turn of the event loop: the next one finds all of them. */
async function leave({ clients, listener }: Storm, how: 'cut' | 'reset' | 'bye'): Promise<void> {
  for (const client of clients) {
    if (how === 'cut') client.destroy();
    else if (how === 'reset') client.resetAndDestroy();
    else client.end('bye');
  }
  await expect.poll(() => listener.connections, { timeout: 30_000 }).toBe(0);
}

const most = (leaves: readonly number[]): number => Math.max(...leaves.filter(Boolean));

describe('many clients that leave at once', () => {
  test('without a brake all have left before the event loop turns', async () => {
    const storm = await gather({ leavesMin: 50, turnMsMax: 0 });
    await leave(storm, 'cut');
    expect(most(storm.leaves)).toBeGreaterThan(2 * LEAVES_A_TURN_MAX);
  });

  test.each(['cut', 'bye'] as const)(
    'with a brake the event loop turns in between: %s',
    async (how) => {
      const storm = await gather({ leavesMin: 50, turnMsMax: 1 });
      await leave(storm, how);
      expect(storm.brakes[0]).toBeGreaterThan(CLIENTS / 2);
      expect(most(storm.leaves)).toBeLessThanOrEqual(LEAVES_A_TURN_MAX);
    },
  );

  test('who stays is read again, and has lost nothing', async () => {
    const storm = await gather({ leavesMin: 50, turnMsMax: 1 });
    const { clients, brakes, listener } = storm;
    const living = clients.splice(0, 20);
    const echoes = living.map((client) => {
      const chunks: Buffer[] = [];
      client.on('data', (chunk: Buffer) => chunks.push(chunk));
      return () => Buffer.concat(chunks).toString();
    });
    for (const client of clients) client.destroy();
    for (const client of living) client.write('during');
    await expect.poll(() => listener.connections, { timeout: 30_000 }).toBe(20);
    expect(brakes.length).toBeGreaterThan(0);
    for (const client of living) client.write(' and after');
    for (const echo of echoes) await expect.poll(echo).toBe('during and after');
  });
});

describe('a socket that is not read', () => {
  async function pair(): Promise<{ client: Socket; socket: Socket }> {
    const { clients, accepted } = await gather({ leavesMin: 1, turnMsMax: 0 }, 1);
    const [client] = clients;
    const [connection] = accepted;
    if (client === undefined || connection === undefined) throw new Error('no connection');
    return { client, socket: connection.stream as Socket };
  }

  test('has nothing read, not even its end, until it is read again', async () => {
    const { client, socket } = await pair();
    const heard: string[] = [];
    socket.on('data', (chunk: Buffer) => heard.push(chunk.toString()));
    socket.on('end', () => heard.push('end'));
    expect(stopReading(socket)).toBe(true);
    client.end('last');
    for (let count = 0; count < 50; count++) await turn();
    expect(heard).toEqual([]);
    readAgain(socket);
    await expect.poll(() => heard).toEqual(['last', 'end']);
  });

  test('is not read either when its stream is resumed meanwhile', async () => {
    const { client, socket } = await pair();
    const heard: string[] = [];
    socket.on('data', (chunk: Buffer) => heard.push(chunk.toString()));
    socket.pause();
    expect(stopReading(socket)).toBe(true);
    client.write('x');
    socket.resume();
    for (let count = 0; count < 50; count++) await turn();
    expect(heard).toEqual([]);
    readAgain(socket);
    await expect.poll(() => heard).toEqual(['x']);
  });

  test('is one that is full already, and stays so', async () => {
    const { client, socket } = await pair();
    socket.pause();
    client.write(Buffer.alloc(1024 * 1024));
    await expect.poll(() => socket.readableLength).toBeGreaterThanOrEqual(16 * 1024);
    for (let count = 0; count < 50; count++) await turn();
    const { bytesRead } = socket;
    expect(stopReading(socket)).toBe(false);
    readAgain(socket);
    for (let count = 0; count < 50; count++) await turn();
    expect(socket.bytesRead).toBe(bytesRead);
    socket.resume();
    await expect.poll(() => socket.bytesRead).toBe(1024 * 1024);
  });

  test('may be closed meanwhile', async () => {
    const { client, socket } = await pair();
    expect(stopReading(socket)).toBe(true);
    socket.destroy();
    expect(stopReading(socket)).toBe(false);
    readAgain(socket);
    await once(client, 'close');
  });
});
