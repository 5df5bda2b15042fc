import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { CertificateAuthority, removeTempFolders } from '@sallyport/test-kit';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { openGate } from '../../test-support/gate.ts';
import type { AcceptedConnection, RunningListener } from './listener.ts';
import { readAgain, stopReading } from './socket-reading.ts';
import { startListener } from './start-listener.ts';
import { ARRIVING_SLICES, LEAVING_SLICES, StormBrake, type StormLimits } from './storm-brake.ts';
import { TlsCredentials } from './tls-credentials.ts';

const CLIENTS = 1200;
/** Fewer than may wait to be accepted. */
const DIALLED_AT_ONCE = 200;
/** More than a slice of any kind, much less than all of them. */
const CLIENTS_A_TURN_MAX = 4 * LEAVING_SLICES.min;
const NEVER: StormLimits = { clientsMin: 1, turnMsMax: 0 };

const open: (RunningListener | Socket)[] = [];
afterEach(async () => {
  for (const one of open.splice(0)) {
    if ('destroy' in one) one.destroy();
    else await one[Symbol.asyncDispose]();
  }
});

afterAll(removeTempFolders);

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

interface Storm {
  readonly listener: RunningListener;
  readonly clients: Socket[];
  readonly accepted: AcceptedConnection[];
  readonly brakes: number[];
  /** Of those that wait to arrive. */
  readonly unreadAtBrake: AcceptedConnection[];
  /** Clients that arrived, or left, turn by turn. */
  readonly turns: number[];
}

/** A listener with as many clients; `turns` is filled by whoever speaks with them, as the engine would. */
async function gather(
  limits: Partial<Record<'leaving' | 'arriving', StormLimits>>,
  count = CLIENTS,
): Promise<Storm> {
  const brakes: number[] = [];
  const accepted: AcceptedConnection[] = [];
  const unreadAtBrake: AcceptedConnection[] = [];
  const turns: number[] = [];
  let turn = 0;
  const noted = (): void => void (turns[turn] = (turns[turn] ?? 0) + 1);
  const left = (connection: AcceptedConnection): void => {
    noted();
    connection.leaving();
  };
  const next = (): void => {
    turn++;
    if (open.length > 0) setImmediate(next);
  };
  const leaving = new StormBrake({
    limits: limits.leaving ?? NEVER,
    slices: LEAVING_SLICES,
    onBrake: ({ sockets }) => brakes.push(sockets),
  });
  const arriving = new StormBrake({
    limits: limits.arriving ?? NEVER,
    slices: ARRIVING_SLICES,
    onBrake: ({ sockets }) => {
      if (brakes.push(sockets) === 1) unreadAtBrake.push(...accepted.filter((one) => one.unread));
    },
  });
  const listener = await startListener(
    {
      name: 'tcp:default',
      host: '127.0.0.1',
      port: 0,
      gate: openGate(),
      brakes: { leaving, arriving },
    },
    (connection) => {
      accepted.push(connection);
      connection.stream.on('data', (chunk: Buffer) => {
        const text = chunk.toString();
        if (text === 'bye') {
          left(connection);
          connection.stream.end();
        } else if (text === 'hello') {
          noted();
          connection.arriving();
          connection.stream.write('welcome');
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
  return { listener, clients, accepted, brakes, unreadAtBrake, turns };
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

const most = (turns: readonly number[]): number => Math.max(...turns.filter(Boolean));

/** They all say what a CONNECT would in one turn of the event loop. Resolves when all were answered. */
async function arrive(clients: readonly Socket[]): Promise<void> {
  const welcomed = clients.map(async (client) => {
    const [answer] = (await once(client, 'data')) as [Buffer];
    expect(answer.toString()).toBe('welcome');
  });
  for (const client of clients) client.write('hello');
  await Promise.all(welcomed);
}

describe('many clients that come at once', () => {
  test('without a brake all have come before the event loop turns', async () => {
    const { clients, turns } = await gather({});
    await arrive(clients);
    expect(most(turns)).toBeGreaterThan(2 * CLIENTS_A_TURN_MAX);
  });

  test('with a brake the event loop turns in between, all are answered, and who has come already is read all along', async () => {
    const { clients, accepted, turns, unreadAtBrake } = await gather({
      arriving: { clientsMin: 50, turnMsMax: 1 },
    });
    const living = clients.splice(0, 20);
    await arrive(living);
    const ports = new Set(living.map(({ localPort }) => localPort));
    await arrive(clients);
    expect(most(turns)).toBeLessThanOrEqual(CLIENTS_A_TURN_MAX);
    expect(turns.reduce((sum, count) => sum + count, 0)).toBe(CLIENTS);
    expect(unreadAtBrake.length).toBeGreaterThan(CLIENTS / 2);
    const portOf = ({ peer }: AcceptedConnection): number => Number(peer.split(':').at(-1));
    expect(unreadAtBrake.filter((one) => ports.has(portOf(one)))).toEqual([]);
    expect(accepted.filter(({ unread }) => unread)).toEqual([]);
  });
});

describe('many TLS handshakes that begin at once', () => {
  const HANDSHAKES = 200;

  /** Idle sockets at a TLS listener, which then all begin. Resolves to how many were answered, turn by turn, when all are done. */
  async function shake(limits: StormLimits): Promise<number[]> {
    const authority = await CertificateAuthority.create('/CN=Servers');
    const issued = await authority.issue({ subject: '/CN=localhost', use: 'server' });
    const tls = await TlsCredentials.open({
      ...{ certFile: issued.certFile, keyFile: issued.keyFile },
      ...{ clientCertificate: 'none', reloadMs: 60_000, onProblem: () => undefined },
    });
    const gate = openGate({ connectTimeoutMs: 60_000 });
    const options = { name: 'tls:default', host: '127.0.0.1', port: 0, gate, tls };
    const brakes = {
      leaving: new StormBrake({ limits: NEVER, slices: LEAVING_SLICES }),
      arriving: new StormBrake({ limits, slices: ARRIVING_SLICES }),
    };
    const listener = await startListener({ ...options, brakes }, ({ stream }) => {
      stream.on('data', (chunk: Buffer) => stream.write(chunk));
    });
    open.push(listener);
    const sockets: Socket[] = [];
    while (sockets.length < HANDSHAKES) {
      const some = Array.from({ length: DIALLED_AT_ONCE }, () => dial(listener.address.port));
      sockets.push(...(await Promise.all(some)));
    }
    await expect.poll(() => listener.connections).toBe(HANDSHAKES);
    const turns: number[] = [];
    let answered = 0;
    const look = (): void => {
      const now = sockets.filter((one) => one.bytesRead > 0).length;
      turns.push(now - answered);
      answered = now;
      if (answered < HANDSHAKES && open.length > 0) setImmediate(look);
    };
    const echoes = sockets.map(async (socket): Promise<void> => {
      const client: TLSSocket = connectTls({ socket, ca: authority.cert, host: 'localhost' });
      client.write('hello');
      const [echo] = (await once(client, 'data')) as [Buffer];
      expect(echo.toString()).toBe('hello');
    });
    setImmediate(look);
    await Promise.all(echoes);
    return turns;
  }

  test('without a brake most are answered before the event loop turns', async () => {
    expect(most(await shake(NEVER))).toBeGreaterThan(HANDSHAKES / 2);
  });

  test('with a brake the event loop turns in between, and all are done', async () => {
    const turns = await shake({ clientsMin: 8, turnMsMax: 1 });
    expect(most(turns)).toBeLessThan(HANDSHAKES / 3);
    expect(turns.reduce((sum, count) => sum + count, 0)).toBe(HANDSHAKES);
  });
});

describe('many clients that leave at once', () => {
  test('without a brake all have left before the event loop turns', async () => {
    const storm = await gather({});
    await leave(storm, 'cut');
    expect(most(storm.turns)).toBeGreaterThan(2 * CLIENTS_A_TURN_MAX);
  });

  test.each(['cut', 'bye'] as const)(
    'with a brake the event loop turns in between: %s',
    async (how) => {
      const storm = await gather({ leaving: { clientsMin: 50, turnMsMax: 1 } });
      await leave(storm, how);
      expect(storm.brakes[0]).toBeGreaterThan(CLIENTS / 2);
      expect(most(storm.turns)).toBeLessThanOrEqual(CLIENTS_A_TURN_MAX);
    },
  );

  test('who stays is read again, and has lost nothing', async () => {
    const storm = await gather({ leaving: { clientsMin: 50, turnMsMax: 1 } });
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
    const { clients, accepted } = await gather({}, 1);
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
