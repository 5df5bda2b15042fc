import { afterEach, describe, expect, it } from 'vitest';
import { type OpsChecks, type OpsServer, createOpsHandler, startOpsServer } from './ops-server.ts';

const telemetry = { metricsText: async () => 'metric 1\n' };
const healthy: OpsChecks = { live: () => true, ready: () => ({ log: true }), started: () => true };

function ask(
  path: string,
  options: {
    readonly checks?: Partial<OpsChecks>;
    readonly token?: string;
    readonly authorization?: string;
    readonly peer?: string;
    readonly method?: string;
    readonly forwardedFor?: string;
  } = {},
) {
  const handler = createOpsHandler({
    telemetry,
    checks: { ...healthy, ...options.checks },
    metricsToken: options.token,
  });
  return handler({
    method: options.method ?? 'GET',
    path,
    headers: { authorization: options.authorization, 'x-forwarded-for': options.forwardedFor },
    peerAddress: options.peer ?? '127.0.0.1',
  });
}

describe('/metrics', () => {
  it.each(['10.0.0.1', '::ffff:10.0.0.1', '1127.0.0.1', '2001:db8::1'])(
    'without a token refuses the peer %s',
    async (peer) => {
      expect(await ask('/metrics', { peer })).toMatchObject({ status: 403 });
    },
  );

  it('without a token refuses who comes through a proxy on this machine', async () => {
    expect(await ask('/metrics', { forwardedFor: '10.0.0.1' })).toMatchObject({ status: 403 });
  });

  it.each(['127.0.0.1', '127.8.8.8', '::1', '::ffff:127.0.0.1'])(
    'without a token answers the peer %s',
    async (peer) => {
      expect(await ask('/metrics', { peer })).toMatchObject({ status: 200, body: 'metric 1\n' });
    },
  );

  it.each([undefined, 'Bearer', 'Bearer wrong', 'Basic right', 'Bearer right x', 'right'])(
    'with a token refuses %j, on loopback too',
    async (authorization) => {
      const given = authorization === undefined ? {} : { authorization };
      const answer = await ask('/metrics', { token: 'right', ...given });
      expect(answer).toMatchObject({ status: 401, headers: { 'www-authenticate': 'Bearer' } });
    },
  );

  it('with a token answers whoever has it', async () => {
    const authorization = 'bearer right';
    const answer = await ask('/metrics', { token: 'right', authorization, peer: '10.0.0.1' });
    expect(answer).toMatchObject({ status: 200 });
  });
});

describe('health', () => {
  it('answers 503 with the reasons, and only the failing ones', async () => {
    const checks = { ready: () => ({ log: 'silent for 31 s', redis: true as const }) };
    const answer = await ask('/readyz', { checks, peer: '10.0.0.1' });
    expect(answer).toMatchObject({ status: 503 });
    expect(JSON.parse(answer?.body ?? '')).toEqual({
      status: 'failing',
      failing: { log: 'silent for 31 s' },
    });
    expect(await ask('/livez', { checks: { live: () => 'stuck' } })).toMatchObject({ status: 503 });
    expect(await ask('/livez', { checks: { live: () => false } })).toMatchObject({ status: 503 });
  });

  it('is not ready before the start is over, but live', async () => {
    const checks = { started: () => false };
    expect(await ask('/readyz', { checks })).toMatchObject({ status: 503 });
    expect(await ask('/startupz', { checks })).toMatchObject({ status: 503 });
    expect(await ask('/livez', { checks })).toMatchObject({ status: 200 });
  });

  it('counts a check that throws as failing', async () => {
    const ready = () => {
      throw new Error('canary');
    };
    const answer = await ask('/readyz', { checks: { ready } });
    expect(answer).toMatchObject({ status: 503 });
    expect(answer?.body).not.toContain('canary');
  });

  it('answers GET and HEAD only, and no other path', async () => {
    expect(await ask('/readyz', { method: 'POST' })).toMatchObject({ status: 405 });
    expect(await ask('/readyz/')).toBeUndefined();
    expect(await ask('/__proto__')).toBeUndefined();
    expect(await ask('/readyz')).toMatchObject({
      status: 200,
      body: '{"status":"ok","failing":{}}\n',
    });
  });
});

describe('startOpsServer', () => {
  let server: OpsServer | undefined;
  afterEach(async () => {
    await server?.close();
    server = undefined;
  });

  it('serves the routes over HTTP and refuses an address in use', async () => {
    const options = { checks: healthy, telemetry, address: { host: '127.0.0.1', port: 0 } };
    server = await startOpsServer(options);
    const url = `http://127.0.0.1:${server.address.port}`;
    expect((await fetch(`${url}/nope`)).status).toBe(404);
    const ready = await fetch(`${url}/readyz?verbose`);
    expect([ready.status, await ready.json()]).toEqual([200, { status: 'ok', failing: {} }]);
    expect(await (await fetch(`${url}/metrics`)).text()).toBe('metric 1\n');
    const head = await fetch(`${url}/livez`, { method: 'HEAD' });
    expect([head.status, await head.text()]).toEqual([200, '']);
    await expect(startOpsServer({ ...options, address: server.address })).rejects.toThrow(
      'EADDRINUSE',
    );
  });
});
