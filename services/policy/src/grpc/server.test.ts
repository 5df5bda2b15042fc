import { type AddressInfo, createConnection, createServer, type Socket } from 'node:net';
import { credentials, Metadata } from '@grpc/grpc-js';
import { loadConfig } from '@sallyport/config';
import type { ScramMechanism } from '@sallyport/domain';
import { GrpcPolicyClient } from '@sallyport/policy-client/grpc';
import { silentLogger } from '@sallyport/telemetry';
import { ScramClient } from '@sallyport/test-kit';
import {
  AUTHORIZATION_KEY,
  PolicyServiceClient,
  type WireAuthenticateRequest,
} from '@sallyport/wire';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { checkPolicyConfig, policyConfigSchema } from '../config.ts';
import { bytes, facts, World } from '../testing/world.ts';
import { type RunningGrpcServer, startGrpcServer } from './server.ts';

const TOKEN = 'a-token-of-sixteen-or-more';
const KEY = Buffer.alloc(32, 1).toString('base64');

const config = (env: Record<string, string> = {}) =>
  loadConfig({
    schema: policyConfigSchema,
    env: {
      SALLYPORT_GRPC__LISTEN: '127.0.0.1:0',
      SALLYPORT_GRPC__TOKEN: TOKEN,
      SALLYPORT_SECRETS__KEY: KEY,
      ...env,
    },
    check: checkPolicyConfig,
  });

let world: World;
let servers: RunningGrpcServer[];
let clients: GrpcPolicyClient[];

beforeEach(async () => {
  world = await World.open();
  servers = [];
  clients = [];
});

afterEach(async () => {
  vi.useRealTimers();
  for (const client of clients) await client[Symbol.asyncDispose]();
  for (const server of servers) await server.close(0);
  await world[Symbol.asyncDispose]();
});

async function serve(): Promise<RunningGrpcServer> {
  const server = await startGrpcServer(world.policy, config().grpc, silentLogger());
  servers.push(server);
  return server;
}

function connect(ports: readonly number[], token?: string): GrpcPolicyClient {
  const endpoints = ports.map((port) => `127.0.0.1:${port}`);
  const client = new GrpcPolicyClient({ endpoints, ...(token !== undefined && { token }) });
  clients.push(client);
  return client;
}

/** To a replica, until it is cut. */
async function openWay(to: number): Promise<{ readonly port: number; cut(): void }> {
  const sockets = new Set<Socket>();
  const way = createServer((near) => {
    const far = createConnection(to, '127.0.0.1');
    for (const socket of [near, far]) sockets.add(socket.on('error', () => undefined));
    near.pipe(far).pipe(near);
  });
  await new Promise<void>((resolve) => way.listen(0, '127.0.0.1', resolve));
  const cut = (): void => {
    way.close();
    for (const socket of sockets) socket.destroy();
  };
  return { port: (way.address() as AddressInfo).port, cut }; // It listens on a port.
}

describe('the gRPC service', () => {
  it('refuses every call without its token, or with another', async () => {
    const { port } = await serve();
    for (const token of [undefined, '', `${TOKEN}x`, TOKEN.slice(1)]) {
      const client = connect([port], token);
      const expected = { code: 'unauthenticated' };
      await expect(client.status()).rejects.toMatchObject(expected);
      await expect(client.resolve({ principals: [], minRevision: 0 })).rejects.toMatchObject(
        expected,
      );
      const request = { facts: facts('c', 'u'), minRevision: 0 };
      await expect(client.authenticate(request)).rejects.toMatchObject(expected);
      const half = { ...request, exchangeId: Buffer.alloc(16), message: bytes('n,,n=u,r=x') };
      const first = client.scramFirst({ ...half, mechanism: 'SCRAM-SHA-256' });
      await expect(first).rejects.toMatchObject(expected);
      const final = client.scramFinal({ ...half, state: Buffer.alloc(0) });
      await expect(final).rejects.toMatchObject(expected);
    }
  });

  it('answers exactly what the service answers in process', async () => {
    await world.addCredential('u', 'p', {
      access: { kind: 'patterns', publish: ['a/.*'], subscribe: [] },
    });
    await world.addCredential('v', 'p', {
      access: { kind: 'unrestricted' },
      attributes: { site: 'north', other: 'x' },
    });
    const access = { kind: 'roles', roles: [], permissions: [], publishPrefix: 'p/' } as const;
    await world.addCredential('w', 'p', { access });
    await world.rules(
      { kind: 'everyone' },
      { effect: 'deny', action: 'all', topicFilter: 'x/#' },
      { effect: 'deny', action: 'all', topicFilter: '#', literal: true, qos: [1, 2] },
      { effect: 'deny', action: 'publish', topicFilter: '#', any: true, retain: false, qos: [0] },
      { effect: 'allow', action: 'all', topicFilter: 's/${client_attrs.site}/${cert_common_name}' },
    );
    await world.addCredential('x', 'p', { store: 'clients', access: { kind: 'groups' } });
    await world.run({
      type: 'AddGroup',
      data: {
        id: 'g',
        name: 'g',
        description: '',
        permissions: [{ permission: 'deny', action: 'subscribe', topic: 'a/#' }],
      },
    });
    const fingerprintSha256 = 'ab'.repeat(32);
    const rule = { id: 'r', matchBy: 'certificate_fingerprint', groups: ['g'] } as const;
    await world.run({
      type: 'ReplaceGroupRules',
      data: { rules: [{ ...rule, value: fingerprintSha256 }] },
    });
    const { port } = await serve();
    const client = connect([port], TOKEN);
    for (const [username, password] of [
      ['u', 'p'],
      ['w', 'p'],
      ['x', 'p'],
      ['v', 'p'],
      ['w', 'p'],
      ['u', 'wrong'],
      ['nobody', 'p'],
    ] as const) {
      const certificate = {
        fingerprintSha256: 'ab'.repeat(32),
        chainCommonNames: ['cn'],
        commonName: 'cn',
      };
      const who = { ...facts('c', username), certificate };
      const request = { facts: who, password: bytes(password), minRevision: 0 };
      const direct = await world.policy.authenticate(request);
      expect(await client.authenticate(request)).toEqual(direct);
      if (!direct.ok) continue;
      expect(direct.resolved.groups).toEqual(username === 'x' ? ['g'] : undefined);
      const resolve = { principals: [direct.principal], minRevision: 0 };
      expect(await client.resolve(resolve)).toEqual(await world.policy.resolve(resolve));
      const explain = {
        principal: direct.principal,
        action: 'subscribe' as const,
        topic: '#',
        terms: { qos: 1, retain: false } as const,
        minRevision: 0,
      };
      expect(await client.explain(explain)).toEqual(await world.policy.explain(explain));
    }
    await world.addCredential('chained', 'secret', {
      ...{ name: 'v', match: { username: 'v' }, store: 'emqx' },
    });
    for (const [username, stores] of [
      ['v', undefined],
      ['v', ['native']],
      ['nobody', ['native']],
    ] as const) {
      const login = {
        facts: facts('c', username),
        scram: false,
        minRevision: 0,
        ...(stores && { stores }),
      };
      expect(await client.explainLogin(login)).toEqual(await world.policy.explainLogin(login));
    }
    expect(await client.status()).toEqual(await world.policy.status());
  });

  it('answers a SCRAM exchange as in process, each half by another replica', async () => {
    await world.addScramCredential('u', 'right', { mechanisms: ['SCRAM-SHA-512'] });
    const [one, other] = [await serve(), await serve()];
    const client = connect([one.port, other.port], TOKEN);
    const mechanism = 'SCRAM-SHA-512';
    const exchange = { facts: facts('c'), exchangeId: Buffer.alloc(16, 1), minRevision: 0 };
    const device = new ScramClient({ mechanism, username: 'u', password: 'right' });
    const first = await client.scramFirst({ ...exchange, mechanism, message: device.first() });
    if (!first.ok) throw new Error(first.reason);
    await one.close(0);
    const final = { ...exchange, state: first.state, message: device.final(first.message) };
    const answer = await client.scramFinal(final);
    expect(answer).toEqual(await world.policy.scramFinal(final));
    expect(answer.ok && device.verifies(answer.message)).toBe(true);
    const refusals = [
      await client.scramFinal({ ...final, facts: facts('d') }),
      await client.scramFinal({ ...final, message: bytes('x') }),
      await client.scramFirst({ ...exchange, mechanism, message: bytes('p=x,,n=u,r=x') }),
      await client.scramFirst({
        ...final,
        mechanism,
        facts: facts('c', 'v'),
        message: device.first(),
      }),
    ];
    expect(refusals).toMatchObject([
      { reason: 'stale_exchange' },
      { reason: 'malformed' },
      { reason: 'channel_binding' },
      { reason: 'username_mismatch' },
    ]);
  });

  it('refuses a mechanism that it does not know, and an exchange without an id', async () => {
    const { port } = await serve();
    const client = connect([port], TOKEN);
    const half = { facts: facts('c'), message: bytes('n,,n=u,r=x'), minRevision: 0 };
    const unknown = 'SCRAM-SHA-1' as ScramMechanism;
    const exchangeId = Buffer.alloc(16);
    await expect(
      client.scramFirst({ ...half, exchangeId, mechanism: unknown }),
    ).rejects.toMatchObject({ code: 'invalid_request' });
    await expect(
      client.scramFirst({ ...half, exchangeId: Buffer.alloc(0), mechanism: 'SCRAM-SHA-256' }),
    ).rejects.toMatchObject({ code: 'invalid_request' });
  });

  it('tells our error code, never the text of an error', async () => {
    const { port } = await serve();
    const client = connect([port], TOKEN);
    const ahead = { facts: facts('c', 'u'), minRevision: 99 };
    await expect(client.authenticate(ahead)).rejects.toMatchObject({
      code: 'policy_not_ready',
      message: 'policy service: The policy is not known at this revision yet',
    });
  });

  it('answers a decision by a call too, as older brokers ask for it', async () => {
    await world.addCredential('u', 'p');
    const { port } = await serve();
    const older = new PolicyServiceClient(`127.0.0.1:${port}`, credentials.createInsecure());
    const metadata = new Metadata();
    metadata.set(AUTHORIZATION_KEY, `Bearer ${TOKEN}`);
    const wire: WireAuthenticateRequest = {
      facts: {
        clientId: 'c',
        username: 'u',
        listener: 'l',
        methods: [],
        attributes: {},
        open: false,
      },
      password: Buffer.from('p'),
      minRevision: 0,
      stores: [],
    };
    const answer = await new Promise((resolve, reject) => {
      older.authenticate(wire, metadata, (error, value) =>
        error === null ? resolve(value) : reject(error),
      );
    });
    older.close();
    expect(answer).toMatchObject({ outcome: { $case: 'admission' } });
  });

  it('fails one decision, and none of those beside it', async () => {
    await world.addCredential('u', 'p');
    const { port } = await serve();
    const client = connect([port], TOKEN);
    const ask = (more: object) =>
      client.authenticate({
        facts: facts('c', 'u'),
        password: bytes('p'),
        minRevision: 0,
        ...more,
      });
    const settled = await Promise.allSettled([
      ask({}),
      ask({ stores: ['ldap'] }),
      ask({ facts: facts('c', 'nobody') }),
      ask({ minRevision: 0.5 }),
      ask({}),
    ]);
    const failed = (code: string) => ({ status: 'rejected', reason: { code } });
    expect(settled).toMatchObject([
      { value: { ok: true } },
      failed('invalid_request'),
      { value: { ok: false, reason: 'unknown_client' } },
      failed('invalid_request'),
      { value: { ok: true } },
    ]);
  });

  it('is cut off in the middle of decisions: the next replica answers them, without one nobody', async () => {
    await world.addCredential('u', 'p');
    // The wait for a revision never ends by itself.
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const [first, second] = [await openWay((await serve()).port), await serve()];
    const [one, both] = [connect([first.port], TOKEN), connect([first.port, second.port], TOKEN)];
    const ahead = { facts: facts('c', 'u'), password: bytes('p'), minRevision: 2 };
    const ask = (client: GrpcPolicyClient) => client.authenticate(ahead);
    // They wait for a revision that comes when the first replica is gone.
    const alone = Promise.allSettled([ask(one), ask(one)]);
    const many = Promise.all(Array.from({ length: 10 }, () => ask(both)));
    await Promise.all([one.status(), both.status()]);
    first.cut();
    expect(await alone).toMatchObject([
      { status: 'rejected', reason: { code: 'policy_not_ready' } },
      { status: 'rejected', reason: { code: 'policy_not_ready' } },
    ]);
    await world.addCredential('v', 'p');
    expect((await many).every(({ ok, revision }) => ok && revision >= 2)).toBe(true);
  });

  it('answers what it was asked before it stops, and does not wait for streams that are idle', async () => {
    await world.addCredential('u', 'p');
    const server = await serve();
    const [idle, asking] = [connect([server.port], TOKEN), connect([server.port], TOKEN)];
    const request = { facts: facts('c', 'u'), password: bytes('p'), minRevision: 0 };
    await Promise.all([idle.authenticate(request), asking.authenticate(request)]);
    const waits = asking.authenticate({ ...request, minRevision: 2 });
    // Behind it on the same connection, so it has been read.
    await asking.status();
    const asked = performance.now();
    const closed = server.close(30_000).then(() => performance.now() - asked);
    await world.addCredential('v', 'p');
    expect(await waits).toMatchObject({ ok: true, revision: 2 });
    expect(await closed).toBeLessThan(5_000);
    await expect(idle.authenticate(request)).rejects.toMatchObject({ code: 'policy_not_ready' });
  });

  it('goes to the next replica within one call, and stays there', async () => {
    const [first, second] = [await serve(), await serve()];
    const client = connect([first.port, second.port], TOKEN);
    await client.status();
    await first.close(0);
    expect(await client.status()).toEqual(await world.policy.status());
    await second.close(0);
    await expect(client.status()).rejects.toMatchObject({ code: 'policy_not_ready' });
  });
});

describe('the configuration', () => {
  it('refuses to start half-set, and names the key', () => {
    const refused = (env: Record<string, string>, key: string) =>
      expect(() => config(env), key).toThrow(new RegExp(key.replace('.', '\\.')));
    refused({ SALLYPORT_GRPC__LISTEN: '0.0.0.0:7070' }, 'grpc.certFile');
    refused({ SALLYPORT_GRPC__CERT_FILE: '/x.pem' }, 'grpc.keyFile');
    refused({ SALLYPORT_GRPC__CLIENT_CA_FILE: '/x.pem' }, 'grpc.certFile');
    refused({ SALLYPORT_NATS__USER: 'policy' }, 'nats.password');
    refused({ SALLYPORT_SECRETS__KEY: 'c2hvcnQ=' }, 'SALLYPORT_SECRETS__KEY');
    const { SALLYPORT_GRPC__TOKEN: _, ...env } = { SALLYPORT_GRPC__TOKEN: '' };
    expect(() =>
      loadConfig({
        schema: policyConfigSchema,
        env: { ...env, SALLYPORT_SECRETS__KEY: KEY },
        check: checkPolicyConfig,
      }),
    ).toThrow(/grpc\.token/);
  });

  it('carries certificates, ways of proof, stores and every reason', async () => {
    const { port } = await serve();
    const client = connect([port], TOKEN);
    const certificate = {
      fingerprintSha256: 'a'.repeat(64),
      commonName: 'pump',
      chainCommonNames: ['pump', '', 'root'],
      subjectDn: 'CN=pump,O=Plant',
      validUntil: world.now + 5000,
    };
    const shown = { ...facts('c'), certificate };
    const ask = (more: object = {}) =>
      client.authenticate({ facts: shown, minRevision: 0, ...more });
    await world.addCredential('pump', 'p', {
      store: 'clients',
      grants: [{ method: 'certificate', required: true }],
    });
    expect(await ask()).toMatchObject({
      ok: true,
      principal: {
        store: 'clients',
        facts: { ...shown, username: 'pump', methods: ['certificate'] },
      },
      resolved: { secretExpiresAt: certificate.validUntil },
    });
    expect(await ask({ stores: ['native'] })).toMatchObject({ reason: 'unknown_client' });
    const { chainCommonNames, fingerprintSha256 } = certificate;
    const nameless = {
      ...facts('c', 'pump'),
      certificate: { chainCommonNames, fingerprintSha256 },
    };
    expect(await ask({ facts: nameless })).toMatchObject({ reason: 'certificate' });
    const validity = { until: world.now };
    await world.run({ type: 'ChangeCredential', data: { id: 'pump', changes: { validity } } });
    expect(await ask()).toMatchObject({ ok: false, reason: 'not_valid_now' });
    await expect(ask({ stores: ['ldap'] })).rejects.toMatchObject({ code: 'invalid_request' });
  });
});
