import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect } from 'node:tls';
import {
  CertificateAuthority,
  freePort,
  freePorts,
  type Issued,
  removeTempFolders,
  startCluster,
  tempFolder,
  until,
} from '@sallyport/test-kit';
import { connectAsync } from 'mqtt';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Api } from '../harness/api.ts';
import { MosquittoSub, run } from '../harness/mosquitto.ts';
import { type Standalone, startStandalone } from '../harness/standalone.ts';

let servers: CertificateAuthority;
let clients: CertificateAuthority;
let server: Issued;

beforeAll(async () => {
  servers = await CertificateAuthority.create('/CN=Servers');
  clients = await CertificateAuthority.create('/CN=Clients');
  server = await servers.issue({ subject: '/CN=localhost', use: 'server' });
});
afterAll(removeTempFolders);

describe('a node with TLS and WSS', () => {
  let sallyport: Standalone;
  let device: { readonly username: string; readonly password: string };
  let client: Issued;
  let tlsPort = 0;
  let wssPort = 0;

  beforeAll(async () => {
    [tlsPort = 0, wssPort = 0] = await freePorts(2);
    sallyport = await startStandalone({
      SALLYPORT_MQTT__TLS__LISTEN: `127.0.0.1:${tlsPort}`,
      SALLYPORT_MQTT__WSS__LISTEN: `127.0.0.1:${wssPort}`,
      SALLYPORT_MQTT__TLS__CERT_FILE: server.certFile,
      SALLYPORT_MQTT__TLS__KEY_FILE: server.keyFile,
      SALLYPORT_MQTT__TLS__CA_FILE: clients.certFile,
      SALLYPORT_MQTT__TLS__CLIENT_CERTIFICATE: 'required',
      SALLYPORT_MQTT__WS__ORIGINS_ALLOWED: '',
    });
    client = await clients.issue({ subject: '/CN=pump-7' });
    const api = await Api.login(sallyport.url, 'admin', sallyport.adminPassword);
    device = await api.addDevice('device', [
      { effect: 'allow', action: 'all', topicFilter: 'a/#' },
    ]);
  });
  afterAll(() => sallyport?.[Symbol.asyncDispose]());

  const mosquitto = ({ certFile, keyFile }: Issued): string[] => [
    ...['-p', String(tlsPort), '--cafile', servers.certFile, '--cert', certFile, '--key', keyFile],
    ...['-u', device.username, '-P', device.password, '-t', 'a/1', '-q', '1'],
  ];

  it('refuses a foreign certificate, then carries messages from WSS to TLS and back', async () => {
    const foreign = await servers.issue({ subject: '/CN=pump-7' });
    const refused = await run('mosquitto_pub', [...mosquitto(foreign), '-m', 'no']);
    expect(refused.code).not.toBe(0);

    await using sub = await MosquittoSub.start(mosquitto(client));
    const { cert, key } = client;
    const web = await connectAsync(`wss://127.0.0.1:${wssPort}/mqtt`, {
      ...{ ca: servers.cert, cert, key, ...device, protocolVersion: 4, reconnectPeriod: 0 },
    });
    const got: string[] = [];
    web.on('message', (_topic, payload) => got.push(payload.toString()));
    await web.subscribeAsync('a/1', { qos: 1 });
    await web.publishAsync('a/1', 'from the web', { qos: 1 });
    await sub.waitFor(/a\/1 from the web/);
    const sent = await run('mosquitto_pub', [...mosquitto(client), '-m', 'from a device']);
    expect(sent).toMatchObject({ code: 0 });
    await until(() => got.includes('from a device'));
    await web.endAsync();
  });

  it('counts what it refused, tells when its certificate ends, and shows its addresses', async () => {
    const metrics = await (await fetch(`${sallyport.url}/metrics`)).text();
    expect(metrics).toMatch(
      /^sallyport_connections_refused_total\{.*listener="ssl:default".*reason="client_certificate".*\} 1/m,
    );
    const end = Date.parse(new X509Certificate(server.cert).validTo) / 1000;
    expect(metrics).toMatch(new RegExp(`^sallyport_tls_certificate_valid_until\\S* ${end}`, 'm'));
    const lines = sallyport.process.lines.join('\n');
    expect(lines).toContain(`MQTT/TLS  127.0.0.1:${tlsPort}`);
    expect(lines).toContain(`MQTT/WSS  wss://127.0.0.1:${wssPort}/mqtt`);
  });
});

describe('a broker that gets SIGHUP', () => {
  it('reads its certificate files at once', async () => {
    const folder = tempFolder('certificates');
    const [certFile, keyFile] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
    const install = (issued: Issued): void => {
      copyFileSync(issued.certFile, certFile);
      copyFileSync(issued.keyFile, keyFile);
    };
    install(server);
    const port = await freePort();
    const cluster = await startCluster({
      ...{ adminApis: 1, policies: 1, brokers: 1 },
      env: {
        broker: {
          SALLYPORT_MQTT__TLS__LISTEN: `127.0.0.1:${port}`,
          SALLYPORT_MQTT__TLS__CERT_FILE: certFile,
          SALLYPORT_MQTT__TLS__KEY_FILE: keyFile,
          SALLYPORT_MQTT__TLS__RELOAD_SECONDS: '3600',
        },
      },
    });
    try {
      const serial = async (): Promise<string | undefined> => {
        const socket = connect({ port, host: '127.0.0.1', ca: servers.cert });
        await once(socket, 'secureConnect');
        const certificate = socket.getPeerX509Certificate();
        socket.destroy();
        return certificate?.serialNumber;
      };
      const serialOf = ({ cert }: Issued): string => new X509Certificate(cert).serialNumber;
      const next = await servers.issue({ subject: '/CN=localhost', use: 'server' });
      install(next);
      expect(await serial()).toBe(serialOf(server));
      cluster.brokers[0]?.process.signal('SIGHUP');
      await until(async () => (await serial()) === serialOf(next));
    } finally {
      await cluster.stop();
    }
  });
});
