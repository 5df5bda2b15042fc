import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isOperational } from '@sallyport/errors';
import { Type } from 'typebox';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  ConnectAddress,
  ListenAddress,
  Url,
  allOrNone,
  loadConfig,
  printReference,
  redacted,
} from './index.ts';

const described = (description: string) => ({ description });

const schema = Type.Object({
  dataDir: Type.String({ ...described('Where files go.'), default: './data' }),
  log: Type.Object({
    level: Type.Union([Type.Literal('info'), Type.Literal('debug')], {
      ...described('Least severity | that is written.'),
      default: 'info',
    }),
    replicas: Type.Integer({ ...described('Copies.'), default: 1, minimum: 1, maximum: 5 }),
    ratio: Type.Number({ ...described('Share.'), default: 0.5, minimum: 0, maximum: 1 }),
    verbose: Type.Boolean({ ...described('Say more.'), default: false }),
  }),
  mqtt: Type.Object({
    proxyFrom: Type.Array(Type.String({ maxLength: 40 }), {
      ...described('Trusted proxies.'),
      default: [],
      maxItems: 2,
    }),
    tcp: Type.Object({
      listen: ListenAddress({ ...described('MQTT over TCP.'), default: '127.0.0.1:1883' }),
    }),
  }),
  redis: Type.Object({ url: Type.Optional(Url(described('Session state.'))) }),
  bootstrap: Type.Object({
    adminPassword: Type.Optional(
      Type.String({ ...described('First password.'), secret: true, minLength: 12 }),
    ),
    apiKey: Type.Optional(Type.String(described('First key.'))),
    apiSecret: Type.Optional(Type.String({ ...described('Its secret.'), secret: true })),
  }),
  tls: Type.Optional(
    Type.Object({
      certificate: Type.String(described('PEM file.')),
      minVersion: Type.String({ ...described('Least version.'), default: '1.2' }),
    }),
  ),
});

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sallyport-config-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

function inFile(name: string, content: string): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

function problemsOf(env: Record<string, string>, file?: unknown): string[] {
  const path =
    file === undefined
      ? {}
      : { file: inFile('c.json', typeof file === 'string' ? file : JSON.stringify(file)) };
  try {
    loadConfig({ schema, env, ...path });
  } catch (error) {
    if (!isOperational(error, 'config_invalid')) throw error;
    return error.message
      .split('\n')
      .slice(1)
      .map((line) => line.trim());
  }
  return [];
}

describe('loadConfig refuses', () => {
  it('an unknown variable with our prefix, naming it, the reason and the nearest key', () => {
    expect(problemsOf({ SALLYPORT_MQTT__TCP__LISTN: '1883', HOME: '/root' })).toEqual([
      'SALLYPORT_MQTT__TCP__LISTN: unknown key; the nearest known key is SALLYPORT_MQTT__TCP__LISTEN',
    ]);
  });

  it.each([
    'SALLYPORT___PROTO____X',
    'SALLYPORT___PROTO__',
    'SALLYPORT_CONSTRUCTOR',
    'SALLYPORT_LOG__TO_STRING',
    'SALLYPORT_LOG____PROTO____LEVEL',
    'SALLYPORT_',
    'SALLYPORT_LOG',
    'SALLYPORT_log__level',
  ])('the name %s, and no object gains a member', (name) => {
    expect(problemsOf({ [name]: 'x' })).toEqual([expect.stringContaining(`${name}: unknown key`)]);
    expect(({} as Record<string, unknown>)['x']).toBeUndefined();
    expect(({} as Record<string, unknown>)['level']).toBeUndefined();
  });

  it('magic and unknown names in the file, at every depth', () => {
    const text =
      '{"__proto__":{"x":1},"log":{"constructor":1,"levle":"info"},"mqtt":{"tcp":{"x":1}}}';
    expect(problemsOf({}, text)).toEqual([
      expect.stringMatching(/^__proto__: unknown key in .*c\.json/),
      expect.stringMatching(/^log\.constructor: unknown key/),
      expect.stringMatching(/^log\.levle: unknown key .*nearest known key is log\.level$/),
      expect.stringMatching(/^mqtt\.tcp\.x: unknown key/),
    ]);
  });

  it('a value that is no number, and a bound passed by one, on either side', () => {
    expect(problemsOf({ SALLYPORT_LOG__REPLICAS: '3x' })).toEqual([
      'SALLYPORT_LOG__REPLICAS: is not a number: "3x"',
    ]);
    expect(problemsOf({ SALLYPORT_LOG__REPLICAS: '0x1' })).toHaveLength(1);
    expect(problemsOf({ SALLYPORT_LOG__REPLICAS: '1.5' })).toEqual([
      'SALLYPORT_LOG__REPLICAS: must be integer: "1.5"',
    ]);
    expect(problemsOf({ SALLYPORT_LOG__REPLICAS: '6' })).toEqual([
      'SALLYPORT_LOG__REPLICAS: must be <= 5: "6"',
    ]);
    expect(problemsOf({ SALLYPORT_LOG__REPLICAS: '0' })).toHaveLength(1);
    expect(problemsOf({ SALLYPORT_LOG__REPLICAS: '5' })).toEqual([]);
    expect(problemsOf({ SALLYPORT_LOG__REPLICAS: '1' })).toEqual([]);
  });

  it('an empty value, a boolean that is a number, a choice that is none', () => {
    expect(
      problemsOf({
        SALLYPORT_DATA_DIR: '',
        SALLYPORT_LOG__LEVEL: 'warn',
        SALLYPORT_LOG__VERBOSE: '1',
      }),
    ).toEqual([
      'SALLYPORT_DATA_DIR: is empty; leave it out to get the default',
      `SALLYPORT_LOG__VERBOSE: is neither 'true' nor 'false': "1"`,
      'SALLYPORT_LOG__LEVEL: must be one of info, debug: "warn"',
    ]);
  });

  it('values of another type in the file, where nothing is coerced', () => {
    expect(problemsOf({}, { log: { replicas: '3' }, mqtt: 'x', dataDir: 7 })).toEqual([
      expect.stringMatching(/^mqtt: is a section/),
      'dataDir: must be string: "7"',
      'log.replicas: must be integer: "3"',
    ]);
  });

  it('a text or a list that is one longer than its bound', () => {
    expect(problemsOf({ SALLYPORT_DATA_DIR: 'x'.repeat(4096) })).toEqual([]);
    expect(problemsOf({ SALLYPORT_DATA_DIR: 'x'.repeat(4097) })).toHaveLength(1);
    expect(problemsOf({ SALLYPORT_MQTT__PROXY_FROM: 'a,b' })).toEqual([]);
    expect(problemsOf({ SALLYPORT_MQTT__PROXY_FROM: 'a,b,c' })).toHaveLength(1);
    expect(problemsOf({ SALLYPORT_MQTT__PROXY_FROM: `a,${'x'.repeat(41)}` })).toHaveLength(1);
  });

  it('a _FILE that does not exist, is too large, or belongs to no secret', () => {
    const large = inFile('large', 'x'.repeat(64 * 1024 + 1));
    expect(problemsOf({ SALLYPORT_BOOTSTRAP__ADMIN_PASSWORD_FILE: '/nowhere/password' })).toEqual([
      'SALLYPORT_BOOTSTRAP__ADMIN_PASSWORD_FILE: names a file that cannot be read (ENOENT): /nowhere/password',
    ]);
    expect(problemsOf({ SALLYPORT_BOOTSTRAP__ADMIN_PASSWORD_FILE: large })).toEqual([
      'SALLYPORT_BOOTSTRAP__ADMIN_PASSWORD_FILE: names a file of more than 65536 bytes',
    ]);
    expect(problemsOf({ SALLYPORT_BOOTSTRAP__API_KEY_FILE: large })).toEqual([
      expect.stringContaining('bootstrap.apiKey is no secret and has no _FILE'),
    ]);
  });

  it('a secret and its _FILE together', () => {
    const path = inFile('password', 'long enough to pass');
    expect(
      problemsOf({
        SALLYPORT_BOOTSTRAP__ADMIN_PASSWORD: 'long enough to pass',
        SALLYPORT_BOOTSTRAP__ADMIN_PASSWORD_FILE: path,
      }),
    ).toEqual([
      'SALLYPORT_BOOTSTRAP__ADMIN_PASSWORD_FILE: SALLYPORT_BOOTSTRAP__ADMIN_PASSWORD and SALLYPORT_BOOTSTRAP__ADMIN_PASSWORD_FILE are both set; set one of them',
    ]);
  });

  it('a file that is missing, no JSON, or no object, without quoting it', () => {
    expect(() => loadConfig({ schema, env: { SALLYPORT_CONFIG: '/nowhere.json' } })).toThrow(
      /\/nowhere\.json: the file cannot be read \(ENOENT\)/,
    );
    expect(problemsOf({}, '{"apiSecret": hunter2')).toEqual([
      expect.stringMatching(/c\.json: the file is not JSON$/),
    ]);
    expect(problemsOf({}, '[]')).toEqual([expect.stringMatching(/must hold a JSON object$/)]);
  });

  it('a section that is begun and lacks a required key', () => {
    expect(problemsOf({ SALLYPORT_TLS__MIN_VERSION: '1.3' })).toEqual([
      'SALLYPORT_TLS__CERTIFICATE: is required and not set',
    ]);
  });

  it('a half-set pair through check, naming the key that is missing', () => {
    const load = (env: Record<string, string>) =>
      loadConfig({
        schema,
        env,
        check: (config) => allOrNone(config, ['bootstrap.apiKey', 'bootstrap.apiSecret']),
      });
    expect(() => load({ SALLYPORT_BOOTSTRAP__API_KEY: 'ci' })).toThrow(
      'bootstrap.apiSecret: is not set, but bootstrap.apiKey is',
    );
    expect(() => load({ SALLYPORT_BOOTSTRAP__API_SECRET: 's' })).toThrow(
      'bootstrap.apiKey: is not',
    );
    expect(load({}).bootstrap).toEqual({});
    const both = { SALLYPORT_BOOTSTRAP__API_KEY: 'ci', SALLYPORT_BOOTSTRAP__API_SECRET: 's' };
    expect(load(both).bootstrap).toEqual({ apiKey: 'ci', apiSecret: 's' });
  });

  it('everything at once, and no secret is in the message', () => {
    const problems = problemsOf(
      {
        SALLYPORT_BOOTSTRAP__ADMIN_PASSWORD: 'too-short',
        SALLYPORT_LOG__RATIO: '2',
        SALLYPORT_REDIS__URL: 'not-a-url-hunter2',
        SALLYPORT_NOPE: 'x',
      },
      { log: { leve: 'x' } },
    );
    expect(problems).toHaveLength(5);
    expect(problems.join()).not.toMatch(/too-short|hunter2/);
  });
});

describe('loadConfig', () => {
  it('answers the defaults when nothing is set', () => {
    expect(loadConfig({ schema, env: {} })).toEqual({
      dataDir: './data',
      log: { level: 'info', replicas: 1, ratio: 0.5, verbose: false },
      mqtt: { proxyFrom: [], tcp: { listen: '127.0.0.1:1883' } },
      redis: {},
      bootstrap: {},
    });
  });

  it('puts the environment over the file over the defaults', () => {
    const file = inFile('c.json', JSON.stringify({ log: { level: 'debug', replicas: 3 } }));
    const env = { SALLYPORT_CONFIG: file, SALLYPORT_LOG__REPLICAS: '5' };
    expect(loadConfig({ schema, env }).log).toEqual({
      level: 'debug',
      replicas: 5,
      ratio: 0.5,
      verbose: false,
    });
  });

  it('reads numbers, booleans, lists and nested sections from text', () => {
    const config = loadConfig({
      schema,
      env: {
        SALLYPORT_LOG__RATIO: '0.25',
        SALLYPORT_LOG__VERBOSE: 'true',
        SALLYPORT_MQTT__PROXY_FROM: '127.0.0.1, ::1',
        SALLYPORT_MQTT__TCP__LISTEN: '[::1]:1883',
        SALLYPORT_DATA_DIR: '/var/lib/sallyport',
      },
    });
    expect(config.log).toMatchObject({ ratio: 0.25, verbose: true });
    expect(config.mqtt).toEqual({ proxyFrom: ['127.0.0.1', '::1'], tcp: { listen: '[::1]:1883' } });
    expect(config.dataDir).toBe('/var/lib/sallyport');
  });

  it('reads a secret from its file without the last line break only', () => {
    const path = inFile('password', ' pass phrase \n\n');
    const env = { SALLYPORT_BOOTSTRAP__ADMIN_PASSWORD_FILE: path };
    expect(loadConfig({ schema, env }).bootstrap.adminPassword).toBe(' pass phrase \n');
  });

  it('fills an optional section with its defaults once one of its keys is set', () => {
    const config = loadConfig({ schema, env: { SALLYPORT_TLS__CERTIFICATE: '/c.pem' } });
    expect(config.tls).toEqual({ certificate: '/c.pem', minVersion: '1.2' });
  });

  it('freezes the result at every depth, and never the schema', () => {
    const config = loadConfig({ schema, env: {} });
    expect(() => Object.assign(config.mqtt.tcp, { listen: 'off' })).toThrow(TypeError);
    expect(() => (config.mqtt.proxyFrom as string[]).push('x')).toThrow(TypeError);
    expect(Object.isFrozen(schema.properties.mqtt)).toBe(false);
  });

  it('asserts on a schema without description, bounds, or with a default that is not valid', () => {
    const load = (key: Parameters<typeof Type.Object>[0]) => () =>
      loadConfig({ schema: Type.Object(key), env: {} });
    expect(load({ a: Type.String({ default: 'x' }) })).toThrow('config key a has no description');
    expect(load({ a: Type.Integer({ description: 'x', minimum: 1 }) })).toThrow('no maximum');
    expect(load({ a: ConnectAddress({ description: 'x', default: 'off' }) })).toThrow(
      'default of a',
    );
  });
});

describe('redacted', () => {
  it('hides secrets and passwords in URLs, and keeps the rest', () => {
    const config = loadConfig({
      schema,
      env: {
        SALLYPORT_BOOTSTRAP__ADMIN_PASSWORD: 'correct horse battery',
        SALLYPORT_REDIS__URL: 'redis://app:hunter2@127.0.0.1:6379/0',
      },
    });
    expect(redacted(config, schema)).toEqual({
      dataDir: './data',
      log: { level: 'info', replicas: 1, ratio: 0.5, verbose: false },
      mqtt: { proxyFrom: [], tcp: { listen: '127.0.0.1:1883' } },
      redis: { url: 'redis://app:[redacted]@127.0.0.1:6379/0' },
      bootstrap: { adminPassword: '[redacted]' },
    });
  });
});

describe('printReference', () => {
  it('has a row for every key', () => {
    const lines = printReference(schema).split('\n');
    expect(lines).toContain(
      "| `mqtt.tcp.listen` | `SALLYPORT_MQTT__TCP__LISTEN` | `127.0.0.1:1883` | host:port, [ipv6]:port or 'off' | MQTT over TCP. |",
    );
    expect(lines).toContain(
      '| `log.level` | `SALLYPORT_LOG__LEVEL` | `info` | `info`, `debug` | Least severity \\| that is written. |',
    );
    expect(lines).toContain(
      '| `bootstrap.adminPassword` | `SALLYPORT_BOOTSTRAP__ADMIN_PASSWORD` or `SALLYPORT_BOOTSTRAP__ADMIN_PASSWORD_FILE` | – | 12 to 4096 characters | First password. |',
    );
    expect(lines).toContain(
      '| `log.replicas` | `SALLYPORT_LOG__REPLICAS` | `1` | 1 to 5 | Copies. |',
    );
    expect(lines.filter((line) => line.startsWith('| `'))).toHaveLength(13);
  });
});
