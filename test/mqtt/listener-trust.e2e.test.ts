import { once } from 'node:events';
import { connect } from 'node:tls';
import {
  CertificateAuthority,
  freePort,
  type Issued,
  removeTempFolders,
  startCluster,
  until,
} from '@sallyport/test-kit';
import { connect as connectMqtt, type MqttClient } from 'mqtt';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Api } from '../harness/api.ts';
import { PROFILES } from '../harness/profiles.ts';
import { startStandalone } from '../harness/standalone.ts';

let servers: CertificateAuthority;
let others: CertificateAuthority;
let clients: CertificateAuthority;
let server: Issued;

beforeAll(async () => {
  servers = await CertificateAuthority.create('/CN=Servers');
  others = await CertificateAuthority.create('/CN=Others');
  clients = await CertificateAuthority.create('/CN=Clients');
  server = await servers.issue({ subject: '/CN=localhost', use: 'server' });
});
afterAll(removeTempFolders);

interface Running extends AsyncDisposable {
  readonly api: Api;
}

async function start(profile: (typeof PROFILES)[number], port: number): Promise<Running> {
  const env = {
    SALLYPORT_MQTT__TLS__LISTEN: `127.0.0.1:${port}`,
    SALLYPORT_MQTT__TLS__CERT_FILE: server.certFile,
    SALLYPORT_MQTT__TLS__KEY_FILE: server.keyFile,
  };
  if (profile === 'standalone') {
    const one = await startStandalone(env);
    const api = await Api.login(one.url, 'admin', one.adminPassword);
    return { api, [Symbol.asyncDispose]: () => one[Symbol.asyncDispose]() };
  }
  const cluster = await startCluster({ brokers: 1, env: { broker: env } });
  const { name, password } = cluster.admin;
  const api = await Api.login(cluster.httpUrl, name, password);
  return { api, [Symbol.asyncDispose]: () => cluster.stop() };
}

describe.each(PROFILES)('the certificates of the TLS listener, %s', (profile) => {
  let running: Running;
  let device: { readonly username: string; readonly password: string };
  let port = 0;
  const here = '/api/v1/certificates/ssl:default?wait=enforced';
  const open: MqttClient[] = [];

  beforeAll(async () => {
    port = await freePort();
    running = await start(profile, port);
    device = await running.api.addDevice('device', [
      { effect: 'allow', action: 'all', topicFilter: 'a/#' },
    ]);
  });
  afterAll(async () => {
    for (const client of open) client.end(true);
    await running?.[Symbol.asyncDispose]();
  });

  const login = async (issued?: Issued): Promise<MqttClient> => {
    const client = connectMqtt(`mqtts://localhost:${port}`, {
      ...{ ...device, ca: [servers.cert, others.cert], reconnectPeriod: 0, protocolVersion: 5 },
      ...(issued !== undefined && { cert: issued.cert, key: issued.key }),
    });
    open.push(client);
    return new Promise((resolve, reject) => {
      client.on('connect', () => resolve(client));
      client.on('error', reject);
      // With TLS 1.3 a client learns of the refusal after its own handshake.
      client.on('close', () => reject(new Error('closed')));
    });
  };

  it('are changed without dropping a connection, and hold from the answer on', async () => {
    const before = await login();
    const authorities = clients.cert;
    const required = { clientCertificate: 'required', authorities };
    await running.api.expect(200, 'PUT', here, required);
    await expect(login()).rejects.toThrow();
    const issued = await clients.issue({ subject: '/CN=pump-7' });
    const after = await login(issued);
    const got: string[] = [];
    before.on('message', (_topic, payload) => got.push(payload.toString()));
    await before.subscribeAsync('a/1');
    await after.publishAsync('a/1', 'still there', { qos: 1 });
    await until(() => got.includes('still there'));
    await clients.revoke(issued);
    const revocationLists = await clients.writeCrl();
    await running.api.expect(200, 'PUT', here, { ...required, revocationLists });
    await expect(login(issued)).rejects.toThrow();
    await running.api.expect(204, 'DELETE', here);
    await login();
  });

  it('show the stored server certificate, and its key is nowhere', async () => {
    const next = await others.issue({ subject: '/CN=localhost', use: 'server' });
    const own = { clientCertificate: 'none', serverCertificate: next.cert, serverKey: next.key };
    await running.api.expect(200, 'PUT', here, own);
    const issuer = async (): Promise<string | undefined> => {
      const ca = [servers.cert, others.cert];
      const socket = connect({ port, host: '127.0.0.1', servername: 'localhost', ca });
      await once(socket, 'secureConnect');
      const certificate = socket.getPeerX509Certificate();
      socket.destroy();
      return certificate?.issuer;
    };
    expect(await issuer()).toBe('CN=Others');
    const answer = await running.api.expect(200, 'GET', '/api/v1/certificates');
    expect(JSON.stringify(answer)).not.toContain(next.key.split('\n')[1]);
    await running.api.expect(204, 'DELETE', here);
    await until(async () => (await issuer()) === 'CN=Servers');
  });
});
