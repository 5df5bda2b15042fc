import { X509Certificate } from 'node:crypto';
import { type EventEmitter, once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { loadConfig } from '@sallyport/config';
import {
  CertificateAuthority,
  freePort,
  type Issued,
  removeTempFolders,
} from '@sallyport/test-kit';
import { Type } from 'typebox';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { WebSocket } from 'ws';
import { checkMqttConfig, type MqttConfig, mqttSection } from '../config.ts';
import type { Refusal } from './connection-gate.ts';
import type { AcceptedConnection, RunningListener } from './listener.ts';
import { openListeners } from './open-listeners.ts';
import type { Braked } from './storm-brake.ts';

let authority: CertificateAuthority;
let server: Issued;

beforeAll(async () => {
  authority = await CertificateAuthority.create('/CN=Authority');
  server = await authority.issue({ subject: '/CN=localhost', use: 'server' });
});
afterAll(removeTempFolders);

const open: RunningListener[] = [];
const sockets: { destroy(): unknown }[] = [];
afterEach(async () => {
  vi.useRealTimers();
  for (const socket of sockets.splice(0)) socket.destroy();
  for (const listener of open.splice(0)) await listener[Symbol.asyncDispose]();
});

/** All four listeners on free ports, but for what is said. */
function configOf(keys: Readonly<Record<string, string>> = {}): MqttConfig {
  const all = {
    TCP__LISTEN: '127.0.0.1:0',
    TLS__LISTEN: '127.0.0.1:0',
    WS__LISTEN: '127.0.0.1:0',
    WSS__LISTEN: '127.0.0.1:0',
    TLS__CERT_FILE: server.certFile,
    TLS__KEY_FILE: server.keyFile,
    ...keys,
  };
  const env = Object.entries(all).map(([key, value]) => [`SALLYPORT_MQTT__${key}`, value]);
  const schema = Type.Object({ mqtt: mqttSection });
  const check = ({ mqtt }: { mqtt: MqttConfig }) => checkMqttConfig(mqtt);
  return loadConfig({ schema, env: Object.fromEntries(env), check }).mqtt;
}

interface Started {
  readonly accepted: AcceptedConnection[];
  readonly refusals: Refusal[];
  readonly ports: Readonly<Record<string, number>>;
}

async function start(config: MqttConfig): Promise<Started> {
  const accepted: AcceptedConnection[] = [];
  const refusals: Refusal[] = [];
  const listeners = await openListeners(config, {
    onConnection: (connection) => accepted.push(connection),
    onRefused: (refusal) => refusals.push(refusal),
  });
  open.push(...listeners);
  const ports = listeners.map(({ name, address }) => [name, address.port] as const);
  return { accepted, refusals, ports: Object.fromEntries(ports) };
}

/** Longer than one turn of the event loop may take for those who leave. */
const STORM_TURN_MS = 10;
const NAMES = ['tcp:default', 'ssl:default', 'ws:default', 'wss:default'];

test('tells of the certificate of each TLS listener, whether it is of the files or of the log', async () => {
  const notAfter = new Date(Date.now() + 5 * 86_400_000);
  const own = await authority.issue({ subject: '/CN=localhost', use: 'server', notAfter });
  const ends = new Map<string, number>();
  const listeners = await openListeners(configOf(), {
    onConnection: () => undefined,
    onCertificate: (listener, { validTo }) => ends.set(listener, validTo),
    trustOf: (listener) =>
      listener === 'ssl:default'
        ? { clientCertificate: 'none', server: { certificate: own.cert, key: own.key } }
        : undefined,
  });
  open.push(...listeners);
  const endOf = ({ cert }: Issued): number => Date.parse(new X509Certificate(cert).validTo);
  const secure = { 'ssl:default': endOf(own), 'wss:default': endOf(server) };
  expect(Object.fromEntries(ends)).toEqual(secure);
  for (const listener of listeners) listener.override(undefined);
  expect(Object.fromEntries(ends)).toEqual({ ...secure, 'ssl:default': endOf(server) });
});

/** Unlike `once` it does not mind an error. */
function happened<Outcome extends string>(
  emitter: EventEmitter,
  event: string,
  outcome: Outcome,
): Promise<Outcome> {
  return new Promise((resolve) => emitter.on(event, () => resolve(outcome)));
}

/** Opens what the listener expects, as far as it lets. */
async function dial(
  name: string,
  { ports, accepted }: Pick<Started, 'ports' | 'accepted'>,
  origin?: string,
): Promise<'open' | 'refused'> {
  const port = ports[name] ?? 0;
  if (name.startsWith('ws')) {
    const secure = name.startsWith('wss');
    const socket = new WebSocket(`${secure ? 'wss' : 'ws'}://127.0.0.1:${port}/mqtt`, 'mqtt', {
      ca: authority.cert,
      ...(origin !== undefined && { origin }),
    });
    sockets.push({ destroy: () => socket.terminate() });
    socket.on('error', () => undefined);
    return Promise.race([happened(socket, 'open', 'open'), happened(socket, 'close', 'refused')]);
  }
  const secure = name === 'ssl:default';
  const socket: Socket | TLSSocket = secure
    ? connectTls({ port, host: '127.0.0.1', ca: authority.cert })
    : connect(port, '127.0.0.1');
  sockets.push(socket);
  socket.on('error', () => undefined);
  const refused = happened(socket, 'close', 'refused');
  const first = await Promise.race([
    happened(socket, secure ? 'secureConnect' : 'connect', 'open'),
    refused,
  ]);
  if (first === 'refused') return first;
  // A socket is connected before the listener has looked at it.
  const ours = `127.0.0.1:${socket.localPort}`;
  while (!socket.closed) {
    if (accepted.some(({ peer }) => peer === ours)) return 'open';
    await new Promise((resolve) => setImmediate(resolve));
  }
  return refused;
}

/** Opens what the listener expects; the answer sends bytes. */
async function dialForBytes(name: string, port: number): Promise<(text: string) => void> {
  const secure = name === 'ssl:default' || name === 'wss:default';
  if (name.startsWith('ws')) {
    const url = `${secure ? 'wss' : 'ws'}://127.0.0.1:${port}/mqtt`;
    const socket = new WebSocket(url, 'mqtt', { ca: authority.cert });
    sockets.push({ destroy: () => socket.terminate() });
    await once(socket, 'open');
    return (text) => socket.send(Buffer.from(text));
  }
  const socket: Socket | TLSSocket = secure
    ? connectTls({ port, host: '127.0.0.1', ca: authority.cert })
    : connect(port, '127.0.0.1');
  sockets.push(socket);
  await once(socket, secure ? 'secureConnect' : 'connect');
  return (text) => void socket.write(text);
}

describe('the listeners of a node', () => {
  test('have the names that policies know, and tell what is secure', async () => {
    const started = await start(configOf());
    const { ports, accepted } = started;
    expect(Object.keys(ports)).toEqual(NAMES);
    for (const name of NAMES) expect(await dial(name, started)).toBe('open');
    await expect.poll(() => accepted.length).toBe(4);
    expect(accepted.map(({ listener, secure }) => [listener, secure])).toEqual([
      ['tcp:default', false],
      ['ssl:default', true],
      ['ws:default', false],
      ['wss:default', true],
    ]);
  });

  test('are those that are not off', async () => {
    const config = configOf({ TCP__LISTEN: 'off', WS__LISTEN: 'off', TLS__LISTEN: 'off' });
    expect(Object.keys((await start(config)).ports)).toEqual(['wss:default']);
  });

  test.each(NAMES)('A12: the limits of the node hold on %s', async (name) => {
    const limits = { CONNECTIONS_MAX: '4', UNAUTHENTICATED_PERCENT_MAX: '50' };
    const started = await start(configOf(limits));
    const { accepted, refusals } = started;
    const others = NAMES.filter((one) => one !== name);
    for (const other of others.slice(0, 2)) await dial(other, started);
    await expect.poll(() => accepted.length).toBe(2);
    expect(await dial(name, started)).toBe('refused');
    for (const connection of accepted) connection.authenticated();
    expect(await dial(name, started)).toBe('open');
    expect(await dial(name, started)).toBe('open');
    await expect.poll(() => accepted.length).toBe(4);
    for (const connection of accepted) connection.authenticated();
    expect(await dial(name, started)).toBe('refused');
    const reasons = refusals.map(({ reason, listener }) => [reason, listener]);
    expect(reasons).toEqual([
      ['unauthenticated_max', name],
      ['connections_max', name],
    ]);
  });

  test.each(NAMES)(
    'A12: the rate of a source holds on %s, from wherever it was used up',
    async (name) => {
      const rate = { CONNECTS_PER_SOURCE_PER_SECOND: '1', CONNECTS_PER_SOURCE_BURST: '3' };
      vi.useFakeTimers({ toFake: ['performance'] }); // No other permit comes while the connections do.
      const started = await start(configOf(rate));
      for (const other of NAMES.filter((one) => one !== name)) await dial(other, started);
      expect(await dial(name, started)).toBe('refused');
      expect(started.refusals).toMatchObject([{ reason: 'source_rate', listener: name }]);
    },
  );

  test('P12: origins hold on WS and WSS', async () => {
    const started = await start(configOf({ WS__ORIGINS_ALLOWED: 'https://a.example' }));
    for (const name of ['ws:default', 'wss:default']) {
      expect(await dial(name, started, 'https://b.example')).toBe('refused');
      expect(await dial(name, started, 'https://a.example')).toBe('open');
      expect(await dial(name, started)).toBe('open');
    }
  });

  test('are all left unread in a storm of leaving clients, and lose nothing', async () => {
    const brakes: Braked[] = [];
    const accepted: AcceptedConnection[] = [];
    const heard = new Map<string, string>();
    let released = false;
    const listeners = await openListeners(configOf({ LEAVING_STORM__LEAVES_MIN: '2' }), {
      onConnection: (connection) => {
        const { listener, stream } = connection;
        accepted.push(connection);
        stream.on('data', (chunk: Buffer) => {
          heard.set(listener, (heard.get(listener) ?? '') + chunk.toString());
        });
      },
      onBrake: (_cause, braked) => brakes.push(braked),
      onReleased: () => (released = true),
    });
    open.push(...listeners);
    const clients = await Promise.all(
      listeners.map(({ name, address }) => dialForBytes(name, address.port)),
    );
    await expect.poll(() => accepted.length).toBe(4);
    for (const send of clients) send('before ');
    await expect
      .poll(() => [...heard.values()].filter((text) => text === 'before ').length)
      .toBe(4);
    accepted[0]?.leaving();
    const started = performance.now();
    while (performance.now() - started < STORM_TURN_MS);
    accepted[0]?.leaving();
    for (const send of clients) send('during ');
    await expect.poll(() => released).toBe(true);
    expect(brakes).toEqual([{ sockets: 4, clients: 2, first: true }]);
    for (const send of clients) send('after');
    await expect
      .poll(() => Object.fromEntries(heard))
      .toEqual(Object.fromEntries(NAMES.map((name) => [name, 'before during after'])));
  });

  test('are all closed when one of them cannot be opened', async () => {
    const blocker = createServer().listen(0, '127.0.0.1');
    await once(blocker, 'listening');
    const taken = blocker.address();
    if (taken === null || typeof taken === 'string') throw new Error('no address');
    const port = await freePort();
    const config = configOf({
      TCP__LISTEN: `127.0.0.1:${port}`,
      WSS__LISTEN: `127.0.0.1:${taken.port}`,
    });
    await expect(start(config)).rejects.toMatchObject({ code: 'config_invalid' });
    blocker.close();
    expect(await dial('tcp:default', { ports: { 'tcp:default': port }, accepted: [] })).toBe(
      'refused',
    );
  });

  test('are not opened when a certificate cannot be used', async () => {
    const port = await freePort();
    const keyFile = (await authority.issue({ subject: '/CN=other' })).keyFile;
    const config = configOf({ TCP__LISTEN: `127.0.0.1:${port}`, TLS__KEY_FILE: keyFile });
    await expect(start(config)).rejects.toMatchObject({ code: 'config_invalid' });
    expect(await dial('tcp:default', { ports: { 'tcp:default': port }, accepted: [] })).toBe(
      'refused',
    );
  });
});
