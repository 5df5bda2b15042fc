import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { WebSocket } from 'ws';
import type { AcceptedConnection, ListenerOptions, RunningListener } from './listener.ts';
import { PROXY_HEADER_TIMEOUT_MS } from './proxy-protocol.ts';
import { startTcpListener } from './tcp-listener.ts';
import { startWsListener, UPGRADE_TIMEOUT_MS, type WsListenerOptions } from './ws-listener.ts';

const open: (RunningListener | Socket)[] = [];
afterEach(async () => {
  vi.useRealTimers();
  for (const one of open.splice(0)) {
    if ('destroy' in one) one.destroy();
    else await one[Symbol.asyncDispose]();
  }
});

interface Accepted extends AcceptedConnection {
  /** Everything read so far, once it is as long as this. */
  bytes(length: number): Promise<string>;
}

interface Started {
  readonly listener: RunningListener;
  readonly accepted: Accepted[];
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
      ...connection,
      bytes: async (length) => {
        while (data.length < length) await once(connection.stream, 'readable');
        return data.toString('latin1');
      },
    });
  };
}

const defaults = { host: '127.0.0.1', port: 0, connectionsMax: 10 };

async function tcp(options: Partial<ListenerOptions> = {}): Promise<Started> {
  const accepted: Accepted[] = [];
  const listener = await startTcpListener(
    { ...defaults, name: 'tcp:default', ...options },
    collector(accepted),
  );
  open.push(listener);
  return { listener, accepted };
}

async function ws(options: Partial<WsListenerOptions> = {}): Promise<Started> {
  const accepted: Accepted[] = [];
  const listener = await startWsListener(
    { ...defaults, name: 'ws:default', ...options },
    collector(accepted),
  );
  open.push(listener);
  return { listener, accepted };
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

describe('the TCP listener', () => {
  test('hands over the stream, its listener and its peer', async () => {
    const started = await tcp();
    const socket = await dial(started);
    socket.write('MQTT');
    await expect.poll(() => started.accepted.length).toBe(1);
    const [connection] = started.accepted;
    expect(connection).toMatchObject({
      listener: 'tcp:default',
      peer: `127.0.0.1:${localPort(socket)}`,
    });
    expect(await connection?.bytes(4)).toBe('MQTT');
  });

  test('the connection past the limit is closed at once, and a free place is used', async () => {
    const started = await tcp({ connectionsMax: 2 });
    const [first] = [await dial(started), await dial(started)];
    await expect.poll(() => started.listener.connections).toBe(2);
    const third = await dial(started);
    await closed(third);
    expect(started.accepted).toHaveLength(2);
    first.destroy();
    await expect.poll(() => started.listener.connections).toBe(1);
    await dial(started);
    await expect.poll(() => started.accepted.length).toBe(3);
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
  });

  test('a truncated header is closed at its deadline, and not before', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const started = await tcp({ proxyFrom: ['127.0.0.1'] });
    const socket = await dial(started);
    let isClosed = false;
    const end = closed(socket).then(() => (isClosed = true));
    socket.write(V1.slice(0, 20));
    while (started.listener.connections === 0) await new Promise((go) => setImmediate(go));
    vi.advanceTimersByTime(PROXY_HEADER_TIMEOUT_MS - 1);
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
      expect(connection?.listener).toBe('ws:default');
      expect(connection?.peer).toMatch(/^127\.0\.0\.1:[0-9]+$/);
      const answer = once(socket, 'message');
      connection?.stream.write('back');
      expect(((await answer) as [Buffer])[0].toString()).toBe('back');
      const closed = once(socket, 'close');
      connection?.stream.destroy();
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
    started.accepted[0]?.stream.on('data', (chunk: Buffer) => (read += chunk.length));
    socket.send('text');
    await once(socket, 'close');
    expect(read).toBe(0);
  });

  test('a message of the limit is read, one byte more ends the connection', async () => {
    const started = await ws({ payloadBytesMax: 1000 });
    const socket = new WebSocket(url(started), 'mqtt');
    await once(socket, 'open');
    socket.send(Buffer.alloc(1000));
    expect(await started.accepted[0]?.bytes(1000)).toHaveLength(1000);
    socket.send(Buffer.alloc(1001));
    const [code] = (await once(socket, 'close')) as [number];
    expect(code).toBe(1009);
  });

  test('a PROXY header before the upgrade gives the peer, bytes behind it are not lost', async () => {
    const started = await ws({ proxyFrom: ['127.0.0.1'] });
    const socket = await dial(started);
    const request = [
      'GET /mqtt HTTP/1.1',
      'Host: x',
      'Connection: Upgrade',
      'Upgrade: websocket',
      'Sec-WebSocket-Version: 13',
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
      'Sec-WebSocket-Protocol: mqtt',
      '\r\n',
    ].join('\r\n');
    // A masked binary frame with the payload "MQTT", mask 0, in the same segment.
    socket.write(
      Buffer.concat([
        Buffer.from(V1 + request),
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

  test('a socket without a finished upgrade is closed at its deadline', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const started = await ws();
    const socket = await dial(started);
    const end = closed(socket);
    socket.write('GET /mqtt HTTP/1.1\r\nHost:');
    while (started.listener.connections === 0) await new Promise((go) => setImmediate(go));
    vi.advanceTimersByTime(UPGRADE_TIMEOUT_MS);
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
