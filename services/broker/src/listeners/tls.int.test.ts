import { createHash, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import {
  appendFileSync,
  copyFileSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { stat } from 'node:fs/promises';
import { type AddressInfo, connect as connectTcp, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls';
import type { OperationalError } from '@sallyport/errors';
import {
  CertificateAuthority,
  type Issued,
  removeTempFolders,
  tempFolder,
} from '@sallyport/test-kit';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { WebSocket } from 'ws';
import { openGate } from '../../test-support/gate.ts';
import type { Refusal } from './connection-gate.ts';
import type { AcceptedConnection, RunningListener } from './listener.ts';
import { startListener } from './start-listener.ts';
import { TlsAcceptor } from './tls-acceptor.ts';
import {
  type ClientCertificateMode,
  TlsCredentials,
  type TlsCredentialsOptions,
} from './tls-credentials.ts';

const TRANSPORTS = ['TLS', 'WSS'] as const;
type Transport = (typeof TRANSPORTS)[number];
const PEER = /^127\.0\.0\.1:\d+$/;
const DAY_MS = 86_400_000;

let serverAuthority: CertificateAuthority;
/** The one that clients are trusted by. */
let root: CertificateAuthority;
let factory: CertificateAuthority;
let foreign: CertificateAuthority;
let files: { certFile: string; keyFile: string; caFile: string };
const clients = new Map<string, Issued | undefined>();

beforeAll(async () => {
  serverAuthority = await CertificateAuthority.create('/CN=Servers');
  root = await CertificateAuthority.create('/O=Plant/CN=Plant Root');
  factory = await CertificateAuthority.create('/O=Plant/CN=Plant Factory', root);
  foreign = await CertificateAuthority.create('/O=Plant/CN=Plant Root');
  const server = await serverAuthority.issue({ subject: '/CN=localhost', use: 'server' });
  files = { certFile: server.certFile, keyFile: server.keyFile, caFile: root.certFile };
  const subject = '/O=Plant/OU=Pumps/CN=pump-7';
  const past = new Date(Date.now() - DAY_MS);
  const future = new Date(Date.now() + DAY_MS);
  const long = new Date(Date.now() - 10 * DAY_MS);
  clients.set('of the right authority', await root.issue({ subject }));
  clients.set('none', undefined);
  clients.set('of another authority', await serverAuthority.issue({ subject }));
  clients.set('of another authority with the same name', await foreign.issue({ subject }));
  clients.set('self-signed', await CertificateAuthority.selfSigned(subject));
  clients.set('expired', await root.issue({ subject, notBefore: long, notAfter: past }));
  clients.set('not yet valid', await root.issue({ subject, notBefore: future }));
  clients.set('for servers', await root.issue({ subject, use: 'server' }));
  clients.set('of a weak key', await root.issue({ subject, key: 'RSA-1024' }));
  const revoked = await root.issue({ subject });
  await root.revoke(revoked);
  clients.set('revoked', revoked);
  await root.writeCrl();
  await factory.writeCrl();
});
afterAll(removeTempFolders);

const open: AsyncDisposable[] = [];
const sockets: { destroy(): unknown }[] = [];
afterEach(async () => {
  vi.useRealTimers();
  for (const socket of sockets.splice(0)) socket.destroy();
  for (const one of open.splice(0)) await one[Symbol.asyncDispose]();
});

interface Started {
  readonly transport: Transport;
  readonly listener: RunningListener;
  readonly credentials: TlsCredentials;
  readonly accepted: AcceptedConnection[];
  readonly refusals: Refusal[];
  readonly problems: OperationalError[];
  readonly port: number;
}

async function start(
  transport: Transport,
  options: Partial<TlsCredentialsOptions> & {
    proxyFrom?: readonly string[];
    connectTimeoutMs?: number;
  } = {},
): Promise<Started> {
  const accepted: AcceptedConnection[] = [];
  const refusals: Refusal[] = [];
  const problems: OperationalError[] = [];
  const { proxyFrom, connectTimeoutMs = 10_000, ...tlsOptions } = options;
  const credentials = await TlsCredentials.open({
    ...files,
    clientCertificate: 'none',
    reloadMs: 20,
    onProblem: (problem) => problems.push(problem),
    ...tlsOptions,
  });
  const listener = await startListener(
    {
      name: transport === 'TLS' ? 'ssl:default' : 'wss:default',
      host: '127.0.0.1',
      port: 0,
      gate: openGate({ connectTimeoutMs }, (refusal) => refusals.push(refusal)),
      tls: credentials,
      ...(transport === 'WSS' && { webSocket: { messageBytesMax: 1e6 } }),
      ...(proxyFrom !== undefined && { proxyFrom }),
    },
    (connection) => {
      accepted.push(connection);
      connection.stream.write('welcome');
    },
  );
  open.push(listener);
  const { port } = listener.address;
  return { transport, listener, credentials, accepted, refusals, problems, port };
}

function tcp(port: number): Socket {
  const socket = connectTcp(port, '127.0.0.1');
  socket.on('error', () => undefined);
  sockets.push(socket);
  return socket;
}

interface Client {
  /** Of our end. */
  readonly peer: string;
  send(bytes: string): void;
  /** The next bytes of the server, or how it ended. */
  received(): Promise<string>;
  readonly certificateSerial: string | undefined;
}

/** Connects, and for WSS upgrades. Rejects when it comes to nothing. */
async function dial(
  { transport, port }: Pick<Started, 'transport' | 'port'>,
  options: ConnectionOptions = {},
): Promise<Client> {
  const tls: ConnectionOptions = { ca: serverAuthority.cert, servername: 'localhost', ...options };
  if (transport === 'TLS') {
    const socket = connect({ port, host: '127.0.0.1', ...tls });
    sockets.push(socket);
    const ended = new Promise<string>((resolve) => {
      socket.on('error', (error: Error & { code?: string }) =>
        resolve(`error ${error.code ?? ''}`),
      );
      socket.on('close', () => resolve('closed'));
    });
    const first = await Promise.race([once(socket, 'secureConnect').then(() => 'open'), ended]);
    if (first !== 'open') throw new Error(first);
    const data = new Promise<string>((resolve) =>
      socket.on('data', (chunk: Buffer) => resolve(chunk.toString())),
    );
    return {
      peer: `127.0.0.1:${socket.localPort ?? 0}`,
      send: (bytes) => void socket.write(bytes),
      received: () => Promise.race([data, ended]),
      certificateSerial: socket.getPeerX509Certificate()?.serialNumber,
    };
  }
  const webSocket = new WebSocket(`wss://127.0.0.1:${port}/mqtt`, 'mqtt', tls);
  sockets.push({ destroy: () => webSocket.terminate() });
  const ended = new Promise<string>((resolve) => {
    webSocket.on('error', (error) => resolve(`error ${error.message}`));
    webSocket.on('close', () => resolve('closed'));
  });
  let serial: string | undefined;
  let ownPort = 0;
  webSocket.on('upgrade', ({ socket }) => {
    ownPort = socket.localPort ?? 0;
    serial = (socket as TLSSocket).getPeerX509Certificate()?.serialNumber;
  });
  const data = new Promise<string>((resolve) =>
    webSocket.on('message', (message: Buffer) => resolve(message.toString())),
  );
  const first = await Promise.race([once(webSocket, 'open').then(() => 'open'), ended]);
  if (first !== 'open') throw new Error(first);
  return {
    peer: `127.0.0.1:${ownPort}`,
    send: (bytes) => webSocket.send(Buffer.from(bytes)),
    received: () => Promise.race([data, ended]),
    certificateSerial: serial,
  };
}

const identity = (issued: Issued | undefined): ConnectionOptions =>
  issued === undefined ? {} : { cert: issued.cert, key: issued.key };

/** With TLS 1.3 a client learns of the refusal after its own handshake. */
async function isRefused(started: Started, options: ConnectionOptions): Promise<boolean> {
  try {
    const client = await dial(started, options);
    return (await client.received()) !== 'welcome';
  } catch {
    return true;
  }
}

const MODES: readonly ClientCertificateMode[] = ['none', 'optional', 'required'];
const BAD = {
  'of another authority': /UNABLE_TO_GET_ISSUER_CERT|SELF_SIGNED_CERT_IN_CHAIN/,
  'of another authority with the same name': /CERT_SIGNATURE_FAILURE|UNABLE_TO|SELF_SIGNED/,
  'self-signed': /DEPTH_ZERO_SELF_SIGNED_CERT/,
  expired: /CERT_HAS_EXPIRED/,
  'not yet valid': /CERT_NOT_YET_VALID/,
  'for servers': /INVALID_PURPOSE/,
  revoked: /CERT_REVOKED/,
  'of a weak key': /./,
} as const;

describe.each(TRANSPORTS)('client certificates over %s', (transport) => {
  describe.each(['TLSv1.2', 'TLSv1.3'] as const)('with %s', (version) => {
    const versions = { minVersion: version, maxVersion: version } as const;

    describe.each(MODES)('when they are %s', (clientCertificate) => {
      const mode = (withCrl = false): Promise<Started> =>
        start(transport, { clientCertificate, ...(withCrl && { crlFile: root.crlFile }) });

      test.each(Object.entries(BAD))('one %s', async (title, detail) => {
        const started = await mode(title === 'revoked');
        const refused = await isRefused(started, { ...identity(clients.get(title)), ...versions });
        if (clientCertificate === 'none') {
          expect(refused).toBe(false);
          expect(started.accepted[0]?.certificate).toBeUndefined();
          return;
        }
        expect(refused).toBe(true);
        expect(started.accepted).toEqual([]);
        await expect.poll(() => started.refusals.length).toBe(1);
        if (title !== 'of a weak key') {
          expect(started.refusals[0]?.reason).toBe('client_certificate');
        }
        expect(started.refusals[0]?.detail).toMatch(detail);
        expect(started.refusals[0]?.peer).toMatch(PEER);
        await expect.poll(() => started.listener.connections).toBe(0);
      });

      test('none at all', async () => {
        const started = await mode();
        const refused = await isRefused(started, versions);
        expect(refused).toBe(clientCertificate === 'required');
        if (refused) {
          expect(started.accepted).toEqual([]);
          expect(started.refusals).toMatchObject([
            {
              reason: 'client_certificate',
              detail: 'MISSING',
              peer: expect.stringMatching(PEER) as string,
            },
          ]);
        } else {
          expect(started.accepted[0]).toMatchObject({ secure: true });
          expect(started.accepted[0]?.certificate).toBeUndefined();
        }
      });

      test('one of the right authority', async () => {
        const started = await mode(true);
        const good = clients.get('of the right authority');
        expect(await isRefused(started, { ...identity(good), ...versions })).toBe(false);
        const { certificate } = started.accepted[0] ?? {};
        if (clientCertificate === 'none') expect(certificate).toBeUndefined();
        else expect(certificate?.subjectCn).toBe('pump-7');
      });
    });
  });
});

/** The certificate that the listener handed on for a client with this one, or why it refused it. */
async function seen(
  issued: Issued,
  options: Partial<TlsCredentialsOptions> = {},
): Promise<AcceptedConnection['certificate'] | string> {
  const started = await start('TLS', { clientCertificate: 'required', ...options });
  await isRefused(started, identity(issued));
  await expect.poll(() => started.accepted.length + started.refusals.length).toBe(1);
  return started.refusals[0]?.detail ?? started.accepted[0]?.certificate;
}

describe('what is known of a client certificate', () => {
  test.each(TRANSPORTS)(
    'over %s: name, issuer, fingerprint, serial number, end, chain',
    async (transport) => {
      const issued = await factory.issue({ subject: '/C=DE/O=Plant/OU=Pumps/CN=pump-7' });
      const started = await start(transport, { clientCertificate: 'optional' });
      const chain = { cert: issued.cert + factory.cert, key: issued.key };
      expect(await (await dial(started, chain)).received()).toBe('welcome');
      const certificate = new X509Certificate(issued.cert);
      expect(started.accepted[0]?.secure).toBe(true);
      expect(started.accepted[0]?.certificate).toEqual({
        subjectCn: 'pump-7',
        subjectDn: 'CN=pump-7,OU=Pumps,O=Plant,C=DE',
        issuerDn: 'CN=Plant Factory,O=Plant',
        fingerprintSha256: createHash('sha256').update(certificate.raw).digest('hex'),
        serialNumber: certificate.serialNumber,
        validTo: Date.parse(certificate.validTo),
        chainCns: ['pump-7', 'Plant Factory', 'Plant Root'],
      });
    },
  );

  test('the intermediate may be in our bundle instead of the handshake', async () => {
    const caFile = join(tempFolder('bundle'), 'bundle.pem');
    writeFileSync(caFile, `${foreign.cert}${factory.cert}\n# the root\n${root.cert}`);
    const issued = await factory.issue({ subject: '/CN=pump-7' });
    expect(await seen(issued, { caFile })).toMatchObject({
      chainCns: ['pump-7', 'Plant Factory', 'Plant Root'],
    });
    expect(await seen(issued)).toMatch(/UNABLE_TO/);
  });

  test('names that were only sent along are not in the chain', async () => {
    const issued = await root.issue({ subject: '/CN=pump-7' });
    const boss = await CertificateAuthority.create('/CN=Administrators');
    // Named like our root, and even with its key: only that nobody of ours has signed it.
    const likeRoot = await CertificateAuthority.create('/O=Plant/CN=Plant Root', boss);
    const ofRoot = await boss.issue({
      subject: '/O=Plant/CN=Plant Root',
      use: 'authority',
      keyPem: root.key,
    });
    for (const sent of [likeRoot.cert + boss.cert, ofRoot.cert + boss.cert, boss.cert]) {
      const certificate = await seen({ ...issued, cert: issued.cert + sent });
      expect(certificate).toMatchObject({ chainCns: ['pump-7', 'Plant Root'] });
    }
  });

  test('a certificate that is signed by a client is refused', async () => {
    const client = await root.issue({ subject: '/CN=pump-7' });
    const signedByClient = await CertificateAuthority.of(client).issue({ subject: '/CN=pump-8' });
    const cert = signedByClient.cert + client.cert;
    expect(await seen({ ...signedByClient, cert })).toMatch(
      /UNSPECIFIED|UNABLE_TO|INVALID_PURPOSE/, // Node has no name for "invalid CA".
    );
  });

  test.each([
    ['two names', '/CN=pump-7/CN=admin', 'SUBJECT_AMBIGUOUS'],
    ['two names in one part', '/O=Plant/CN=pump-7+CN=admin', 'SUBJECT_AMBIGUOUS'],
  ])('%s are refused', async (_title, subject, detail) => {
    expect(await seen(await root.issue({ subject }))).toBe(detail);
  });

  test.each([
    ['NUL', '\0'],
    ['a line feed', '\n'],
    ['a carriage return', '\r'],
    ['DEL', '\x7f'],
  ])('%s in a name is refused', async (_title, character) => {
    const issued = await root.issue({ subject: '/O=Plant/CN=admin_pump' });
    const forged = root.forge(issued, (part) => {
      part.write(character, part.indexOf('admin_pump') + 'admin'.length, 'latin1');
      return part;
    });
    expect(await seen(forged)).toBe('SUBJECT_NOT_TEXT');
  });

  test.each([
    ['/O=Plant', '', 'O=Plant'],
    ['/CN=a,b\\/CN\\=admin', 'a,b/CN=admin', 'CN=a\\,b/CN=admin'],
    ['/CN=a \\+ CN\\=admin', 'a + CN=admin', 'CN=a \\+ CN=admin'],
    ['/CN=Pümpe ☃', 'Pümpe ☃', 'CN=Pümpe ☃'],
    ['/O=x+OU=y/CN=pump-7', 'pump-7', 'CN=pump-7,O=x + OU=y'],
    ['/O=CN=admin/CN=pump-7', 'pump-7', 'CN=pump-7,O=CN=admin'],
  ])('%s has the name %j', async (subject, subjectCn, subjectDn) => {
    const certificate = await seen(await root.issue({ subject }));
    expect(certificate).toMatchObject({ subjectCn, subjectDn });
  });
});

describe.each(TRANSPORTS)('the handshake over %s', (transport) => {
  const refusedWith = async (options: ConnectionOptions): Promise<Refusal | undefined> => {
    const started = await start(transport);
    await expect(dial(started, options)).rejects.toThrow();
    await expect.poll(() => started.refusals.length).toBe(1);
    expect(started.accepted).toEqual([]);
    expect(started.refusals[0]?.peer).toMatch(PEER);
    return started.refusals[0];
  };

  test.each(['TLSv1', 'TLSv1.1'] as const)('%s is refused', async (version) => {
    const options = { minVersion: version, maxVersion: version, ciphers: 'ALL:@SECLEVEL=0' };
    expect(await refusedWith(options)).toMatchObject({
      reason: 'tls_handshake',
      detail: 'ERR_SSL_UNSUPPORTED_PROTOCOL',
    });
  });

  test.each([
    'ECDHE-ECDSA-AES128-SHA256',
    'ECDHE-ECDSA-AES256-SHA',
    'AES128-GCM-SHA256',
    'DHE-RSA-AES128-GCM-SHA256',
    'ECDHE-ECDSA-AES128-CCM',
  ])('%s is refused', async (ciphers) => {
    expect(await refusedWith({ maxVersion: 'TLSv1.2', ciphers })).toMatchObject({
      reason: 'tls_handshake',
      detail: 'ERR_SSL_NO_SHARED_CIPHER',
    });
  });

  test('1.3 is preferred, and 1.2 is there', async () => {
    const started = await start(transport);
    const version = async (options: ConnectionOptions): Promise<string | null> => {
      const socket = connect({ port: started.port, ca: serverAuthority.cert, ...options });
      sockets.push(socket);
      await once(socket, 'secureConnect');
      return socket.getProtocol();
    };
    expect(await version({})).toBe('TLSv1.3');
    expect(await version({ maxVersion: 'TLSv1.2' })).toBe('TLSv1.2');
  });

  test('plain bytes on its port are refused, and others are served', async () => {
    const started = await start(transport);
    const socket = tcp(started.port);
    socket.write('GET /mqtt HTTP/1.1\r\nHost: x\r\n\r\n');
    await once(socket.resume(), 'close');
    await expect.poll(() => started.refusals).toMatchObject([{ reason: 'tls_handshake' }]);
    expect(started.refusals[0]?.peer).toMatch(PEER);
    await dial(started);
  });

  test('a client that goes in the middle leaves nothing behind', async () => {
    const started = await start(transport);
    const socket = tcp(started.port);
    socket.write(Buffer.from('16030100', 'hex'));
    await expect.poll(() => started.listener.connections).toBe(1);
    socket.resetAndDestroy();
    await expect.poll(() => started.listener.connections).toBe(0);
    await expect.poll(() => started.refusals).toMatchObject([{ reason: 'tls_handshake' }]);
    expect(started.refusals[0]?.peer).toMatch(PEER);
  });

  test('one that is not finished is cut at the deadline', async () => {
    const started = await start(transport, { connectTimeoutMs: 300 });
    const begin = performance.now();
    const socket = tcp(started.port);
    socket.write(Buffer.from('16030100', 'hex'));
    await once(socket.resume(), 'close');
    expect(performance.now() - begin).toBeGreaterThan(290);
    await expect.poll(() => started.listener.connections).toBe(0);
    expect(started.refusals).toMatchObject([
      { reason: 'connect_timeout', peer: expect.anything() as string },
    ]);
  });

  test('that comes to nothing is forgotten, whatever it is', async () => {
    const credentials = await TlsCredentials.open({
      ...files,
      clientCertificate: 'none',
      reloadMs: 1000,
    });
    const failures: string[] = [];
    const acceptor = new TlsAcceptor<{ shakingKey: string | undefined }>(credentials, {
      onBegun: () => undefined,
      onSecure: (_connection, socket) => void socket.destroy(),
      onFailure: (_connection, reason) => void failures.push(reason),
    });
    const server = createServer((socket) => {
      const connection = { shakingKey: undefined };
      socket.on('error', () => undefined);
      socket.on('close', () => acceptor.forget(connection));
      acceptor.accept(connection, socket);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const ends = [
      (socket: Socket) => socket.resetAndDestroy(),
      (socket: Socket) => socket.destroy(),
      (socket: Socket) => socket.end(Buffer.from('16030100', 'hex')),
      (socket: Socket) => socket.write('no TLS at all, but long enough'),
    ];
    for (let turn = 0; turn < 40; turn++) {
      const socket = tcp(port);
      await once(socket, 'connect');
      ends[turn % ends.length]?.(socket);
    }
    await expect.poll(() => failures.length).toBe(40);
    expect(acceptor.shaking).toBe(0);
    acceptor.close();
    server.close();
  });

  test('renegotiation is refused', async () => {
    const started = await start('TLS');
    const socket = connect({ port: started.port, ca: serverAuthority.cert, maxVersion: 'TLSv1.2' });
    sockets.push(socket);
    await once(socket, 'secureConnect');
    const outcome = new Promise<string>((resolve) => {
      socket.on('error', () => resolve('refused'));
      socket.on('close', () => resolve('refused'));
      socket.renegotiate({ rejectUnauthorized: false }, (error) =>
        resolve(error ? 'refused' : 'done'),
      );
    });
    expect(await outcome).toBe('refused');
  });

  test('many at once are not mixed up', async () => {
    const started = await start(transport, { clientCertificate: 'required' });
    const issued: Issued[] = [];
    for (let number = 0; number < 8; number++) {
      issued.push(await root.issue({ subject: `/CN=pump-${number}` }));
    }
    const rounds = Array.from({ length: 96 }, (_, index) => index % issued.length);
    const dialed = await Promise.all(
      rounds.map(async (number) => {
        const client = await dial(started, identity(issued[number]));
        return [client.peer, `pump-${number}`] as const;
      }),
    );
    await expect.poll(() => started.accepted.length).toBe(rounds.length);
    const got = started.accepted.map(({ peer, certificate }) => [peer, certificate?.subjectCn]);
    expect(Object.fromEntries(got)).toEqual(Object.fromEntries(dialed));
  });
});

describe('session tickets', () => {
  /** Connects twice; whether the second time went by the ticket of the first. */
  const resumes = async (
    started: Started,
    between: () => Promise<void>,
    options = {},
  ): Promise<boolean> => {
    const connectOnce = async (session?: Buffer): Promise<{ session: Buffer; reused: boolean }> => {
      const socket = connect({
        port: started.port,
        ca: serverAuthority.cert,
        ...options,
        ...(session !== undefined && { session }),
      });
      sockets.push(socket);
      const given = new Promise<Buffer>((resolve) => socket.on('session', resolve));
      await once(socket, 'data'); // Behind it the tickets are there, if there are any.
      const none = new Promise<Buffer>((resolve) => setTimeout(() => resolve(Buffer.alloc(0)), 50));
      return { session: await Promise.race([given, none]), reused: socket.isSessionReused() };
    };
    const first = await connectOnce();
    await between();
    return (await connectOnce(first.session.length > 0 ? first.session : undefined)).reused;
  };
  const nothing = async (): Promise<void> => undefined;

  test.each(['TLSv1.2', 'TLSv1.3'] as const)(
    '%s resume where nobody shows a certificate',
    async (maxVersion) => {
      const started = await start('TLS');
      expect(await resumes(started, nothing, { maxVersion })).toBe(true);
    },
  );

  test('end with a reload', async () => {
    const started = await start('TLS');
    expect(await resumes(started, () => started.credentials.reload())).toBe(false);
  });

  test.each(['TLSv1.2', 'TLSv1.3'] as const)(
    '%s are not given to clients with certificates: chain and revocation are looked at each time',
    async (maxVersion) => {
      const started = await start('TLS', { clientCertificate: 'optional' });
      const client = identity(clients.get('of the right authority'));
      expect(await resumes(started, nothing, { ...client, maxVersion })).toBe(false);
      expect(started.accepted.map(({ certificate }) => certificate?.chainCns)).toEqual([
        ['pump-7', 'Plant Root'],
        ['pump-7', 'Plant Root'],
      ]);
    },
  );
});

describe('revocation lists', () => {
  test('of every authority in the chain are needed', async () => {
    const client = await factory.issue({ subject: '/CN=pump-7' });
    const chain = { ...client, cert: client.cert + factory.cert };
    const crlFile = join(tempFolder('lists'), 'crl.pem');
    const [ofRoot, ofFactory] = [await root.writeCrl(), await factory.writeCrl()];
    writeFileSync(crlFile, ofRoot);
    expect(await seen(chain, { crlFile })).toBe('UNABLE_TO_GET_CRL');
    writeFileSync(crlFile, ofRoot + ofFactory);
    expect(await seen(chain, { crlFile })).toMatchObject({ subjectCn: 'pump-7' });
    writeFileSync(crlFile, ofFactory + ofRoot);
    expect(await seen(chain, { crlFile })).toMatchObject({ subjectCn: 'pump-7' });
  });

  test('that are out of date let nobody in', async () => {
    const own = await CertificateAuthority.create('/CN=Own');
    const client = await own.issue({ subject: '/CN=pump-7' });
    await own.writeCrl(1);
    const options = { caFile: own.certFile, crlFile: own.crlFile };
    await new Promise((resolve) => setTimeout(resolve, 2100));
    expect(await seen(client, options)).toBe('CRL_HAS_EXPIRED');
  });
});

describe.each(TRANSPORTS)('certificate files that change under %s', (transport) => {
  /** Files of its own, to be changed. */
  const own = async (): Promise<Started & { files: typeof files }> => {
    const folder = tempFolder('own');
    const [certFile, keyFile, caFile] = ['cert.pem', 'key.pem', 'ca.pem'].map((name) =>
      join(folder, name),
    ) as [string, string, string]; // Three names.
    const mine = { certFile, keyFile, caFile };
    copyFileSync(files.certFile, certFile);
    copyFileSync(files.keyFile, keyFile);
    copyFileSync(files.caFile, caFile);
    const started = await start(transport, { ...mine, clientCertificate: 'optional' });
    return { ...started, files: mine };
  };
  const serialOf = ({ cert }: { cert: string }): string => new X509Certificate(cert).serialNumber;
  const newServer = (): Promise<Issued> =>
    serverAuthority.issue({ subject: '/CN=localhost', use: 'server' });
  const serial = async (started: Started): Promise<string | undefined> =>
    (await dial(started)).certificateSerial;

  test('hold for new handshakes, and open connections go on', async () => {
    const started = await own();
    const before = await dial(started);
    const next = await newServer();
    writeFileSync(started.files.certFile, next.cert);
    writeFileSync(started.files.keyFile, next.key);
    await expect.poll(() => serial(started)).toBe(serialOf(next));
    expect(before.certificateSerial).not.toBe(serialOf(next));
    expect(await before.received()).toBe('welcome');
    before.send('still here');
    await expect.poll(() => String(started.accepted[0]?.stream.read())).toBe('still here');
    expect(started.problems).toEqual([]);
  });

  test('by renaming, as tools do, are seen', async () => {
    const started = await own();
    const next = await newServer();
    for (const [file, text] of [
      [started.files.certFile, next.cert],
      [started.files.keyFile, next.key],
    ] as const) {
      writeFileSync(`${file}.new`, text);
      renameSync(`${file}.new`, file);
    }
    await expect.poll(() => serial(started)).toBe(serialOf(next));
  });

  test('are left alone while they are being written', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    const started = await own();
    const look = async (): Promise<void> => {
      vi.advanceTimersByTime(20);
      // What is asked of the files later, one question behind the other, is answered later.
      for (let count = 0; count < 20; count++) await stat(started.files.certFile);
    };
    const next = await newServer();
    writeFileSync(started.files.certFile, next.cert);
    await look();
    writeFileSync(started.files.keyFile, next.key);
    await look();
    expect(await serial(started)).not.toBe(serialOf(next));
    // A look each time.
    await expect.poll(() => serial(started)).toBe(serialOf(next));
    expect(started.problems).toEqual([]);
  });

  test('reload takes them at once', async () => {
    const started = await own();
    const next = await newServer();
    writeFileSync(started.files.certFile, next.cert);
    writeFileSync(started.files.keyFile, next.key);
    await started.listener.reload();
    expect(await serial(started)).toBe(serialOf(next));
  });

  test.each([
    [
      'a key of another certificate',
      async (f: typeof files) => writeFileSync(f.keyFile, (await newServer()).key),
    ],
    [
      'a certificate of another key',
      async (f: typeof files) => writeFileSync(f.certFile, (await newServer()).cert),
    ],
    ['an empty certificate', async (f: typeof files) => writeFileSync(f.certFile, '')],
    [
      'half a key',
      async (f: typeof files) => writeFileSync(f.keyFile, readFileSync(f.keyFile).subarray(0, 100)),
    ],
    ['no key', async (f: typeof files) => rmSync(f.keyFile)],
    ['authorities that are none', async (f: typeof files) => writeFileSync(f.caFile, 'nobody')],
    [
      'a broken authority behind a good one',
      async (f: typeof files) => appendFileSync(f.caFile, root.cert.replace('MII', 'MIJ')),
    ],
    [
      'too large a file',
      async (f: typeof files) => writeFileSync(f.caFile, `${root.cert}${' '.repeat(1024 * 1024)}`),
    ],
  ])('and cannot be used keep the old ones and are a problem: %s', async (_title, change) => {
    const started = await own();
    const old = await serial(started);
    const key = readFileSync(started.files.keyFile, 'utf8');
    await change(started.files);
    await expect.poll(() => started.problems.length).toBeGreaterThan(0);
    expect(started.problems[0]).toMatchObject({ code: 'config_invalid' });
    expect(String(started.problems[0])).not.toContain(key.split('\n')[1]);
    expect(await serial(started)).toBe(old);
    const client = identity(clients.get('of the right authority'));
    expect(await isRefused(started, client)).toBe(false);
    // And a good pair is taken afterwards.
    const next = await newServer();
    writeFileSync(started.files.certFile, next.cert);
    writeFileSync(started.files.keyFile, next.key);
    writeFileSync(started.files.caFile, root.cert);
    await expect.poll(() => serial(started)).toBe(serialOf(next));
  });

  test('an authority that is taken out locks out its clients, one that is put in lets them in', async () => {
    const started = await own();
    const [ours, theirs] = [
      identity(clients.get('of the right authority')),
      identity(clients.get('of another authority')),
    ];
    expect([await isRefused(started, ours), await isRefused(started, theirs)]).toEqual([
      false,
      true,
    ]);
    writeFileSync(started.files.caFile, serverAuthority.cert);
    await started.listener.reload();
    expect([await isRefused(started, ours), await isRefused(started, theirs)]).toEqual([
      true,
      false,
    ]);
  });

  test('are not looked at any more once the listener is closed', async () => {
    const started = await own();
    started.listener.close();
    rmSync(started.files.keyFile);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(started.problems).toEqual([]);
  });
});

test('a revoked certificate is refused as soon as the new list is read', async () => {
  const own = await CertificateAuthority.create('/CN=Own');
  const client = await own.issue({ subject: '/CN=pump-7' });
  await own.writeCrl();
  const started = await start('TLS', {
    caFile: own.certFile,
    crlFile: own.crlFile,
    clientCertificate: 'required',
  });
  expect(await isRefused(started, identity(client))).toBe(false);
  await own.revoke(client);
  await own.writeCrl();
  await expect.poll(() => isRefused(started, identity(client))).toBe(true);
  expect(started.refusals.at(-1)?.detail).toBe('CERT_REVOKED');
});

describe('files that cannot be used at the start', () => {
  test.each([
    ['certFile', 'there is none', undefined],
    ['keyFile', 'there is none', undefined],
    ['caFile', 'there is none', undefined],
    ['crlFile', 'there is none', undefined],
    ['keyFile', 'of another certificate', (): string => foreign.key],
    ['certFile', 'not PEM', (): string => 'certificate'],
    ['caFile', 'not PEM', (): string => 'authorities'],
    ['crlFile', 'a certificate instead of a list', (): string => root.cert],
  ] as const)('%s: %s', async (key, _title, content) => {
    const path = join(tempFolder('unusable'), 'file.pem');
    if (content !== undefined) writeFileSync(path, content());
    await expect(
      start('TLS', { crlFile: root.crlFile, clientCertificate: 'required', [key]: path }),
    ).rejects.toMatchObject({ code: 'config_invalid' });
  });

  test('a server key that is weak', async () => {
    const weak = await serverAuthority.issue({
      subject: '/CN=localhost',
      use: 'server',
      key: 'RSA-1024',
    });
    await expect(start('TLS', weak)).rejects.toMatchObject({ code: 'config_invalid' });
  });
});

describe.each(TRANSPORTS)('a PROXY header before %s', (transport) => {
  const V1 = 'PROXY TCP4 192.0.2.7 198.51.100.1 4711 8883\r\n';
  const V2 = Buffer.from('0d0a0d0a000d0a515549540a2111000cc0000207c6336401126722b3', 'hex');

  test.each([
    ['version 1', Buffer.from(V1), 1000],
    ['version 1, byte by byte', Buffer.from(V1), 1],
    ['version 2', V2, 1000],
    ['version 2, byte by byte', V2, 1],
  ])('%s gives the peer, and the certificate is known', async (_title, header, size) => {
    const started = await start(transport, {
      proxyFrom: ['127.0.0.1'],
      clientCertificate: 'required',
    });
    const socket = tcp(started.port);
    await once(socket, 'connect');
    for (let at = 0; at < header.length; at += size) {
      await new Promise((resolve) => socket.write(header.subarray(at, at + size), resolve));
      await new Promise((resolve) => setImmediate(resolve));
    }
    const client = await dial(started, {
      ...identity(clients.get('of the right authority')),
      socket,
    });
    expect(await client.received()).toBe('welcome');
    expect(started.accepted[0]).toMatchObject({ peer: '192.0.2.7:4711', secure: true });
    expect(started.accepted[0]?.certificate?.subjectCn).toBe('pump-7');
  });

  test('may come in one piece with the handshake', async () => {
    const started = await start(transport, { proxyFrom: ['127.0.0.1'] });
    const socket = tcp(started.port);
    await once(socket, 'connect');
    socket.cork(); // Until the handshake has been written behind it.
    socket.write(V1);
    const dialing = dial(started, { socket });
    setTimeout(() => socket.uncork(), 20);
    expect(await (await dialing).received()).toBe('welcome');
    expect(started.accepted[0]?.peer).toBe('192.0.2.7:4711');
  });

  test('is required of a load balancer, and refused of anybody else', async () => {
    const balanced = await start(transport, { proxyFrom: ['127.0.0.1'] });
    await expect(dial(balanced)).rejects.toThrow();
    expect(balanced.refusals).toMatchObject([{ reason: 'proxy_header' }]);
    const direct = await start(transport, { proxyFrom: ['127.0.0.2'] });
    const socket = tcp(direct.port);
    socket.write(V1);
    await once(socket.resume(), 'close');
    expect(direct.accepted).toEqual([]);
    await expect.poll(() => direct.refusals).toMatchObject([{ reason: 'tls_handshake' }]);
  });
});
