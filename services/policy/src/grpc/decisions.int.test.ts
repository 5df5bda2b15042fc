import { setTimeout as delay } from 'node:timers/promises';
import { type AddressInfo, createConnection, createServer, type Socket } from 'node:net';
import { type ClientDuplexStream, credentials, Metadata } from '@grpc/grpc-js';
import { loadConfig } from '@sallyport/config';
import type { AuthenticateAnswer, LoginExplainer, PolicyClient } from '@sallyport/policy-client';
import { GrpcPolicyClient, type GrpcPolicyClientOptions } from '@sallyport/policy-client/grpc';
import { silentLogger } from '@sallyport/telemetry';
import { CertificateAuthority, type Issued } from '@sallyport/test-kit';
import {
  AUTHORIZATION_KEY,
  encodeQuestion,
  openDecideStream,
  PolicyServiceClient,
  type WireDecideResponse,
} from '@sallyport/wire';
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { checkPolicyConfig, policyConfigSchema } from '../config.ts';
import { bytes, facts, World } from '../testing/world.ts';
import { type RunningGrpcServer, startGrpcServer } from './server.ts';

const TOKEN = 'a-token-of-sixteen-or-more';
const NOT_READY = 'policy_not_ready';

const config = (env: Record<string, string> = {}) =>
  loadConfig({
    schema: policyConfigSchema,
    env: {
      SALLYPORT_GRPC__LISTEN: '127.0.0.1:0',
      SALLYPORT_SECRETS__KEY: Buffer.alloc(32, 1).toString('base64'),
      ...env,
    },
    check: checkPolicyConfig,
  });

type Policy = PolicyClient & LoginExplainer;

let world: World;
let servers: RunningGrpcServer[];
let clients: GrpcPolicyClient[];
let undo: (() => void)[];

beforeEach(async () => {
  world = await World.open();
  [servers, clients, undo] = [[], [], []];
});

afterEach(async () => {
  vi.useRealTimers();
  for (const client of clients) await client[Symbol.asyncDispose]();
  for (const back of undo) back();
  for (const server of servers) await server.close(0);
  await world[Symbol.asyncDispose]();
});

/** No call takes too long, and no connection is silent for too long, unless the test says so: `expect.poll` would, too. */
const freezeTime = (): void => {
  const timers = ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] as const;
  vi.useFakeTimers({ toFake: [...timers, 'performance'] });
};

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}

async function serve({
  env = { SALLYPORT_GRPC__TOKEN: TOKEN },
  policy = world.policy,
  keepaliveMs,
}: {
  readonly env?: Record<string, string>;
  readonly policy?: Policy;
  readonly keepaliveMs?: number;
} = {}): Promise<RunningGrpcServer> {
  const server = await startGrpcServer(policy, config(env).grpc, silentLogger(), keepaliveMs);
  servers.push(server);
  return server;
}

function connect(
  ports: readonly number[],
  options: Omit<GrpcPolicyClientOptions, 'endpoints'> = { token: TOKEN },
): GrpcPolicyClient {
  const endpoints = ports.map((port) => `127.0.0.1:${port}`);
  const client = new GrpcPolicyClient({ endpoints, ...options });
  clients.push(client);
  return client;
}

/** Only `u` says a password: it is cheap to check, unlike one that is refused. */
const ask = (client: GrpcPolicyClient, clientId = 'c', username = 'u') =>
  client.authenticate({
    facts: facts(clientId, username),
    minRevision: 0,
    ...(username === 'u' && { password: bytes('p') }),
  });

const askMany = (client: GrpcPolicyClient, count: number, name = 'c') =>
  Array.from({ length: count }, (_, index) => ask(client, `${name}-${index}`));

/** The service as it is, that first says whose decision it is asked for. */
function watched(on: (clientId: string) => void | Promise<void>): Policy {
  const { policy } = world;
  // Nothing else is asked of it.
  return {
    authenticate: async (request: Parameters<Policy['authenticate']>[0]) => {
      await on(request.facts.clientId);
      return policy.authenticate(request);
    },
  } as unknown as Policy;
}

/** To a server, until it is cut, or lets nothing through any more and says so to nobody. */
async function openWay(to: number) {
  const ends = { near: new Set<Socket>(), far: new Set<Socket>() };
  const all = (): Socket[] => [...ends.near, ...ends.far];
  const way = createServer({ pauseOnConnect: false }, (near) => {
    const far = createConnection(to, '127.0.0.1');
    for (const [side, socket] of Object.entries({ near, far })) {
      const those = ends[side as 'near' | 'far']; // Of the keys.
      those.add(socket.on('error', () => undefined));
      socket.on('close', () => those.delete(socket));
    }
    near.pipe(far).pipe(near);
  });
  await new Promise<void>((resolve) => way.listen(0, '127.0.0.1', resolve));
  const cut = (): void => {
    way.close();
    for (const socket of all()) socket.destroy();
  };
  undo.push(cut);
  const { port } = way.address() as AddressInfo; // It listens on a port.
  const freeze = (): void => {
    for (const socket of all()) {
      socket.unpipe();
      // What comes is taken, and goes nowhere: a machine that has lost its power would not even do that.
      socket.resume();
    }
  };
  return { port, cut, freeze, ends };
}

const clientIdOf = (answer: AuthenticateAnswer): string =>
  answer.ok ? answer.principal.facts.clientId : answer.reason;

describe('decisions over TLS', () => {
  let authority: CertificateAuthority;
  let other: CertificateAuthority;
  let server: Issued;
  let broker: Issued;

  beforeAll(async () => {
    [authority, other] = await Promise.all([
      CertificateAuthority.create('/CN=Sallyport'),
      CertificateAuthority.create('/CN=Somebody else'),
    ]);
    server = await authority.issue({ subject: '/CN=policy', use: 'server' });
    broker = await authority.issue({ subject: '/CN=broker-1' });
  });

  const filesOf = ({ certFile, keyFile }: Issued): Record<string, string> => ({
    SALLYPORT_GRPC__CERT_FILE: certFile,
    SALLYPORT_GRPC__KEY_FILE: keyFile,
    SALLYPORT_GRPC__TOKEN: TOKEN,
  });
  const trusting = ({ cert }: CertificateAuthority, proof?: Issued) => ({
    ca: Buffer.from(cert),
    ...(proof && { cert: Buffer.from(proof.cert), key: Buffer.from(proof.key) }),
  });

  /** How a decision fails that is nobody's to make; it must not take the time of one that is not answered. */
  async function refusalOf(
    port: number,
    options: Omit<GrpcPolicyClientOptions, 'endpoints'>,
  ): Promise<string> {
    freezeTime();
    const client = connect([port], { token: TOKEN, ...options });
    const settled = await Promise.allSettled([ask(client), ask(client)]);
    vi.useRealTimers();
    const [first] = settled;
    expect(settled).toMatchObject([
      { status: 'rejected', reason: { code: NOT_READY } },
      { status: 'rejected', reason: { code: NOT_READY } },
    ]);
    return first?.status === 'rejected' ? String(first.reason) : '';
  }

  it('come from no server whose certificate is not of its authority, for its name, now and for servers', async () => {
    await world.addCredential('u', 'p');
    const asked: string[] = [];
    const policy = watched((clientId) => void asked.push(clientId));
    const day = 86_400_000;
    const bad = {
      'self[- ]signed|unable to': await other.issue({ subject: '/CN=policy', use: 'server' }),
      'altnames|purpose': broker,
      expired: await authority.issue({
        ...{ subject: '/CN=policy', use: 'server' },
        notBefore: new Date(Date.now() - 2 * day),
        notAfter: new Date(Date.now() - day),
      }),
    };
    for (const [reason, certificate] of Object.entries(bad)) {
      const { port } = await serve({ env: filesOf(certificate), policy });
      const refusal = await refusalOf(port, { tls: trusting(authority) });
      expect(refusal).toMatch(new RegExp(reason, 'i'));
    }
    // Neither does a side that speaks in the clear get anything from one that does not.
    await refusalOf((await serve({ env: filesOf(server), policy })).port, {});
    await refusalOf((await serve({ policy })).port, { tls: trusting(authority) });
    expect(asked).toEqual([]);
  });

  it('are for no caller without a certificate of the authority, where callers must have one', async () => {
    await world.addCredential('u', 'p');
    const asked: string[] = [];
    const policy = watched((clientId) => void asked.push(clientId));
    const { SALLYPORT_GRPC__TOKEN: _, ...files } = filesOf(server);
    const env = { ...files, SALLYPORT_GRPC__CLIENT_CA_FILE: authority.certFile };
    const { port } = await serve({ env, policy });
    await refusalOf(port, { tls: trusting(authority) });
    const foreign = await other.issue({ subject: '/CN=broker-1' });
    await refusalOf(port, { tls: trusting(authority, foreign) });
    expect(asked).toEqual([]);
    const client = connect([port], { tls: trusting(authority, broker) });
    const answers = await Promise.all(askMany(client, 100));
    expect(answers.map(clientIdOf)).toEqual(Array.from({ length: 100 }, (_, n) => `c-${n}`));
    expect(asked).toHaveLength(100);
  });

  it('are those of the service, for several callers at once, and each its own', async () => {
    freezeTime();
    await world.addCredential('u', 'p');
    await world.addCredential('v', 'q');
    const env = filesOf(server);
    const { port } = await serve({ env });
    const stranger = connect([port], { tls: trusting(authority) });
    await expect(ask(stranger)).rejects.toMatchObject({ code: 'unauthenticated' });
    const callers = Array.from({ length: 4 }, () =>
      connect([port], { token: TOKEN, tls: trusting(authority) }),
    );
    const expected: string[] = [];
    const answers = callers.flatMap((client, caller) =>
      Array.from({ length: 200 }, (_, index) => {
        const username = ['u', 'v', 'nobody'][(index + caller) % 3] ?? '';
        const clientId = `${caller}-${index}`;
        expected.push({ u: clientId, v: 'wrong_secret' }[username] ?? 'unknown_client');
        return ask(client, clientId, username);
      }),
    );
    expect((await Promise.all(answers)).map(clientIdOf)).toEqual(expected);
  });
});

describe('several brokers that ask one server', () => {
  it('get their turns, though one of them floods it', async () => {
    freezeTime();
    await world.addCredential('u', 'p');
    let asked = 0;
    const before = new Map<string, number>();
    const { port } = await serve({
      policy: watched((clientId) => void before.set(clientId, asked++)),
    });
    const [flooding, other] = [connect([port]), connect([port])];
    await Promise.all([ask(flooding), ask(other)]);
    const flood = Promise.allSettled(askMany(flooding, 8_000, 'flood'));
    await until(() => asked > 1_000);
    const waited: number[] = [];
    for (let count = 0; count < 5; count++) {
      const at = asked;
      await ask(other, `other-${count}`);
      waited.push((before.get(`other-${count}`) ?? Infinity) - at);
    }
    // The server reads 4,096 of a stream ahead: nobody is to wait behind those.
    expect(Math.max(...waited)).toBeLessThan(500);
    expect(asked).toBeLessThan(8_000);
    await flooding[Symbol.asyncDispose]();
    await flood;
  });

  it('are answered, though another reads nothing of what it is told', async () => {
    freezeTime();
    await world.addCredential('u', 'p');
    const asked = new Map<string, number>();
    const policy = watched((clientId) => void asked.set(clientId, (asked.get(clientId) ?? 0) + 1));
    const { port } = await serve({ policy });
    const deaf = new PolicyServiceClient(`127.0.0.1:${port}`, credentials.createInsecure());
    undo.push(() => deaf.close());
    const metadata = new Metadata();
    metadata.set(AUTHORIZATION_KEY, `Bearer ${TOKEN}`);
    const stream: ClientDuplexStream<Buffer, WireDecideResponse> = openDecideStream(deaf, metadata);
    stream.on('error', () => undefined).once('data', () => stream.pause());
    // It is told its client id again, so that answers soon fill what there is between the two.
    const who = { clientId: 'd'.repeat(1_000), listener: 'l', username: 'u' };
    const asks = {
      facts: { ...who, methods: [], attributes: {}, open: false },
      ...{ password: Buffer.from('p'), minRevision: 0, stores: [] },
    };
    for (let id = 1; id <= 14_000; id += 100) {
      const questions = Array.from({ length: 100 }, (_, index) =>
        encodeQuestion({ id: id + index, authenticate: asks }),
      );
      stream.write(Buffer.concat(questions));
    }
    const client = connect([port]);
    const taken = (): number => asked.get(who.clientId) ?? 0;
    let before = -1;
    // As long as it has places left for answers, which are more than these, others are answered beside it.
    while (taken() <= 2_000 || taken() > before) {
      before = taken();
      expect((await Promise.all(askMany(client, 100))).every(({ ok }) => ok)).toBe(true);
      await delay(200);
    }
    expect(taken()).toBeLessThan(10_000);
    stream.cancel();
  });

  it('leave nothing behind when their connection is cut, or says nothing any more', async () => {
    freezeTime();
    await world.addCredential('u', 'p');
    let asked = 0;
    let release = (): void => undefined;
    const released = new Promise<void>((resolve) => (release = resolve));
    const policy = watched(async (clientId) => {
      if (clientId.startsWith('gone')) asked++;
      if (clientId === 'gone-0') await released;
    });
    const server = await serve({ policy, keepaliveMs: 300 });
    const stays = connect([server.port]);
    const [cut, frozen] = [await openWay(server.port), await openWay(server.port)];
    for (const way of [cut, frozen]) {
      const client = connect([way.port]);
      await ask(client);
      asked = 0;
      const all = Promise.allSettled(askMany(client, 10_000, 'gone'));
      await until(() => asked > 100);
      way[way === cut ? 'cut' : 'freeze']();
      // The server notices with the time: its end is closed, and nothing of it is taken up any more.
      await expect.poll(() => way.ends.far.size).toBe(0);
      // Of a cut as well, which comes before what is asked behind it.
      await Promise.all(askMany(stays, 100));
      const left = asked;
      await Promise.all(askMany(stays, 100));
      expect(asked).toBe(left);
      way.cut();
      expect(await all).toMatchObject({ length: 10_000 });
      expect(clientIdOf(await ask(stays, 'me'))).toBe('me');
    }
    release();
    // Long before its time is over, which does not pass.
    await stays[Symbol.asyncDispose]();
    await server.close(30_000);
  });
});

describe('a replica', () => {
  it('that dies in the middle of decisions fails none of them where there is another, else each at once', async () => {
    freezeTime();
    await world.addCredential('u', 'p');
    let asked = 0;
    const first = await openWay((await serve({ policy: watched(() => void asked++) })).port);
    const second = await serve();
    const [alone, both] = [connect([first.port]), connect([first.port, second.port])];
    await Promise.all([ask(alone), ask(both)]);
    asked = 0;
    const answers = askMany(both, 1_000);
    const refusals = Promise.allSettled(askMany(alone, 1_000));
    await until(() => asked > 100);
    first.cut();
    expect((await Promise.all(answers)).map(clientIdOf)).toEqual(
      Array.from({ length: 1_000 }, (_, index) => `c-${index}`),
    );
    const settled = await refusals;
    const failed = settled.filter((one) => one.status === 'rejected');
    expect(failed.length).toBeGreaterThan(100);
    expect(failed.every(({ reason }) => (reason as { code: string }).code === NOT_READY)).toBe(
      true,
    );
  });

  it('that says nothing is left for the next one when its time is over, by those that come then too', async () => {
    freezeTime();
    await world.addCredential('u', 'p');
    const [one, second] = [await serve(), await serve()];
    const first = await openWay(one.port);
    const client = connect([first.port, second.port]);
    await ask(client);
    first.freeze();
    const answers = Promise.all(askMany(client, 100));
    await vi.advanceTimersByTimeAsync(5_000);
    expect((await answers).every(({ ok }) => ok)).toBe(true);
    // In no time.
    expect((await ask(client)).ok).toBe(true);
  });

  it('that comes back is asked again, on a stream of its own', async () => {
    await world.addCredential('u', 'p');
    const first = await serve();
    const client = connect([first.port]);
    await ask(client);
    for (let round = 0; round < 2; round++) {
      await servers.pop()?.close(0);
      await expect(ask(client)).rejects.toMatchObject({ code: NOT_READY });
      const listen = { SALLYPORT_GRPC__LISTEN: `127.0.0.1:${first.port}` };
      await serve({ env: { SALLYPORT_GRPC__TOKEN: TOKEN, ...listen } });
      const answered = () => ask(client).then(clientIdOf, () => 'none');
      await expect.poll(answered).toBe('c');
      expect((await Promise.all(askMany(client, 100))).every(({ ok }) => ok)).toBe(true);
    }
  });
});
