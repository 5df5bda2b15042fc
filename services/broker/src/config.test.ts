import { loadConfig, printReference } from '@sallyport/config';
import { defaultLimits } from '@sallyport/mqtt-session';
import { describe, expect, it } from 'vitest';
import {
  brokerConfigSchema,
  checkBrokerConfig,
  deniedPublishOf,
  listenerFactsOf,
  loginOf,
  partialSubscribeOf,
  limitsOf,
  type MqttConfig,
  storesOf,
} from './config.ts';

type Env = Readonly<Record<string, string>>;

const load = (env: Env) =>
  loadConfig({
    schema: brokerConfigSchema,
    env: { SALLYPORT_NODE__ID: 'n1', SALLYPORT_POLICY__TOKEN: 'sixteen-characters', ...env },
    check: checkBrokerConfig,
  });

/** Keys of the section, as variables. */
const mqtt = (keys: Env): Env =>
  Object.fromEntries(Object.entries(keys).map(([key, value]) => [`SALLYPORT_MQTT__${key}`, value]));

const pair = { TLS__CERT_FILE: 'server.pem', TLS__KEY_FILE: 'server.key' };
const tlsOn = { TLS__LISTEN: '127.0.0.1:8883', ...pair };
const wssOn = { WSS__LISTEN: '127.0.0.1:8085', ...pair };
const asks = { TLS__CLIENT_CERTIFICATE: 'required', TLS__CA_FILE: 'clients.pem' };

describe('the configuration of a broker node', () => {
  it.each([
    ['mqtt.tcp.listen', mqtt({ TCP__LISTEN: 'off', WS__LISTEN: 'off' })],
    ['mqtt.proxyFrom', mqtt({ PROXY_FROM: '10.0.0.0/33' })],
    ['mqtt.proxyFrom', mqtt({ PROXY_FROM: 'balancer.example' })],
    ['mqtt.flapping.exempt', mqtt({ FLAPPING__EXEMPT: 'gateway.example' })],
    ['mqtt.guessing.exempt', mqtt({ GUESSING__EXEMPT: '10.0.0.0/33' })],
    [
      'mqtt.guessing.delaySeconds',
      mqtt({ GUESSING__DELAY_SECONDS: '11', GUESSING__DELAY_SECONDS_MAX: '10' }),
    ],
    ['SALLYPORT_MQTT__GUESSING__FAILURES_MAX', mqtt({ GUESSING__FAILURES_MAX: '100001' })],
    [
      'SALLYPORT_MQTT__GUESSING__SOURCE_FAILURES_MAX',
      mqtt({ GUESSING__SOURCE_FAILURES_MAX: '1000001' }),
    ],
    ['SALLYPORT_MQTT__GUESSING__DELAY_SECONDS', mqtt({ GUESSING__DELAY_SECONDS: '0' })],
    ['SALLYPORT_MQTT__GUESSING__DELAY_SECONDS_MAX', mqtt({ GUESSING__DELAY_SECONDS_MAX: '86401' })],
    ['SALLYPORT_MQTT__GUESSING__FORGET_SECONDS', mqtt({ GUESSING__FORGET_SECONDS: '604801' })],
    [
      'SALLYPORT_MQTT__FLAPPING__CREDENTIAL_CONNECTS_MAX',
      mqtt({ FLAPPING__CREDENTIAL_CONNECTS_MAX: '100001' }),
    ],
    ['SALLYPORT_MQTT__TCP__ZONE', mqtt({ TCP__ZONE: '' })],
    ['SALLYPORT_MQTT__TCP__ZONE', mqtt({ TCP__ZONE: 'a zone' })],
    ['SALLYPORT_MQTT__WS__ZONE', mqtt({ WS__ZONE: 'x'.repeat(65) })],
    ['SALLYPORT_MQTT__WS__AUTHENTICATION', mqtt({ WS__AUTHENTICATION: 'false' })],
    ['SALLYPORT_MQTT__TCP__UNKNOWN_CLIENT', mqtt({ TCP__UNKNOWN_CLIENT: 'banned' })],
    ['nats.password', { SALLYPORT_NATS__USER: 'broker' }],
    ['policy.keyFile', { SALLYPORT_POLICY__CERT_FILE: 'client.pem' }],
    ['SALLYPORT_NODE__ID', { SALLYPORT_NODE__ID: 'a node' }],
    ['SALLYPORT_MQTT__CONNECTIONS_MAX', mqtt({ CONNECTIONS_MAX: '0' })],
    ['SALLYPORT_MQTT__CONNECTIONS_MAX', mqtt({ CONNECTIONS_MAX: '1000001' })],
    ['SALLYPORT_MQTT__UNAUTHENTICATED_PERCENT_MAX', mqtt({ UNAUTHENTICATED_PERCENT_MAX: '0' })],
    ['SALLYPORT_MQTT__UNAUTHENTICATED_PERCENT_MAX', mqtt({ UNAUTHENTICATED_PERCENT_MAX: '101' })],
    ['SALLYPORT_MQTT__CONNECTS_PER_SOURCE_BURST', mqtt({ CONNECTS_PER_SOURCE_BURST: '0' })],
    [
      'SALLYPORT_MQTT__CONNECTS_PER_SOURCE_PER_SECOND',
      mqtt({ CONNECTS_PER_SOURCE_PER_SECOND: '-1' }),
    ],
    ['SALLYPORT_MQTT__ACCEPTS_PER_SECOND', mqtt({ ACCEPTS_PER_SECOND: '100001' })],
    ['SALLYPORT_MQTT__ACCEPTS_PER_MINUTE', mqtt({ ACCEPTS_PER_MINUTE: '1' })],
    ['SALLYPORT_MQTT__DENIED_PUBLISH', mqtt({ DENIED_PUBLISH: 'ignore' })],
    ['SALLYPORT_MQTT__WSS__CERT_FILE', mqtt({ WSS__CERT_FILE: 'other.pem' })],
    ['SALLYPORT_MQTT__WS__ORIGINS_ALLOWED', mqtt({ WS__ORIGINS_ALLOWED: 'https://a.example/' })],
    ['SALLYPORT_MQTT__LIMITS__QOS_MAX', mqtt({ LIMITS__QOS_MAX: '1' })],
    ['mqtt.limits.connectPacketBytesMax', mqtt({ LIMITS__PACKET_BYTES_MAX: '65535' })],
    ['SALLYPORT_ENFORCEMENT__WHEN_STALE', { SALLYPORT_ENFORCEMENT__WHEN_STALE: 'ignore' }],
  ] as [string, Env][])('refuses to start and names %s', (key, env) => {
    expect(() => load(env)).toThrow(`${key}: `);
  });

  it('slows down who guesses, and blocks who flaps, unless it is told otherwise', () => {
    const { guessing, flapping } = load({}).mqtt;
    expect(guessing).toEqual({
      failuresMax: 5,
      sourceFailuresMax: 100,
      delaySeconds: 1,
      delaySecondsMax: 300,
      forgetSeconds: 900,
      exempt: [],
    });
    expect(flapping).toMatchObject({
      connectsMax: 15,
      credentialConnectsMax: 15,
      windowSeconds: 60,
    });
    const most = mqtt({
      GUESSING__FAILURES_MAX: '100000',
      GUESSING__SOURCE_FAILURES_MAX: '1000000',
      GUESSING__DELAY_SECONDS: '3600',
      GUESSING__DELAY_SECONDS_MAX: '86400',
      GUESSING__FORGET_SECONDS: '604800',
      GUESSING__EXEMPT: '10.0.0.0/8,2001:db8::/32',
    });
    expect(load(most).mqtt.guessing.delaySecondsMax).toBe(86_400);
    const equal = mqtt({ GUESSING__DELAY_SECONDS: '10', GUESSING__DELAY_SECONDS_MAX: '10' });
    expect(load(equal).mqtt.guessing.delaySeconds).toBe(10);
  });

  it.each([
    ['a TLS listener without a certificate', 'certFile', { TLS__LISTEN: '127.0.0.1:8883' }],
    ['a WSS listener without a certificate', 'certFile', { WSS__LISTEN: '127.0.0.1:8085' }],
    ['a certificate without a key', 'keyFile', { ...tlsOn, TLS__KEY_FILE: undefined }],
    ['a key without a certificate', 'certFile', { ...wssOn, TLS__CERT_FILE: undefined }],
    ['a certificate that no listener shows', 'certFile', pair],
    [
      'client certificates that no listener asks for',
      'clientCertificate',
      { ...asks, TLS__CERT_FILE: undefined },
    ],
    [
      'required client certificates without authorities',
      'caFile',
      { ...tlsOn, TLS__CLIENT_CERTIFICATE: 'required' },
    ],
    [
      'optional client certificates without authorities',
      'caFile',
      { ...tlsOn, TLS__CLIENT_CERTIFICATE: 'optional' },
    ],
    ['authorities while nobody is asked', 'caFile', { ...tlsOn, TLS__CA_FILE: 'clients.pem' }],
    ['a revocation list without authorities', 'crlFile', { ...tlsOn, TLS__CRL_FILE: 'crl.pem' }],
  ])('refuses %s', (_title, key, keys) => {
    const set = Object.entries(keys).flatMap(([name, value]) =>
      value === undefined ? [] : [[name, value] as const],
    );
    expect(() => load(mqtt(Object.fromEntries(set)))).toThrow(`mqtt.tls.${key}: `);
  });

  it('refuses WSS with client certificates while any page may use them', () => {
    const keys = { ...wssOn, ...asks };
    expect(() => load(mqtt(keys))).toThrow('mqtt.ws.originsAllowed: ');
    expect(load(mqtt({ ...keys, WS__ORIGINS_ALLOWED: '' })).mqtt.ws.originsAllowed).toEqual([]);
    expect(load(mqtt({ ...tlsOn, ...asks })).mqtt.ws.originsAllowed).toBeUndefined();
  });

  it('takes TLS alone, WSS alone, and both, with all there is to set', () => {
    expect(load(mqtt(tlsOn)).mqtt.tls.clientCertificate).toBe('none');
    expect(load(mqtt({ ...wssOn, TCP__LISTEN: 'off', WS__LISTEN: 'off' })).mqtt.wss.listen).toBe(
      '127.0.0.1:8085',
    );
    const all = { ...tlsOn, ...wssOn, ...asks, TLS__CRL_FILE: 'crl.pem', WS__ORIGINS_ALLOWED: '' };
    expect(load(mqtt(all)).mqtt.tls).toMatchObject({ caFile: 'clients.pem', crlFile: 'crl.pem' });
  });

  it('refuses to reach the policy service without token or certificate', () => {
    const env = { SALLYPORT_NODE__ID: 'n1' };
    expect(() => loadConfig({ schema: brokerConfigSchema, env, check: checkBrokerConfig })).toThrow(
      /policy\.token/,
    );
  });

  it('takes addresses and CIDR blocks of both families', () => {
    const env = mqtt({ PROXY_FROM: '10.0.0.1,10.1.0.0/16,fd00::/8,::1' });
    expect(load(env).mqtt.proxyFrom).toHaveLength(4);
  });

  it('has the limits of connections that threats.md names', () => {
    expect(load({}).mqtt).toMatchObject({
      connectionsMax: 20_000,
      unauthenticatedPercentMax: 20,
      connectsPerSourcePerSecond: 20,
      connectsPerSourceBurst: 100,
      acceptsPerSecond: 1000,
      tls: { listen: 'off' },
      wss: { listen: 'off' },
    });
  });

  it('has limits of what a storm of arriving clients may take', () => {
    expect(load({}).mqtt.arrivingStorm).toEqual({
      ...{ arrivalsMin: 32, turnMsMax: 5, underWayMax: 192 },
    });
    const loadStorm = (key: string, value: string) =>
      load({ [`SALLYPORT_MQTT__ARRIVING_STORM__${key}`]: value }).mqtt.arrivingStorm;
    expect(loadStorm('TURN_MS_MAX', '0').turnMsMax).toBe(0);
    expect(loadStorm('TURN_MS_MAX', '1000').turnMsMax).toBe(1000);
    expect(() => loadStorm('TURN_MS_MAX', '1001')).toThrow(
      'SALLYPORT_MQTT__ARRIVING_STORM__TURN_MS_MAX: ',
    );
    expect(loadStorm('ARRIVALS_MIN', '1').arrivalsMin).toBe(1);
    for (const [key, value] of [
      ['ARRIVALS_MIN', '0'],
      ['ARRIVALS_MIN', '1000001'],
      ['UNDER_WAY_MAX', '0'],
      ['UNDER_WAY_MAX', '100001'],
    ] as const) {
      expect(() => loadStorm(key, value)).toThrow(`SALLYPORT_MQTT__ARRIVING_STORM__${key}: `);
    }
  });

  it('has limits of what a storm of leaving clients may take', () => {
    expect(load({}).mqtt.leavingStorm).toEqual({ leavesMin: 100, turnMsMax: 5 });
    const loadStorm = (key: string, value: string) =>
      load({ [`SALLYPORT_MQTT__LEAVING_STORM__${key}`]: value }).mqtt.leavingStorm;
    expect(loadStorm('TURN_MS_MAX', '0').turnMsMax).toBe(0);
    expect(loadStorm('TURN_MS_MAX', '1000').turnMsMax).toBe(1000);
    expect(() => loadStorm('TURN_MS_MAX', '1001')).toThrow(
      'SALLYPORT_MQTT__LEAVING_STORM__TURN_MS_MAX: ',
    );
    expect(loadStorm('LEAVES_MIN', '1').leavesMin).toBe(1);
    expect(() => loadStorm('LEAVES_MIN', '0')).toThrow(
      'SALLYPORT_MQTT__LEAVING_STORM__LEAVES_MIN: ',
    );
    expect(() => loadStorm('LEAVES_MIN', '1000001')).toThrow(
      'SALLYPORT_MQTT__LEAVING_STORM__LEAVES_MIN: ',
    );
  });
});

describe('the limits of the engine', () => {
  const names = Object.keys(defaultLimits) as (keyof typeof defaultLimits)[]; // The keys of the constant.
  const variable = (name: string): string =>
    `LIMITS__${name.replace(/[A-Z]/g, (capital) => `_${capital}`).toUpperCase()}`;

  it('are its defaults when nothing is set', () => {
    expect(limitsOf(load({}).mqtt)).toEqual(defaultLimits);
  });

  it.each(names)('%s can be set, and a value out of bounds refuses to start', (name) => {
    const { properties } = brokerConfigSchema.properties.mqtt.properties.limits;
    const { minimum = -1, maximum = -1 } = properties[name] as {
      minimum?: number;
      maximum?: number;
    };
    const bounds = { LIMITS__CONNECT_PACKET_BYTES_MAX: '1024' };
    const set = (value: number): MqttConfig =>
      load(mqtt({ ...bounds, [variable(name)]: String(value) })).mqtt;
    expect(limitsOf(set(minimum))[name]).toBe(minimum);
    expect(limitsOf(set(maximum))[name]).toBe(maximum);
    expect(() => set(minimum - 1)).toThrow(`SALLYPORT_MQTT__${variable(name)}: `);
    expect(() => set(maximum + 1)).toThrow(`SALLYPORT_MQTT__${variable(name)}: `);
  });

  it('stand in the reference, each with default, bounds and description', () => {
    const lines = printReference(brokerConfigSchema).split('\n');
    for (const name of names) {
      const line = lines.find((one) => one.startsWith(`| \`mqtt.limits.${name}\``));
      expect(line).toContain(`SALLYPORT_MQTT__${variable(name)}`);
      expect(line).toContain(`\`${defaultLimits[name]}\``);
      expect(line).toMatch(/\| \d+ to \d+ \| \S/);
    }
    const line = lines.find((one) => one.startsWith('| `mqtt.tls.clientCertificate`'));
    expect(line).toContain('| `none` | `none`, `optional`, `required` |');
  });
});

describe('what a denied publish does', () => {
  it('is the general setting, unless its listener has one', () => {
    const { mqtt: config } = load(
      mqtt({ DENIED_PUBLISH: 'acknowledge', WS__DENIED_PUBLISH: 'disconnect' }),
    );
    const of = (listener: string): string => deniedPublishOf(config, listener);
    expect(['tcp:default', 'ssl:default', 'wss:default', 'other'].map(of)).toEqual(
      Array(4).fill('acknowledge'),
    );
    expect(of('ws:default')).toBe('disconnect');
    expect(deniedPublishOf(load({}).mqtt, 'tcp:default')).toBe('policy');
  });
});

describe('what becomes of a filter that is wider than the rules', () => {
  it('is refused, unless the general setting or that of its listener says otherwise', () => {
    const of = (config: MqttConfig) =>
      ['tcp:default', 'ws:default', 'other'].map((one) => partialSubscribeOf(config, one));
    expect(of(load({}).mqtt)).toEqual(['refuse', 'refuse', 'refuse']);
    const { mqtt: here } = load(mqtt({ WS__PARTIAL_SUBSCRIBE: 'filter' }));
    expect(of(here)).toEqual(['refuse', 'filter', 'refuse']);
    const { mqtt: general } = load(
      mqtt({ PARTIAL_SUBSCRIBE: 'filter', TCP__PARTIAL_SUBSCRIBE: 'refuse' }),
    );
    expect(of(general)).toEqual(['refuse', 'filter', 'filter']);
    expect(() => load(mqtt({ PARTIAL_SUBSCRIBE: 'grant' }))).toThrow();
  });
});

describe('the stores of a listener', () => {
  it.each([
    ['', /MQTT__WS__STORES: must NOT have fewer than 1/],
    ['native,ldap', /MQTT__WS__STORES: must match pattern/],
    ['native,native', /must name each store once/],
  ])('are not %j', (stores, problem) => {
    expect(() => load(mqtt({ WS__STORES: stores }))).toThrow(problem);
  });

  it('are its own, in its order, or all', () => {
    const { mqtt: config } = load(mqtt({ WS__STORES: 'clients,native' }));
    expect(storesOf(config, 'ws:default')).toEqual(['clients', 'native']);
    expect(storesOf(config, 'tcp:default')).toBeUndefined();
    expect(storesOf(config, 'other')).toBeUndefined();
  });
});

describe('how a listener logs in its clients', () => {
  it('is by asking everybody, and in the zone of all, unless it says otherwise', () => {
    const { mqtt: plain } = load({});
    for (const listener of ['tcp:default', 'ssl:default', 'ws:default', 'wss:default']) {
      expect(listenerFactsOf(plain, listener)).toEqual({});
      expect(loginOf(plain, listener)).toMatchObject({
        ...{ zone: 'default', authentication: 'checked', unknownClient: 'bad_credentials' },
      });
    }
  });

  it('is its own', () => {
    const { mqtt: config } = load(
      mqtt({
        ...{ WS__ZONE: 'hall-7', WS__AUTHENTICATION: 'none', TLS__ZONE: 'x'.repeat(64) },
        ...{ TCP__AUTHENTICATION: 'named', TCP__UNKNOWN_CLIENT: 'not_authorized' },
      }),
    );
    expect(listenerFactsOf(config, 'ws:default')).toEqual({ zone: 'hall-7', open: true });
    expect(listenerFactsOf(config, 'ssl:default')).toEqual({ zone: 'x'.repeat(64) });
    expect(listenerFactsOf(config, 'tcp:default')).toEqual({});
    expect(loginOf(config, 'tcp:default')).toMatchObject({
      ...{ authentication: 'named', unknownClient: 'not_authorized' },
    });
  });
});
