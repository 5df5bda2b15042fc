import { loadConfig } from '@sallyport/config';
import { describe, expect, it } from 'vitest';
import { adminApiConfigSchema, checkAdminApiConfig } from './config.ts';

const needed = {
  SALLYPORT_SECRETS__KEY: Buffer.alloc(32, 1).toString('base64'),
  SALLYPORT_POLICY__TOKEN: 'a token of sixteen letters',
};
const load = (env: Record<string, string>) =>
  loadConfig({
    schema: adminApiConfigSchema,
    env: { ...needed, ...env },
    check: checkAdminApiConfig,
  });

describe('the configuration', () => {
  it('needs the deployment key and a proof for the policy service, and nothing else', () => {
    const { http, log, nats } = load({});
    expect(http.listen).toEqual(['127.0.0.1:8083']);
    expect([log.replicas, nats.replicas]).toEqual([undefined, 1]);
    expect(() => load({ SALLYPORT_SECRETS__KEY: 'short' })).toThrow('SALLYPORT_SECRETS__KEY');
    const env = { SALLYPORT_SECRETS__KEY: needed.SALLYPORT_SECRETS__KEY };
    const without = () =>
      loadConfig({ schema: adminApiConfigSchema, env, check: checkAdminApiConfig });
    expect(without).toThrow('policy.token');
  });

  it('takes the environment that a cluster sets', () => {
    const config = load({
      SALLYPORT_OPS__LISTEN: '127.0.0.1:9101',
      SALLYPORT_NATS__SERVERS: '127.0.0.1:4222,127.0.0.1:4223',
      SALLYPORT_NATS__USER: 'admin-api',
      SALLYPORT_NATS__PASSWORD: 'a password of the cluster',
      SALLYPORT_TELEMETRY__OTLP_URL: 'http://127.0.0.1:4318',
      SALLYPORT_DATA_DIR: '/var/lib/sallyport',
      SALLYPORT_HTTP__LISTEN: '0.0.0.0:8083,0.0.0.0:18083',
      SALLYPORT_BOOTSTRAP__ADMIN_PASSWORD: 'twelve chars',
      SALLYPORT_BOOTSTRAP__ADMIN_EMAIL: 'sysadmin@example.org',
      SALLYPORT_BOOTSTRAP__API_KEY: 'key',
      SALLYPORT_BOOTSTRAP__API_SECRET: 'sixteen letters!',
      SALLYPORT_LOG__REPLICAS: '3',
      SALLYPORT_POLICY__ENDPOINTS: '127.0.0.1:7070,127.0.0.1:7071',
    });
    expect(config.http.listen).toEqual(['0.0.0.0:8083', '0.0.0.0:18083']);
    expect(config.log.replicas).toBe(3);
  });

  it.each([
    [{ SALLYPORT_BOOTSTRAP__API_KEY: 'key' }, 'bootstrap.apiSecret'],
    [{ SALLYPORT_BOOTSTRAP__API_SECRET: 'sixteen letters!' }, 'bootstrap.apiKey'],
    [{ SALLYPORT_BOOTSTRAP__API_KEY: 'a:b' }, 'SALLYPORT_BOOTSTRAP__API_KEY'],
    [{ SALLYPORT_BOOTSTRAP__ADMIN_PASSWORD: 'eleven char' }, 'ADMIN_PASSWORD'],
    [{ SALLYPORT_HTTP__LISTEN: 'off,127.0.0.1:1' }, 'http.listen'],
    [{ SALLYPORT_NATS__USER: 'x' }, 'nats.password'],
    [{ SALLYPORT_NATS__NODES_USER: 'x' }, 'nats.nodesPassword'],
    [{ SALLYPORT_POLICY__KEY_FILE: 'x' }, 'policy.certFile'],
  ])('refuses %j', (env, named) => {
    expect(() => load(env)).toThrow(named);
  });
});
