import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { WebSocket } from 'ws';
import { openGate } from '../../test-support/gate.ts';
import type { Refusal } from './connection-gate.ts';
import type {
  AcceptedConnection,
  ListenerOptions,
  RunningListener,
  WebSocketOptions,
} from './listener.ts';
import { startListener } from './start-listener.ts';

const CONNECT_TIMEOUT_MS = 10_000;

const open: (RunningListener | Socket)[] = [];
afterEach(async () => {
  vi.useRealTimers();
  for (const one of open.splice(0)) {
    if ('destroy' in one) one.destroy();
    else await one[Symbol.asyncDispose]();
  }
});

interface Accepted {
  readonly connection: AcceptedConnection;
  readonly peer: string;
  /** Everything read so far, once it is as long as this. */
  bytes(length: number): Promise<string>;
}

interface Started {
  readonly listener: RunningListener;
  readonly accepted: Accepted[];
  readonly refusals: Refusal[];
}

function collector(accepted: Accepted[]): (connection: AcceptedConnection) => void {
  return (connection) => {
    let data = Buffer.alloc(0);
    connection.stream.on('readable', () => {
      for (;;) {
        const chunk = connection.stream.read() as Buffer | null;
        if (chunk === null) break;
        data = Buffer.concat([data, chunk]);
      }
    });
    accepted.push({
      connection,
      peer: connection.peer,
      bytes: async (length) => {
        while (data.length < length) await once(connection.stream, 'readable');
        return data.toString('latin1');
      },
    });
  };
}

async function tcp(options: Partial<ListenerOptions> = {}): Promise<Started> {
  const accepted: Accepted[] = [];
  const refusals: Refusal[] = [];
  const gate = openGate({}, (refusal) => refusals.push(refusal));
  const listener = await startListener(
    { name: 'tcp:default', host: '127.0.0.1', port: 0, gate, ...options },
    collector(accepted),
  );
  open.push(listener);
  return { listener, accepted, refusals };
}

async function ws(
  webSocket: Partial<WebSocketOptions> = {},
  options: Partial<ListenerOptions> = {},
): Promise<Started> {
  return tcp({
    name: 'ws:default',
    webSocket: { messageBytesMax: 1_000_000, ...webSocket },
    ...options,
  });
}

/** Timers and the gate's clock stand still; the event loop does not. */
function freezeTime(): void {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
}

/** Waits while time stands still: `expect.poll` would move it. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}

async function dial({ listener }: Started, localAddress = '127.0.0.1'): Promise<Socket> {
  const socket = connect({ port: listener.address.port, host: '127.0.0.1', localAddress });
  socket.on('error', () => undefined);
  open.push(socket);
  await once(socket, 'connect');
  return socket;
}

/** Unlike `once` it does not mind an ECONNRESET before. */
const closed = (socket: Socket): Promise<unknown> =>
  new Promise((resolve) => socket.once('close', resolve));

const localPort = (socket: Socket): number => socket.localPort ?? 0;
const V1 = 'PROXY TCP4 192.0.2.7 198.51.100.1 4711 1883\r\n';

function upgradeRequest(changed: Record<string, string | undefined> = {}): string {
  const headers = {
    Host: 'x',
    Connection: 'Upgrade',
    Upgrade: 'websocket',
    'Sec-WebSocket-Version': '13',
    'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
    'Sec-WebSocket-Protocol': 'mqtt',
    ...changed,
  };
  const lines = Object.entries(headers).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}: ${value}`],
  );
  return ['GET /mqtt HTTP/1.1', ...lines, '\r\n'].join('\r\n');
}

describe('the TCP listener', () => {
  test('hands over the stream, its listener and its peer', async () => {
    const started = await tcp();
    const socket = await dial(started);
    socket.write('MQTT');
    await expect.poll(() => started.accepted.length).toBe(1);
    const [connection] = started.accepted;
    expect(connection?.connection).toMatchObject({
      listener: 'tcp:default',
      peer: `127.0.0.1:${localPort(socket)}`,
      secure: false,
    });
    expect(connection?.connection.certificate).toBeUndefined();
    expect(await connection?.bytes(4)).toBe('MQTT');
  });

  test('a header of an address that is not a load balancer is plain bytes', async () => {
    const started = await tcp({ proxyFrom: ['10.0.0.0/8', '127.0.0.2', '::1'] });
    const socket = await dial(started);
    socket.write(V1);
    await expect.poll(() => started.accepted.length).toBe(1);
    expect(started.accepted[0]?.peer).toBe(`127.0.0.1:${localPort(socket)}`);
    expect(await started.accepted[0]?.bytes(V1.length)).toBe(V1);
  });

  test.each(['127.0.0.2', '127.0.0.0/8'])('a header from %s gives the peer', async (from) => {
    const started = await tcp({ proxyFrom: [from] });
    const socket = await dial(started, '127.0.0.2');
    socket.write(`${V1}MQ`);
    await expect.poll(() => started.accepted.length).toBe(1);
    expect(started.accepted[0]?.peer).toBe('192.0.2.7:4711');
    socket.write('TT');
    expect(await started.accepted[0]?.bytes(4)).toBe('MQTT');
  });

  test('the family of proxyFrom entries is that of the address, mapped IPv4 included', async () => {
    const started = await tcp({ host: '::', proxyFrom: ['127.0.0.0/8'] });
    const socket = await dial(started);
    socket.write('PROXY TCP6 2001:db8::1 ::1 1 2\r\n');
    await expect.poll(() => started.accepted.length).toBe(1);
    expect(started.accepted[0]?.peer).toBe('[2001:db8::1]:1');
  });

  test('a header in single bytes, with MQTT behind it, is read', async () => {
    const started = await tcp({ proxyFrom: ['127.0.0.1'] });
    const socket = await dial(started);
    for (const byte of `${V1}MQTT`) {
      await new Promise((resolve) => socket.write(byte, resolve));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await expect.poll(() => started.accepted.length).toBe(1);
    expect(await started.accepted[0]?.bytes(4)).toBe('MQTT');
    expect(started.accepted[0]?.peer).toBe('192.0.2.7:4711');
  });

  test('UNKNOWN and LOCAL keep the peer of the socket', async () => {
    const started = await tcp({ proxyFrom: ['127.0.0.1'] });
    const first = await dial(started);
    first.write('PROXY UNKNOWN\r\n');
    await expect.poll(() => started.accepted.length).toBe(1);
    const second = await dial(started);
    second.write(Buffer.from('0d0a0d0a000d0a515549540a20000000', 'hex'));
    await expect.poll(() => started.accepted.length).toBe(2);
    expect(started.accepted.map((one) => one.peer)).toEqual(
      [first, second].map((socket) => `127.0.0.1:${localPort(socket)}`),
    );
  });

  test.each([
    ['no header', Buffer.from([0x10, 0x0c, 0, 4])],
    ['a malformed one', Buffer.from('PROXY TCP4 a b c d\r\n')],
    ['one too long', Buffer.from(`PROXY UNKNOWN ${'x'.repeat(100)}`)],
    [
      'a TLV over the end',
      Buffer.from('0d0a0d0a000d0a515549540a2111000f' + '00'.repeat(12) + '040001', 'hex'),
    ],
  ])('from a load balancer, %s closes the connection', async (_title, bytes) => {
    const started = await tcp({ proxyFrom: ['127.0.0.1'] });
    const socket = await dial(started);
    socket.write(bytes);
    await closed(socket);
    expect(started.accepted).toEqual([]);
    await expect.poll(() => started.listener.connections).toBe(0);
    expect(started.refusals).toMatchObject([{ reason: 'proxy_header', listener: 'tcp:default' }]);
  });

  test('a truncated header is closed at its deadline, and not before', async () => {
    freezeTime();
    const started = await tcp({ proxyFrom: ['127.0.0.1'] });
    const socket = await dial(started);
    let isClosed = false;
    const end = closed(socket).then(() => (isClosed = true));
    socket.write(V1.slice(0, 20));
    await until(() => started.listener.connections === 1);
    vi.advanceTimersByTime(CONNECT_TIMEOUT_MS - 1);
    for (let turn = 0; turn < 20; turn++) await new Promise((go) => setImmediate(go));
    expect(isClosed).toBe(false);
    vi.advanceTimersByTime(1);
    await end;
    expect(started.accepted).toEqual([]);
  });

  test('a client that goes in the middle of its header leaves nothing behind', async () => {
    const started = await tcp({ proxyFrom: ['127.0.0.1'] });
    const socket = await dial(started);
    socket.write(V1.slice(0, 20));
    await expect.poll(() => started.listener.connections).toBe(1);
    socket.resetAndDestroy();
    await expect.poll(() => started.listener.connections).toBe(0);
    expect(started.accepted).toEqual([]);
  });

  test('close stops accepting and leaves open connections; closeConnections cuts them', async () => {
    const started = await tcp();
    const socket = await dial(started);
    await expect.poll(() => started.accepted.length).toBe(1);
    started.listener.close();
    started.listener.close();
    await expect(dial(started)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    socket.write('still');
    expect(await started.accepted[0]?.bytes(5)).toBe('still');
    started.listener.closeConnections();
    await closed(socket);
  });

  test('a port in use and an entry that is no address are errors of the configuration', async () => {
    const { listener } = await tcp();
    const expected = { code: 'config_invalid' };
    await expect(tcp({ port: listener.address.port })).rejects.toMatchObject(expected);
    for (const entry of ['localhost', '10.0.0.0/33', '10.0.0.0/', '10.0.0.0/8/8', '', '::/129']) {
      await expect(tcp({ proxyFrom: [entry] })).rejects.toMatchObject(expected);
    }
  });
});

describe('the limits of connections', () => {
  const kinds = {
    TCP: (options: Partial<ListenerOptions>) => tcp(options),
    WebSocket: (options: Partial<ListenerOptions>) => ws({}, options),
  };

  test.each(Object.entries(kinds))(
    'over %s: one past the limit is closed at once',
    async (_kind, start) => {
      const refusals: Refusal[] = [];
      const gate = openGate({ connectionsMax: 2 }, (refusal) => refusals.push(refusal));
      const started = await start({ gate });
      const [first] = [await dial(started), await dial(started)];
      await expect.poll(() => started.listener.connections).toBe(2);
      const third = await dial(started);
      const peer = `127.0.0.1:${localPort(third)}`;
      await closed(third);
      const listener = started.listener.name;
      expect(refusals).toEqual([{ reason: 'connections_max', listener, peer }]);
      first.destroy();
      await expect.poll(() => started.listener.connections).toBe(1);
      const fourth = await dial(started);
      await expect.poll(() => started.listener.connections).toBe(2);
      expect(fourth.destroyed).toBe(false);
    },
  );

  test('hold for all listeners of the node together', async () => {
    const gate = openGate({ connectionsMax: 3 });
    const [one, two] = [await tcp({ gate }), await ws({}, { gate })];
    await Promise.all([dial(one), dial(one), dial(two)]);
    await expect.poll(() => gate.connections).toBe(3);
    await closed(await dial(one));
    await closed(await dial(two));
    expect(gate.refused.get('connections_max')).toBe(2);
    expect([one.listener.connections, two.listener.connections]).toEqual([2, 1]);
  });

  test('a connection counts as one without a CONNECT until it is authenticated, and until it ends', async () => {
    const gate = openGate({ connectionsMax: 10, unauthenticatedPercentMax: 20 });
    const started = await tcp({ gate });
    const [first, second] = [await dial(started), await dial(started)];
    await expect.poll(() => started.accepted.length).toBe(2);
    await closed(await dial(started));
    expect(gate.refused.get('unauthenticated_max')).toBe(1);
    started.accepted[0]?.connection.authenticated();
    await dial(started);
    await expect.poll(() => started.accepted.length).toBe(3);
    await closed(await dial(started));
    first.destroy();
    second.destroy();
    await expect.poll(() => [gate.connections, gate.unauthenticated]).toEqual([1, 1]);
    await dial(started);
    await expect.poll(() => started.accepted.length).toBe(4);
  });

  test('P2: 2000 idle sockets are all gone at the deadline and none before, those with a CONNECT stay', async () => {
    freezeTime();
    const gate = openGate({ connectTimeoutMs: 3000 });
    const [one, two] = [await tcp({ gate }), await ws({}, { gate })];
    const live = await dial(one);
    await until(() => one.accepted.length === 1);
    one.accepted[0]?.connection.authenticated();
    const idle = await Promise.all(
      Array.from({ length: 2000 }, (_, number) => dial(number % 2 === 0 ? one : two)),
    );
    await until(() => gate.connections === 2001);
    expect(gate.unauthenticated).toBe(2000);
    vi.advanceTimersByTime(2999);
    expect(gate.unauthenticated).toBe(2000);
    const ended = Promise.all(idle.map(closed));
    vi.advanceTimersByTime(1);
    await ended;
    await until(() => gate.connections === 1);
    expect(gate.unauthenticated).toBe(0);
    expect(gate.refused.get('connect_timeout')).toBe(2000);
    expect(live.destroyed).toBe(false);
  });

  test('one source has its rate; behind a load balancer it is the client of the header', async () => {
    freezeTime(); // No other permit comes while the connections do.
    const limits = { connectsPerSourcePerSecond: 1, connectsPerSourceBurst: 3 };
    const gate = openGate(limits);
    const direct = await tcp({ gate });
    const [, , , fourth] = [
      await dial(direct),
      await dial(direct),
      await dial(direct),
      await dial(direct),
    ];
    await closed(fourth ?? (await dial(direct)));
    expect(direct.accepted).toHaveLength(3);
    await dial(direct, '127.0.0.2');
    await until(() => direct.accepted.length === 4);
    const balanced = await tcp({ gate: openGate(limits), proxyFrom: ['127.0.0.1'] });
    const from = async (address: string): Promise<Socket> => {
      const socket = await dial(balanced);
      socket.write(`PROXY TCP6 ${address} ::1 1 2\r\n`);
      return socket;
    };
    for (const last of [1, 2, 3]) await from(`2001:db8:0:1::${last}`);
    await closed(await from('2001:db8:0:1:ffff::4'));
    await from('2001:db8:0:2::1');
    await until(() => balanced.accepted.length === 4);
  });

  test('the node has its rate', async () => {
    freezeTime();
    const gate = openGate({ acceptsPerSecond: 5 });
    const started = await tcp({ gate });
    const sockets = await Promise.all(Array.from({ length: 6 }, () => dial(started)));
    await until(() => gate.refused.get('accept_rate') === 1);
    expect(started.accepted).toHaveLength(5);
    expect(started.listener.connections).toBeLessThanOrEqual(6);
    for (const socket of sockets) socket.destroy();
  });
});

describe('the WebSocket listener', () => {
  const url = ({ listener }: Started, path = '/mqtt'): string =>
    `ws://127.0.0.1:${listener.address.port}${path}`;

  const refusal = async (socket: WebSocket): Promise<string> => {
    const [error] = (await once(socket, 'error')) as [Error];
    return error.message;
  };

  test.each([['mqtt'], ['mqttv3.1'], ['other', 'mqtt']])(
    'subprotocol %s is taken, and bytes go both ways',
    async (...offered) => {
      const started = await ws();
      const socket = new WebSocket(url(started, '/mqtt?x=1'), offered);
      await once(socket, 'open');
      expect(socket.protocol).toBe(offered.at(-1));
      expect(socket.extensions).toBe('');
      socket.send(Buffer.from('MQ'));
      socket.send(Buffer.from('TT'));
      const [connection] = started.accepted;
      expect(await connection?.bytes(4)).toBe('MQTT');
      expect(connection?.connection.listener).toBe('ws:default');
      expect(connection?.peer).toMatch(/^127\.0\.0\.1:[0-9]+$/);
      const answer = once(socket, 'message');
      connection?.connection.stream.write('back');
      expect(((await answer) as [Buffer])[0].toString()).toBe('back');
      const closed = once(socket, 'close');
      connection?.connection.stream.destroy();
      await closed;
    },
  );

  test.each(['/', '/mqtt/', '/MQTT', '/mqtt/x', '//mqtt'])('path %s is 404', async (path) => {
    const started = await ws();
    expect(await refusal(new WebSocket(url(started, path), 'mqtt'))).toMatch(/404/);
    expect(started.accepted).toEqual([]);
  });

  test.each([[[]], [['mqttv5']], [['MQTT']]])('subprotocols %j are 400', async (offered) => {
    const started = await ws();
    expect(await refusal(new WebSocket(url(started), offered))).toMatch(/400/);
    expect(started.accepted).toEqual([]);
  });

  test('a foreign origin is 403 when origins are set; ours and none are taken', async () => {
    const started = await ws({ originsAllowed: ['https://a.example'] });
    for (const origin of ['https://b.example', 'https://a.example.b', 'null', 'http://a.example']) {
      expect(await refusal(new WebSocket(url(started), 'mqtt', { origin }))).toMatch(/403/);
    }
    await once(new WebSocket(url(started), 'mqtt', { origin: 'https://a.example' }), 'open');
    await once(new WebSocket(url(started), 'mqtt'), 'open');
    const all = await ws();
    await once(new WebSocket(url(all), 'mqtt', { origin: 'https://b.example' }), 'open');
  });

  test('a text message ends the connection before anything of it is read', async () => {
    const started = await ws();
    const socket = new WebSocket(url(started), 'mqtt');
    await once(socket, 'open');
    let read = 0;
    started.accepted[0]?.connection.stream.on('data', (chunk: Buffer) => (read += chunk.length));
    socket.send('text');
    await once(socket, 'close');
    expect(read).toBe(0);
  });

  test('a message of the limit is read, one byte more ends the connection', async () => {
    const started = await ws({ messageBytesMax: 1000 });
    const socket = new WebSocket(url(started), 'mqtt');
    await once(socket, 'open');
    socket.send(Buffer.alloc(1000));
    expect(await started.accepted[0]?.bytes(1000)).toHaveLength(1000);
    socket.send(Buffer.alloc(1001));
    const [code] = (await once(socket, 'close')) as [number];
    expect(code).toBe(1009);
  });

  test('a PROXY header before the upgrade gives the peer, bytes behind it are not lost', async () => {
    const started = await ws({}, { proxyFrom: ['127.0.0.1'] });
    const socket = await dial(started);
    // A masked binary frame with the payload "MQTT", mask 0, in the same segment.
    socket.write(
      Buffer.concat([
        Buffer.from(V1 + upgradeRequest()),
        Buffer.from('828400000000', 'hex'),
        Buffer.from('MQTT'),
      ]),
    );
    await expect.poll(() => started.accepted.length).toBe(1);
    expect(started.accepted[0]?.peer).toBe('192.0.2.7:4711');
    expect(await started.accepted[0]?.bytes(4)).toBe('MQTT');
  });

  test('plain HTTP is told to upgrade, or that there is nothing', async () => {
    const started = await ws();
    const base = `http://127.0.0.1:${started.listener.address.port}`;
    expect((await fetch(`${base}/mqtt`)).status).toBe(426);
    expect((await fetch(`${base}/x`)).status).toBe(404);
    await expect.poll(() => started.listener.connections).toBe(0);
  });

  test.each([
    ['another version', 426, { 'Sec-WebSocket-Version': '8' }],
    ['no version', 426, { 'Sec-WebSocket-Version': undefined }],
    ['no key', 400, { 'Sec-WebSocket-Key': undefined }],
    ['a key that is too short', 400, { 'Sec-WebSocket-Key': 'dGhl' }],
    ['another protocol than WebSocket', 400, { Upgrade: 'h2c' }],
  ] as [string, number, Record<string, string | undefined>][])(
    'an upgrade with %s is %i',
    async (_title, status, changed) => {
      const started = await ws();
      const socket = await dial(started);
      socket.write(upgradeRequest(changed));
      const [answer] = (await once(socket, 'data')) as [Buffer];
      expect(answer.toString()).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
      await closed(socket);
      expect(started.accepted).toEqual([]);
      expect(started.refusals).toMatchObject([
        { reason: 'websocket_upgrade', detail: String(status) },
      ]);
    },
  );

  test('compression that is offered is not taken', async () => {
    const started = await ws();
    const socket = await dial(started);
    const offer = { 'Sec-WebSocket-Extensions': 'permessage-deflate; client_max_window_bits' };
    socket.write(upgradeRequest(offer));
    const [answer] = (await once(socket, 'data')) as [Buffer];
    expect(answer.toString()).toMatch(/^HTTP\/1.1 101 /);
    expect(answer.toString()).not.toMatch(/extensions/i);
    // The key and its answer of RFC 6455 §1.3.
    expect(answer.toString()).toContain('Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n');
  });

  test('too large a header ends the connection', async () => {
    const started = await ws();
    const socket = await dial(started);
    socket.write(upgradeRequest({ 'X-Large': 'x'.repeat(9000) }));
    socket.resume();
    await closed(socket);
    expect(started.accepted).toEqual([]);
  });

  test('a socket without a finished upgrade is closed at its deadline', async () => {
    freezeTime();
    const started = await ws();
    const socket = await dial(started);
    const end = closed(socket);
    socket.write('GET /mqtt HTTP/1.1\r\nHost:');
    await until(() => started.listener.connections === 1);
    vi.advanceTimersByTime(CONNECT_TIMEOUT_MS);
    await end;
    expect(started.listener.connections).toBe(0);
  });

  test('rubbish instead of HTTP closes the connection, and others are served', async () => {
    const started = await ws();
    const socket = await dial(started);
    socket.write(Buffer.from([0x10, 0x0c, 0, 4, 0x4d]));
    socket.resume();
    await closed(socket);
    await once(new WebSocket(url(started), 'mqtt'), 'open');
  });
});
