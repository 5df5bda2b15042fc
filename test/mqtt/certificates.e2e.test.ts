import { createHash, X509Certificate } from 'node:crypto';
import {
  CertificateAuthority,
  freePorts,
  type Issued,
  removeTempFolders,
  startCluster,
  until,
} from '@sallyport/test-kit';
import { connect, type IClientOptions, type MqttClient } from 'mqtt';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Api } from '../harness/api.ts';
import { PROFILES, type Running } from '../harness/profiles.ts';
import { startStandalone } from '../harness/standalone.ts';

let servers: CertificateAuthority;
let clients: CertificateAuthority;
let foreign: CertificateAuthority;
let tlsEnv: Record<string, string>;
/** Certificates that all say the same name. */
const shown = new Map<string, Issued>();

const DAY_MS = 86_400_000;
const NAME = 'dev-pump-7';

beforeAll(async () => {
  servers = await CertificateAuthority.create('/CN=Servers');
  clients = await CertificateAuthority.create('/CN=Plant');
  // Same name, other key.
  foreign = await CertificateAuthority.create('/CN=Plant');
  const server = await servers.issue({ subject: '/CN=localhost', use: 'server' });
  const subject = `/CN=${NAME}`;
  const past = {
    notBefore: new Date(Date.now() - 9 * DAY_MS),
    notAfter: new Date(Date.now() - DAY_MS),
  };
  shown.set('right', await clients.issue({ subject }));
  shown.set('another of the same name', await clients.issue({ subject }));
  shown.set('of another authority', await servers.issue({ subject }));
  shown.set('of another authority with the same name', await foreign.issue({ subject }));
  shown.set('self-signed', await CertificateAuthority.selfSigned(subject));
  shown.set('expired', await clients.issue({ subject, ...past }));
  const revoked = await clients.issue({ subject });
  await clients.revoke(revoked);
  shown.set('revoked', revoked);
  await clients.writeCrl();
  tlsEnv = {
    SALLYPORT_MQTT__TLS__CERT_FILE: server.certFile,
    SALLYPORT_MQTT__TLS__KEY_FILE: server.keyFile,
    SALLYPORT_MQTT__TLS__CA_FILE: clients.certFile,
    SALLYPORT_MQTT__TLS__CRL_FILE: clients.crlFile,
    SALLYPORT_MQTT__TLS__CLIENT_CERTIFICATE: 'optional',
    SALLYPORT_MQTT__WS__ORIGINS_ALLOWED: '',
    // The web knows none of the users of the plant.
    SALLYPORT_MQTT__WSS__STORES: 'native,clients',
  };
});
afterAll(removeTempFolders);

const TRANSPORTS = ['mqtts', 'wss'] as const;

const fingerprintOf = ({ cert }: Issued): string =>
  createHash('sha256').update(new X509Certificate(cert).raw).digest('hex');

/** A certificate that binds to nothing: B3 lets it in where the store `clients` is named. */
const unbound = (transport: (typeof TRANSPORTS)[number]): string =>
  transport === 'wss' ? 'in' : '0x87';

interface Secured extends Pick<Running, 'api' | 'httpUrl' | typeof Symbol.asyncDispose> {
  readonly ports: Readonly<Record<(typeof TRANSPORTS)[number], number>>;
}

async function startSecured(profile: (typeof PROFILES)[number]): Promise<Secured> {
  const [mqtts = 0, wss = 0] = await freePorts(2);
  const env = {
    ...tlsEnv,
    SALLYPORT_MQTT__TLS__LISTEN: `127.0.0.1:${mqtts}`,
    SALLYPORT_MQTT__WSS__LISTEN: `127.0.0.1:${wss}`,
  };
  const ports = { mqtts, wss };
  if (profile === 'standalone') {
    const one = await startStandalone(env);
    const api = await Api.login(one.url, 'admin', one.adminPassword);
    return {
      api,
      httpUrl: one.url,
      ports,
      [Symbol.asyncDispose]: () => one[Symbol.asyncDispose](),
    };
  }
  const parts = { adminApis: 1, policies: 1, brokers: 1 };
  const cluster = await startCluster({ ...parts, env: { broker: env } });
  const api = await Api.login(cluster.httpUrl, cluster.admin.name, cluster.admin.password);
  return { api, httpUrl: cluster.httpUrl, ports, [Symbol.asyncDispose]: () => cluster.stop() };
}

describe.each(PROFILES)('certificates on the %s profile', (profile) => {
  let running: Secured;
  let api: Api;

  beforeAll(async () => {
    running = await startSecured(profile);
    ({ api } = running);
  });
  afterAll(() => running?.[Symbol.asyncDispose]());

  function start(
    transport: (typeof TRANSPORTS)[number],
    issued: Issued | undefined,
    login: Pick<IClientOptions, 'username' | 'password' | 'clientId'> = {},
  ): MqttClient {
    const path = transport === 'wss' ? '/mqtt' : '';
    return connect(`${transport}://127.0.0.1:${running.ports[transport]}${path}`, {
      ca: servers.cert,
      ...(issued && { cert: issued.cert, key: issued.key }),
      ...{ protocolVersion: 5, reconnectPeriod: 0, connectTimeout: 5000 },
      ...login,
    });
  }

  /** `in`, the reason code of a refusal, or `cut` where there was none. */
  function answerOf(client: MqttClient): Promise<string> {
    return new Promise((resolve) => {
      client.once('connect', () => resolve('in'));
      client.on('error', (error) => {
        const { code } = error as { code?: unknown };
        resolve(typeof code === 'number' ? `0x${code.toString(16)}` : 'cut');
      });
      client.once('close', () => resolve('cut'));
    });
  }

  async function open(...how: Parameters<typeof start>): Promise<MqttClient> {
    const client = start(...how);
    expect(await answerOf(client)).toBe('in');
    return client;
  }

  async function outcome(...how: Parameters<typeof start>): Promise<string> {
    const client = start(...how);
    const answer = await answerOf(client);
    client.end(true);
    return answer;
  }

  const addBound = (name: string, match: object, more: object = {}) =>
    api.expect<{ id: string }>(201, 'POST', '/api/v1/credentials?wait=enforced', {
      ...{ name, kind: 'certificate', match, passwordRequired: false },
      access: { kind: 'unrestricted' },
      ...more,
    });

  const remove = (id: string) =>
    api.expect(204, 'DELETE', `/api/v1/credentials/${id}?wait=enforced`);

  it.each(TRANSPORTS)(
    'over %s nobody is let in whose certificate is no proof',
    async (transport) => {
      const { id } = await addBound('matrix', { commonName: NAME });
      try {
        expect(await outcome(transport, undefined)).toBe('0x86');
        for (const [name, issued] of shown) {
          const expected = name === 'right' || name === 'another of the same name' ? 'in' : 'cut';
          expect(await outcome(transport, issued), name).toBe(expected);
        }
      } finally {
        await remove(id);
      }
      expect(await outcome(transport, shown.get('right'))).toBe(unbound(transport));
    },
  );

  it('B3: one that is bound to nothing may what a rule for its fingerprint gives it', async () => {
    const path = '/api/v1/group-rules?wait=enforced';
    const right = shown.get('right');
    if (right === undefined) throw new Error('none was issued');
    const fingerprint = fingerprintOf(right);
    const login = { clientId: 'unbound' };
    const codeOf = (client: MqttClient, topic: string): Promise<number> =>
      client.publishAsync(topic, 'x', { qos: 1 }).then(
        () => 0,
        (error: unknown) => (error as { code: number }).code,
      );
    const first = await open('wss', right, login);
    expect(await codeOf(first, 'plant/x')).toBe(0x87);
    await first.endAsync();
    // By no other way: a name that it says besides would have to be proven.
    const pretender = { ...login, username: 'somebody', password: 'x' };
    expect(await outcome('wss', right, pretender)).toBe('0x86');
    const permissions = [{ permission: 'allow', action: 'publish', topic: 'plant/#' }];
    const group = { name: 'of certificates', description: '', permissions };
    const { id } = await api.expect<{ id: string }>(201, 'POST', '/api/v1/groups', group);
    const rule = { matchBy: 'certificate_fingerprint', value: fingerprint, groups: [id] };
    await api.expect(200, 'PUT', path, { rules: [rule] });
    try {
      const client = await open('wss', right, login);
      expect([await codeOf(client, 'plant/x'), await codeOf(client, 'x')]).toEqual([0, 0x87]);
      const other = await open('wss', shown.get('another of the same name'), { clientId: 'other' });
      expect(await codeOf(other, 'plant/x')).toBe(0x87);
      await other.endAsync();
      const credentialId = `cert:${fingerprint}`;
      const listed = await api.expect<{ items: object[] }>(
        200,
        'GET',
        '/api/v1/connections?search=unbound',
      );
      expect(listed.items).toMatchObject([{ clientId: 'unbound', credentialId, groups: [id] }]);
      const question = { credentialId, clientId: 'unbound', action: 'publish', topic: 'plant/x' };
      const explained = await api.expect(200, 'POST', '/api/v1/explain', question);
      expect(explained).toMatchObject({ allowed: true, ruleId: `group:${id}/0` });
      const ended = new Promise<void>((resolve) => client.once('close', () => resolve()));
      const ban = { kind: 'client_id', value: 'unbound' };
      const banned = await api.expect<{ id: string }>(201, 'POST', '/api/v1/bans', ban);
      await ended;
      expect(await outcome('wss', right, login)).toBe('0x8a');
      const refused = await api.expect<{ items: object[] }>(
        200,
        'GET',
        '/api/v1/refused-connections?search=unbound',
      );
      expect(refused.items).toContainEqual(
        expect.objectContaining({ clientId: 'unbound', reason: 'banned' }),
      );
      await api.expect(204, 'DELETE', `/api/v1/bans/${banned.id}?wait=enforced`);
    } finally {
      await api.expect(200, 'PUT', path, { rules: [] });
    }
  });

  it.each(TRANSPORTS)('over %s a fingerprint is of one certificate only', async (transport) => {
    const right = shown.get('right');
    if (right === undefined) throw new Error('none was issued');
    const digest = Buffer.from(fingerprintOf(right), 'hex').toString('base64');
    const { id } = await addBound('print', { fingerprint: `SHA256:${digest}` });
    try {
      expect(await outcome(transport, shown.get('another of the same name'))).toBe(
        unbound(transport),
      );
      expect(await outcome(transport, right)).toBe('in');
    } finally {
      await remove(id);
    }
  });

  it('a keyword of the name says what may be published, behind an authority of the plant', async () => {
    const access = {
      kind: 'mapping',
      keywordPattern: 'dev-(\\w+)-',
      entries: [{ key: 'pump', publish: ['pumps/${cn}'], subscribe: ['pumps/.*'] }],
    };
    const { id } = await addBound('plant', { parentCommonName: 'Plant' }, { access });
    const valve = await clients.issue({ subject: '/CN=dev-valve-1' });
    try {
      expect(await outcome('mqtts', valve)).toBe('0x87');
      const client = await open('mqtts', shown.get('right'));
      const got: string[] = [];
      client.on('message', (topic) => got.push(topic));
      await client.subscribeAsync('pumps/#', { qos: 1 });
      await expect(client.publishAsync('pumps/other', 'x', { qos: 1 })).rejects.toThrow(
        /Not authorized/,
      );
      await client.publishAsync(`pumps/${NAME}`, 'x', { qos: 1 });
      await until(() => got.length > 0);
      expect(got).toEqual([`pumps/${NAME}`]);
      await client.endAsync();
    } finally {
      await remove(id);
    }
  });

  it('certificate and password together are needed where both are asked for', async () => {
    const grants = ['certificate', 'password'].map((method) => ({ method, required: true }));
    const user = { name: NAME, match: { username: NAME }, password: 'both-of-them', grants };
    const { id } = await api.expect<{ id: string }>(
      201,
      'POST',
      '/api/v1/credentials?wait=enforced',
      user,
    );
    const right = shown.get('right');
    const password = 'both-of-them';
    try {
      expect(await outcome('mqtts', right, { username: NAME, password: 'wrong' })).toBe('0x86');
      expect(await outcome('mqtts', undefined, { username: NAME, password })).toBe('0x86');
      expect(await outcome('mqtts', right)).toBe('0x87');
      const other = await clients.issue({ subject: '/CN=dev-pump-8' });
      expect(await outcome('mqtts', other, { username: NAME, password })).toBe('0x86');
      for (const transport of TRANSPORTS) {
        expect(await outcome(transport, right, { username: NAME, password })).toBe('in');
      }
      // A second time, now that the node has remembered the first.
      expect(await outcome('mqtts', other, { username: NAME, password })).toBe('0x86');
      expect(await outcome('mqtts', right, { username: NAME, password })).toBe('in');
    } finally {
      await remove(id);
    }
  });

  it('a listener knows the users of its own stores only', async () => {
    const user = { name: 'worker', match: { username: 'worker' } };
    const add = (store: string, password: string) =>
      api.expect(201, 'POST', '/api/v1/credentials?wait=enforced', { ...user, store, password });
    await add('cybus', 'of-cybus');
    await add('clients', 'of-clients');
    const login = (password: string) => ({ username: 'worker', password });
    expect(await outcome('wss', undefined, login('of-cybus'))).toBe('0x86');
    expect(await outcome('wss', undefined, login('of-clients'))).toBe('in');
    expect(await outcome('mqtts', undefined, login('of-cybus'))).toBe('in');
    expect(await outcome('mqtts', undefined, login('of-clients'))).toBe('in');
    // What one listener has verified is not verified for the other.
    expect(await outcome('wss', undefined, login('of-cybus'))).toBe('0x86');
  });

  it('a session ends when its credential is valid no more', async () => {
    const validity = { until: new Date(Date.now() + 4000).toISOString() };
    await addBound('short', { commonName: NAME }, { validity });
    const client = await open('mqtts', shown.get('right'));
    let closedAt = 0;
    client.on('close', () => (closedAt = Date.now()));
    await until(() => closedAt > 0, 10_000);
    expect(closedAt).toBeGreaterThanOrEqual(Date.parse(validity.until));
    expect(await outcome('mqtts', shown.get('right'))).toBe('0x87');
  });

  it('an imported hash opens, and is one of ours afterwards', async () => {
    const password = 'moved here';
    const hash = createHash('sha256').update(`salt${password}`).digest('hex');
    const passwordHash = { algorithm: 'sha256', hash, salt: 'salt' };
    const user = { name: 'moved', match: { username: 'moved' }, passwordHash };
    const { id } = await api.expect<{ id: string }>(
      201,
      'POST',
      '/api/v1/credentials?wait=enforced',
      user,
    );
    const imported = async (): Promise<unknown> => {
      const status = await api.expect<{ importedSecrets: object }>(200, 'GET', '/api/v1/status');
      return status.importedSecrets;
    };
    expect(await imported()).toEqual({ sha256: 1 });
    expect(await outcome('mqtts', undefined, { username: 'moved', password: 'wrong' })).toBe(
      '0x86',
    );
    expect(await imported()).toEqual({ sha256: 1 });
    expect(await outcome('mqtts', undefined, { username: 'moved', password })).toBe('in');
    await expect.poll(imported, { timeout: 10_000 }).toEqual({});
    const stored = await api.expect<{ secrets: object[] }>(200, 'GET', `/api/v1/credentials/${id}`);
    expect(stored.secrets).toHaveLength(1);
    expect(stored.secrets[0]).not.toHaveProperty('imported');
    // Another listener has not verified it before, so this one is checked against what is stored now.
    expect(await outcome('wss', undefined, { username: 'moved', password })).toBe('in');
    expect(await outcome('wss', undefined, { username: 'moved', password: 'wrong' })).toBe('0x86');
  });
});
