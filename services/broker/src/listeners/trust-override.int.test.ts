import { once } from 'node:events';
import { connect, type TLSSocket } from 'node:tls';
import { isOperational } from '@sallyport/errors';
import { CertificateAuthority, type Issued, removeTempFolders } from '@sallyport/test-kit';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { openGate } from '../../test-support/gate.ts';
import type { AcceptedConnection, RunningListener } from './listener.ts';
import { startListener } from './start-listener.ts';
import { TlsCredentials } from './tls-credentials.ts';

let servers: CertificateAuthority;
let clients: CertificateAuthority;
let others: CertificateAuthority;
let server: Issued;
let device: Issued;

beforeAll(async () => {
  servers = await CertificateAuthority.create('/CN=Servers');
  clients = await CertificateAuthority.create('/CN=Clients');
  others = await CertificateAuthority.create('/CN=Others');
  server = await servers.issue({ subject: '/CN=localhost', use: 'server' });
  device = await clients.issue({ subject: '/CN=pump-7' });
});
afterAll(removeTempFolders);

const listeners: RunningListener[] = [];
const sockets: { destroy(): unknown }[] = [];
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  for (const listener of listeners.splice(0)) await listener[Symbol.asyncDispose]();
});

interface Started {
  readonly listener: RunningListener;
  readonly accepted: AcceptedConnection[];
}

async function start(kind: 'tls' | 'wss' = 'tls'): Promise<Started> {
  const accepted: AcceptedConnection[] = [];
  const tls = await TlsCredentials.open({
    certFile: server.certFile,
    keyFile: server.keyFile,
    clientCertificate: 'none',
    reloadMs: 3_600_000,
  });
  const listener = await startListener(
    {
      name: kind === 'tls' ? 'ssl:default' : 'wss:default',
      host: '127.0.0.1',
      port: 0,
      gate: openGate(),
      tls,
      ...(kind === 'wss' && { webSocket: { messageBytesMax: 1e6 } }),
    },
    (connection) => {
      accepted.push(connection);
      connection.stream.write('welcome');
    },
  );
  listeners.push(listener);
  return { listener, accepted };
}

/** The socket once the server has spoken, or undefined when it was refused; with TLS 1.3 a client learns that late. */
async function dial({ listener }: Started, issued?: Issued): Promise<TLSSocket | undefined> {
  const { cert, key } = issued ?? {};
  const socket = connect({
    port: listener.address.port,
    host: '127.0.0.1',
    servername: 'localhost',
    ca: [servers.cert, others.cert],
    ...(cert !== undefined && { cert, key }),
  });
  sockets.push(socket);
  const refused = new Promise<undefined>((resolve) => {
    socket.on('error', () => resolve(undefined));
    socket.on('close', () => resolve(undefined));
  });
  return Promise.race([once(socket, 'data').then(() => socket), refused]);
}

const required = () => ({ clientCertificate: 'required', authorities: clients.cert }) as const;

describe('what the log says of a TLS listener', () => {
  test('asks for certificates from then on, and does not disturb who is there', async () => {
    const started = await start();
    const before = await dial(started);
    started.listener.override(required());
    expect(await dial(started)).toBeUndefined();
    expect(await dial(started, await others.issue({ subject: '/CN=pump-7' }))).toBeUndefined();
    expect(await dial(started, device)).toBeDefined();
    expect(started.accepted.map(({ certificate }) => certificate?.subjectCn)).toEqual([
      undefined,
      'pump-7',
    ]);
    expect(before?.destroyed).toBe(false);
    started.listener.override(undefined);
    expect(await dial(started)).toBeDefined();
  });

  test('lets in whom an added authority vouches for, and locks out whom a removed one did', async () => {
    const started = await start();
    const other = await others.issue({ subject: '/CN=pump-8' });
    started.listener.override(required());
    expect(await dial(started, other)).toBeUndefined();
    started.listener.override({ ...required(), authorities: clients.cert + others.cert });
    expect(await dial(started, other)).toBeDefined();
    expect(await dial(started, device)).toBeDefined();
    started.listener.override({ ...required(), authorities: others.cert });
    expect(await dial(started, other)).toBeDefined();
    expect(await dial(started, device)).toBeUndefined();
  });

  test('locks out a certificate that was revoked', async () => {
    const started = await start();
    const revoked = await clients.issue({ subject: '/CN=pump-9' });
    started.listener.override(required());
    expect(await dial(started, revoked)).toBeDefined();
    await clients.revoke(revoked);
    started.listener.override({ ...required(), revocationLists: await clients.writeCrl() });
    expect(await dial(started, revoked)).toBeUndefined();
    expect(await dial(started, device)).toBeDefined();
  });

  test('shows another certificate, and the one of the files again', async () => {
    const started = await start();
    const next = await others.issue({ subject: '/CN=localhost', use: 'server' });
    const issuer = async () => (await dial(started))?.getPeerX509Certificate()?.issuer;
    expect(await issuer()).toBe('CN=Servers');
    const { cert, key } = next;
    started.listener.override({ clientCertificate: 'none', server: { certificate: cert, key } });
    expect(await issuer()).toBe('CN=Others');
    await started.listener.reload();
    expect(await issuer()).toBe('CN=Others');
    started.listener.override(undefined);
    expect(await issuer()).toBe('CN=Servers');
  });

  test('that cannot be used lets nobody in, until there is something that can', async () => {
    const started = await start();
    const before = await dial(started);
    const foreignKey = { certificate: server.cert, key: device.key };
    let failure: unknown;
    try {
      started.listener.override({ clientCertificate: 'none', server: foreignKey });
    } catch (error) {
      failure = error;
    }
    expect(isOperational(failure, 'config_invalid')).toBe(true);
    expect(await dial(started)).toBeUndefined();
    expect(before?.destroyed).toBe(false);
    started.listener.override(undefined);
    expect(await dial(started)).toBeDefined();
  });

  test('lets no web page in by the certificate of its visitor, unless pages are listed', async () => {
    const started = await start('wss');
    const { port } = started.listener.address;
    const opens = (options: object): Promise<boolean> => {
      const { cert, key } = device;
      const socket = new WebSocket(`wss://127.0.0.1:${port}/mqtt`, 'mqtt', {
        ...{ ca: servers.cert, servername: 'localhost', cert, key },
        ...options,
      });
      sockets.push({ destroy: () => socket.terminate() });
      return new Promise((resolve) => {
        socket.on('open', () => resolve(true));
        socket.on('error', () => resolve(false));
      });
    };
    const page = { origin: 'https://evil.example' };
    expect(await opens(page)).toBe(true);
    started.listener.override(required());
    expect(await opens(page)).toBe(false);
    expect(await opens({})).toBe(true);
  });
});
