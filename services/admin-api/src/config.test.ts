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
    expect(http.requestsPerSecondMax).toBe(20);
    expect([log.replicas, nats.replicas]).toEqual([undefined, 1]);
    expect(() => load({ SALLYPORT_SECRETS__KEY: 'short' })).toThrow('SALLYPORT_SECRETS__KEY');
    const env = { SALLYPORT_SECRETS__KEY: needed.SALLYPORT_SECRETS__KEY };
    const without = () =>
      loadConfig({ schema: adminApiConfigSchema, env, check: checkAdminApiConfig });
    expect(without).toThrow('policy.token');
  });

  it('asks five characters of passwords, or what is said', () => {
    const off = { lower: 0, upper: 0, numeric: 0, symbol: 0 };
    expect(load({}).passwordPolicy).toEqual({ min: 5, ...off });
    const said = load({
      SALLYPORT_PASSWORD_POLICY__MIN: '0',
      SALLYPORT_PASSWORD_POLICY__NUMERIC: '256',
    });
    expect(said.passwordPolicy).toEqual({ ...off, min: 0, numeric: 256 });
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
    [{ SALLYPORT_REGISTRATION__CA_KEY_FILE: 'x' }, 'registration.caCertificateFile'],
    [{ SALLYPORT_REGISTRATION__CA_CERTIFICATE_FILE: 'x' }, 'registration.caKeyFile'],
    [{ SALLYPORT_REGISTRATION__CERTIFICATE_VALIDITY_DAYS: '0' }, 'VALIDITY_DAYS'],
    [{ SALLYPORT_REGISTRATION__CERTIFICATE_VALIDITY_DAYS: '3651' }, 'VALIDITY_DAYS'],
    [{ SALLYPORT_PASSWORD_POLICY__LENGTH: '8' }, 'SALLYPORT_PASSWORD_POLICY__LENGTH: unknown key'],
    [{ SALLYPORT_PASSWORD_POLICY__MIN: '-1' }, 'SALLYPORT_PASSWORD_POLICY__MIN: must be >= 0'],
    [{ SALLYPORT_PASSWORD_POLICY__LOWER: '1.5' }, 'LOWER: must be integer'],
    [{ SALLYPORT_PASSWORD_POLICY__UPPER: 'two' }, 'UPPER: is not a number'],
    [{ SALLYPORT_PASSWORD_POLICY__NUMERIC: '257' }, 'NUMERIC: must be <= 256'],
    [{ SALLYPORT_PASSWORD_POLICY__SYMBOL: '' }, 'SYMBOL: is empty'],
  ])('refuses %j', (env, named) => {
    expect(() => load(env)).toThrow(named);
  });
});
