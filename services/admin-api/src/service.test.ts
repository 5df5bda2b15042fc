import { connect } from 'node:net';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { ADMIN_PASSWORD, World } from './testing/world.ts';

let world: World;
let urls: readonly string[];
beforeAll(async () => {
  world = await World.open({ http: { listen: ['127.0.0.1:0', '[::1]:0'] } });
  urls = await world.api.listen();
});
afterAll(() => world[Symbol.asyncDispose]());

describe('listening', () => {
  it('answers on every address of the configuration', async () => {
    expect(urls).toHaveLength(2);
    for (const url of urls) {
      const login = await fetch(`${url}/api/v1/auth/login`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ username: 'admin', password: ADMIN_PASSWORD }),
      });
      expect(login.status).toBe(200);
      const { accessToken } = (await login.json()) as { accessToken: string };
      const headers = { authorization: `Bearer ${accessToken}` };
      const status = await fetch(`${url}/api/v1/status`, { headers });
      expect(await status.json()).toMatchObject({ revision: world.model.revision });
    }
  });

  it('does not stay open when one of its addresses is taken', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const { port } = taken.address() as { port: number };
    const other = await World.open({ http: { listen: ['127.0.0.1:0', `127.0.0.1:${port}`] } });
    await expect(other.api.listen()).rejects.toThrow('EADDRINUSE');
    await other[Symbol.asyncDispose]();
    taken.close();
  });

  it('refuses a header that is too large and a request that is none', async () => {
    const { port, hostname } = new URL(urls[0] ?? '');
    const talk = async (text: string): Promise<string> => {
      const socket = connect(Number(port), hostname);
      let answer = '';
      socket.on('data', (data) => (answer += data.toString()));
      socket.write(text);
      await once(socket, 'close');
      return answer;
    };
    const large = `GET / HTTP/1.1\r\nHost: x\r\nX: ${'x'.repeat(17 * 1024)}\r\n\r\n`;
    expect(await talk(large)).toMatch(/^HTTP\/1\.1 431 /);
    expect(await talk('nonsense\r\n\r\n')).toMatch(/^HTTP\/1\.1 400 /);
    const smuggled =
      'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n';
    expect(await talk(smuggled)).toMatch(/^HTTP\/1\.1 400 /);
  });

  it('finishes what is in flight when it closes', async () => {
    const closing = await World.open();
    const verify = vi.spyOn(closing.hasher, 'verify');
    const [url] = await closing.api.listen();
    const login = fetch(`${url}/api/v1/auth/login`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ username: 'admin', password: ADMIN_PASSWORD }),
    });
    // The password is being checked now: the request is in flight.
    await expect.poll(() => verify).toHaveBeenCalled();
    const closed = closing[Symbol.asyncDispose]();
    expect((await login).status).toBe(200);
    await closed;
    await expect(fetch(`${url}/api/v1/status`)).rejects.toThrow();
  });
});

describe('peers behind a load balancer', () => {
  it('are told apart only where the load balancer is trusted', async () => {
    const trusting = await World.open({ http: { trustedProxies: ['192.0.2.0/24'] } });
    const wrong = (peer: string, remoteAddress: string) =>
      trusting.request({
        method: 'POST',
        url: '/api/v1/auth/login',
        headers: { 'x-forwarded-for': peer },
        payload: { username: 'admin', password: 'canary-wrong' },
        remoteAddress,
      });
    for (let tries = 0; tries < 5; tries++) await wrong('198.51.100.1', '192.0.2.7');
    expect((await wrong('198.51.100.1', '192.0.2.7')).status).toBe(429);
    expect((await wrong('198.51.100.2', '192.0.2.7')).status).toBe(401);
    for (let tries = 0; tries < 5; tries++) await wrong(`198.51.100.${tries}`, '203.0.113.1');
    expect((await wrong('198.51.100.9', '203.0.113.1')).status).toBe(429);
    await trusting[Symbol.asyncDispose]();
  });
});
