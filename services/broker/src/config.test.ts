import { loadConfig } from '@sallyport/config';
import { describe, expect, it } from 'vitest';
import { brokerConfigSchema, checkBrokerConfig } from './config.ts';

const load = (env: Record<string, string>) =>
  loadConfig({
    schema: brokerConfigSchema,
    env: { SALLYPORT_NODE__ID: 'n1', SALLYPORT_POLICY__TOKEN: 'sixteen-characters', ...env },
    check: checkBrokerConfig,
  });

describe('the configuration of a broker node', () => {
  it.each([
    ['mqtt.tcp.listen', { SALLYPORT_MQTT__TCP__LISTEN: 'off', SALLYPORT_MQTT__WS__LISTEN: 'off' }],
    ['mqtt.proxyFrom', { SALLYPORT_MQTT__PROXY_FROM: '10.0.0.0/33' }],
    ['mqtt.proxyFrom', { SALLYPORT_MQTT__PROXY_FROM: 'balancer.example' }],
    ['nats.password', { SALLYPORT_NATS__USER: 'broker' }],
    ['policy.keyFile', { SALLYPORT_POLICY__CERT_FILE: 'client.pem' }],
    ['SALLYPORT_NODE__ID', { SALLYPORT_NODE__ID: 'a node' }],
    ['SALLYPORT_MQTT__CONNECTIONS_MAX', { SALLYPORT_MQTT__CONNECTIONS_MAX: '0' }],
    ['SALLYPORT_ENFORCEMENT__WHEN_STALE', { SALLYPORT_ENFORCEMENT__WHEN_STALE: 'ignore' }],
    ['SALLYPORT_MQTT__TLS__LISTEN', { SALLYPORT_MQTT__TLS__LISTEN: '127.0.0.1:8883' }],
  ] as [string, Record<string, string>][])('refuses to start and names %s', (key, env) => {
    expect(() => load(env)).toThrow(key);
  });

  it('refuses to reach the policy service without token or certificate', () => {
    const env = { SALLYPORT_NODE__ID: 'n1' };
    expect(() => loadConfig({ schema: brokerConfigSchema, env, check: checkBrokerConfig })).toThrow(
      /policy\.token/,
    );
  });

  it('takes addresses and CIDR blocks of both families', () => {
    const env = { SALLYPORT_MQTT__PROXY_FROM: '10.0.0.1,10.1.0.0/16,fd00::/8,::1' };
    expect(load(env).mqtt.proxyFrom).toHaveLength(4);
  });
});
