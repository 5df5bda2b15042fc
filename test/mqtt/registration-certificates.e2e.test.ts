import {
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
  X509Certificate,
} from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  CertificateAuthority,
  freePort,
  makeSigningRequest,
  removeTempFolders,
  startCluster,
  tempFolder,
  until,
} from '@sallyport/test-kit';
import { connect, type IClientOptions } from 'mqtt';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Answer, Api } from '../harness/api.ts';
import { PROFILES } from '../harness/profiles.ts';
import { startStandalone } from '../harness/standalone.ts';

const PATH = '/api/v1/registration';
const NAME = 'agent-7';
const PASSWORD = 'password-of-agent-7';

let servers: CertificateAuthority;
let plant: CertificateAuthority;
let env: Record<'broker' | 'admin-api', Record<string, string>>;

beforeAll(async () => {
  servers = await CertificateAuthority.create('/CN=Servers');
  plant = await CertificateAuthority.create('/CN=Plant');
  const server = await servers.issue({ subject: '/CN=localhost', use: 'server' });
  const keyFile = join(tempFolder('issuer'), 'plant.key');
  writeFileSync(keyFile, plant.key, { mode: 0o600 });
  env = {
    broker: {
      SALLYPORT_MQTT__TLS__CERT_FILE: server.certFile,
      SALLYPORT_MQTT__TLS__KEY_FILE: server.keyFile,
      SALLYPORT_MQTT__TLS__CA_FILE: plant.certFile,
      SALLYPORT_MQTT__TLS__CLIENT_CERTIFICATE: 'optional',
    },
    'admin-api': {
      SALLYPORT_REGISTRATION__CA_CERTIFICATE_FILE: plant.certFile,
      SALLYPORT_REGISTRATION__CA_KEY_FILE: keyFile,
      SALLYPORT_REGISTRATION__CERTIFICATE_VALIDITY_DAYS: '7',
    },
  };
});
afterAll(removeTempFolders);

interface Issuing extends AsyncDisposable {
  readonly api: Api;
  readonly port: number;
  /** Everything that was written to the log. */
  readonly lines: readonly string[];
}

async function startIssuing(profile: (typeof PROFILES)[number]): Promise<Issuing> {
  const port = await freePort();
  const lines: string[] = [];
  const onLine = (line: string) => lines.push(line);
  const broker = { ...env.broker, SALLYPORT_MQTT__TLS__LISTEN: `127.0.0.1:${port}` };
  if (profile === 'standalone') {
    const one = await startStandalone({ ...broker, ...env['admin-api'] }, { onLine });
    const api = await Api.login(one.url, 'admin', one.adminPassword);
    return { api, port, lines, [Symbol.asyncDispose]: () => one[Symbol.asyncDispose]() };
  }
  const parts = { adminApis: 2, policies: 1, brokers: 1 };
  const cluster = await startCluster({ ...parts, onLine, env: { ...env, broker } });
  const api = await Api.login(cluster.httpUrl, cluster.admin.name, cluster.admin.password);
  return { api, port, lines, [Symbol.asyncDispose]: () => cluster.stop() };
}

interface Device {
  readonly key: string;
  readonly csr: string;
}

async function device(name = NAME): Promise<Device> {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const key = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  return { key, csr: await makeSigningRequest({ subject: `/CN=${name}`, keyPem: key }) };
}

/** The request with another name in it, signed as it was. */
function tampered(csr: string, from: string, to: string): string {
  const der = Buffer.from(csr.replaceAll(/-----.*-----|\s/g, ''), 'base64');
  Buffer.from(to).copy(der, der.indexOf(from));
  const text = der.toString('base64');
  return `-----BEGIN CERTIFICATE REQUEST-----\n${text}\n-----END CERTIFICATE REQUEST-----\n`;
}

/** The certificate with another key in it; no client shows one of a key that it does not have. */
function withKey(cert: string, key: string): string {
  const spki = (of: KeyObject) => of.export({ type: 'spki', format: 'der' });
  const certificate = new X509Certificate(cert);
  const der = Buffer.from(certificate.raw);
  const at = der.indexOf(spki(certificate.publicKey));
  expect(at).toBeGreaterThan(0);
  spki(createPublicKey(key)).copy(der, at);
  return new X509Certificate(der).toString();
}

describe.each(PROFILES)('a signed certificate on the %s profile', (profile) => {
  let running: Issuing;
  const answers: Answer[] = [];

  beforeAll(async () => {
    running = await startIssuing(profile);
    await running.api.expect(200, 'POST', `${PATH}/open`, { openDuration: 600_000 });
  });
  afterAll(async () => {
    await running?.[Symbol.asyncDispose]();
    const said = [...(running?.lines ?? []), ...answers.map((one) => JSON.stringify(one.body))];
    const [secret = ''] = plant.key.split('\n').slice(1);
    expect(secret.length).toBeGreaterThan(40);
    expect(said.filter((text) => text.includes(secret) || text.includes(PASSWORD))).toEqual([]);
  });

  async function register(csr: string | undefined, username = NAME): Promise<Answer> {
    const body = { username, password: PASSWORD, ...(csr === undefined ? {} : { csr }) };
    const answer = await running.api.send('POST', `${PATH}/register`, body);
    answers.push(answer);
    return answer;
  }

  /** `in`, the reason code of a refusal, or `cut` where there was none. */
  function outcome(how: Pick<IClientOptions, 'cert' | 'key' | 'username' | 'password'>) {
    const client = connect(`mqtts://127.0.0.1:${running.port}`, {
      ...{ ca: servers.cert, protocolVersion: 5, reconnectPeriod: 0, connectTimeout: 5000 },
      ...how,
    });
    return new Promise<string>((resolve) => {
      client.once('connect', () => resolve('in'));
      client.on('error', (error) => {
        const { code } = error as { code?: unknown };
        resolve(typeof code === 'number' ? `0x${code.toString(16)}` : 'cut');
      });
      client.once('close', () => resolve('cut'));
    }).finally(() => client.end(true));
  }

  /** A connection that stays. */
  async function held(how: Pick<IClientOptions, 'cert' | 'key'>) {
    const client = connect(`mqtts://127.0.0.1:${running.port}`, {
      ...{ ca: servers.cert, protocolVersion: 5, reconnectPeriod: 0, connectTimeout: 5000 },
      ...how,
    });
    let isClosed = false;
    client.on('error', () => undefined);
    client.on('close', () => (isClosed = true));
    await until(() => client.connected);
    return {
      closed: () => isClosed,
      [Symbol.asyncDispose]: async () => void client.end(true),
    };
  }

  it('is made for who has the key of a request with the user name, is granted, and opens', async () => {
    const own = await device();
    const other = await device('agent-8');
    const refusals = [
      [other.csr, 'must have the user name as its Common Name'],
      [tampered(other.csr, 'agent-8', NAME), 'is not signed by its own key'],
      ['x', 'is not the PEM of a certificate signing request'],
    ] as const;
    for (const [csr, detail] of refusals) {
      const { status, body } = await register(csr);
      expect([status, body]).toMatchObject([400, { errors: [{ pointer: '/csr', detail }] }]);
    }
    expect((await register(own.csr)).status).toBe(202);
    // A certificate of the name before anybody has granted anything.
    const early = await plant.issue({ subject: `/CN=${NAME}` });
    expect(await outcome(early)).toBe('0x87');

    const { items } = await running.api.expect<{ items: { id: string; username: string }[] }>(
      200,
      'GET',
      PATH,
    );
    const id = items.find((one) => one.username === NAME)?.id ?? '';
    const grant = `${PATH}/requests/${id}/grant?wait=enforced`;
    const granted = await running.api.send('POST', grant, {});
    answers.push(granted);
    expect(granted.status).toBe(201);

    const { status, body } = await register(own.csr);
    const { certificate: cert = '' } = body as { certificate?: string };
    expect(status).toBe(201);
    expect(Date.parse(new X509Certificate(cert).validTo)).toBeLessThan(Date.now() + 8 * 86_400_000);
    expect(await outcome({ cert, key: own.key })).toBe('in');
    expect(await outcome({ cert, key: own.key, username: NAME })).toBe('in');
    // With it the password is not needed, and without it that is.
    expect(await outcome({ username: NAME, password: PASSWORD })).toBe('in');
    expect(await outcome({ username: NAME, password: 'wrong' })).toBe('0x86');
  });

  it('opens for nobody with another key, and for no other name', async () => {
    const { body } = await register(undefined);
    const { certificate: cert = '' } = body as { certificate?: string };
    const thief = await device();
    expect(await outcome({ cert: withKey(cert, thief.key), key: thief.key })).toBe('cut');
    const other = await plant.issue({ subject: '/CN=agent-8' });
    expect(await outcome(other)).toBe('0x87');
    const foreign = await servers.issue({ subject: `/CN=${NAME}` });
    expect(await outcome(foreign)).toBe('cut');
  });

  it('is renewed by who has its key, and once it is revoked it opens nothing and ends what it opened', async () => {
    const { api } = running;
    const issuedPath = '/api/v1/certificates/issued';
    const own = await device('agent-9');
    await register(own.csr, 'agent-9');
    const { items } = await api.expect<{ items: { id: string; username: string }[] }>(
      200,
      'GET',
      PATH,
    );
    const id = items.find((one) => one.username === 'agent-9')?.id ?? '';
    await api.expect(201, 'POST', `${PATH}/requests/${id}/grant?wait=enforced`, {});
    const recorded = await api.expect<{
      items: { fingerprint: string; certificate: string; state: string }[];
    }>(200, 'GET', `${issuedPath}?search=agent-9`);
    const [{ fingerprint = '', certificate: cert = '' } = {}] = recorded.items;
    const signature = sign('sha256', Buffer.from(own.csr), own.key).toString('base64');
    const early = { fingerprint, csr: own.csr, signature };
    expect(await api.send('POST', `${PATH}/renew`, early)).toMatchObject({
      status: 409,
      body: { code: 'certificate_not_renewable' },
    });
    const next = await device('agent-9');
    const renewal = await api.expect<{ certificate: string }>(
      201,
      'POST',
      `${issuedPath}/${fingerprint}/renew?wait=enforced`,
      { csr: next.csr },
    );
    const renewed = { cert: renewal.certificate, key: next.key };
    await using lost = await held({ cert, key: own.key });
    await using kept = await held(renewed);
    const authorities = { clientCertificate: 'optional', authorities: plant.cert };
    await api.expect(200, 'PUT', '/api/v1/certificates/ssl:default?wait=enforced', authorities);
    const revoked = await api.expect<{ listeners: unknown }>(
      200,
      'POST',
      `${issuedPath}/${fingerprint}/revoke?wait=enforced`,
      { reason: 'lost' },
    );
    expect(revoked.listeners).toEqual([{ listener: 'ssl:default', listed: true }]);
    await until(() => lost.closed());
    expect(kept.closed()).toBe(false);
    // By the list of the listener: there is no CONNECT that could be refused.
    expect(await outcome({ cert, key: own.key })).toBe('cut');
    expect(await outcome(renewed)).toBe('in');
    // And by itself, where the listener has none.
    await api.expect(204, 'DELETE', '/api/v1/certificates/ssl:default?wait=enforced');
    expect(await outcome({ cert, key: own.key })).toBe('0x87');
    expect(await outcome(renewed)).toBe('in');
  });

  it('is not to be had for another key once it is granted', async () => {
    const { status, body } = await register((await device()).csr);
    expect([status, body]).toMatchObject([409, { code: 'registration_conflict' }]);
  });
});

describe('without an authority', () => {
  it('a signing request is refused, and it is said why', async () => {
    await using one = await startStandalone();
    const api = await Api.login(one.url, 'admin', one.adminPassword);
    await api.expect(200, 'POST', `${PATH}/open`, {});
    const body = { username: NAME, password: PASSWORD, csr: (await device()).csr };
    const answer = await api.send('POST', `${PATH}/register`, body);
    const detail = 'cannot be signed: no issuing authority is configured';
    expect(answer).toMatchObject({ status: 400, body: { errors: [{ pointer: '/csr', detail }] } });
  });

  it.each([
    ['half of one', () => ({ SALLYPORT_REGISTRATION__CA_CERTIFICATE_FILE: plant.certFile })],
    [
      'the key of another',
      () => ({
        SALLYPORT_REGISTRATION__CA_CERTIFICATE_FILE: servers.certFile,
        SALLYPORT_REGISTRATION__CA_KEY_FILE:
          env['admin-api']['SALLYPORT_REGISTRATION__CA_KEY_FILE'] ?? '',
      }),
    ],
  ])('no process starts with %s', async (_, more) => {
    await expect(startStandalone(more())).rejects.toThrow(
      /ended while starting[^]*registration\.caKeyFile/,
    );
  });
});
