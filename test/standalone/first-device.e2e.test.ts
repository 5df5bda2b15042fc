import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { freePorts, removeFolder, repositoryPath, tempFolder } from '@sallyport/test-kit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Api } from '../harness/api.ts';
import { MosquittoSub, run } from '../harness/mosquitto.ts';
import { type Standalone, startStandalone } from '../harness/standalone.ts';

let sallyport: Standalone;

beforeAll(async () => {
  sallyport = await startStandalone();
});

afterAll(() => sallyport[Symbol.asyncDispose]());

const curl = async (...args: string[]): Promise<unknown> => {
  const { stdout, stderr, code } = await run('curl', ['--silent', '--show-error', ...args]);
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout);
};

const mosquitto = (user: string, password: string, topic: string): string[] => [
  ...['-p', String(sallyport.mqttPort), '-u', user, '-P', password, '-t', topic],
];

const publish = (
  user: string,
  password: string,
  topic: string,
  message: string,
  ...more: string[]
) => run('mosquitto_pub', [...mosquitto(user, password, topic), '-m', message, ...more]);

describe("a device by the two lines of TBMQ's documentation", () => {
  it('is refused before it exists, then publishes and subscribes in its topics and in no others', async () => {
    const before = await publish('test_user', 'test_pass', 'test_basic/1', 'hi', '-q', '1');
    expect(before).toMatchObject({ code: 4 });

    const login = (await curl(
      ...['--location', '--request', 'POST', `${sallyport.url}/api/auth/login`],
      ...['--header', 'Content-Type: application/json', '--data-raw'],
      JSON.stringify({ username: 'sysadmin@example.org', password: sallyport.adminPassword }),
    )) as { token: string };
    const created = await curl(
      ...['--location', '--request', 'POST', `${sallyport.url}/api/mqtt/client/credentials`],
      ...['--header', `X-Authorization: Bearer ${login.token}`],
      ...['--header', 'Content-Type: application/json', '--data-raw'],
      `{
        "clientId": null,
        "credentialsType":"MQTT_BASIC",
        "credentialsValue":"{\\"userName\\":\\"test_user\\",\\"password\\":\\"test_pass\\",\\"authorizationRulePattern\\":\\"test_basic/.*\\"}"
      }`,
    );
    expect(created).toMatchObject({
      credentialsType: 'MQTT_BASIC',
      credentialsId: 'username|test_user',
    });

    await using sub = await MosquittoSub.start(mosquitto('test_user', 'test_pass', 'test_basic/#'));
    const wrong = await publish('test_user', 'wrong', 'test_basic/1', 'no', '-q', '1');
    expect(wrong).toMatchObject({ code: 4 });
    const other = await publish('test_user', 'test_pass', 'other/1', 'no', '-q', '1');
    expect(other.code).not.toBe(0);
    const denied = await run('mosquitto_sub', [
      ...mosquitto('test_user', 'test_pass', 'other/#'),
      ...['-d', '-W', '3', '-E'],
    ]);
    expect(denied.stdout + denied.stderr).toMatch(/All subscription requests were denied/);
    expect(await publish('test_user', 'test_pass', 'test_basic/1', 'hi')).toMatchObject({
      code: 0,
    });
    await sub.waitFor(/^test_basic\/1 hi$/m);
    expect(sub.output).not.toMatch(/ no$/m);

    const list = (await curl(
      ...[`${sallyport.url}/api/mqtt/client/credentials`],
      ...['--header', `X-Authorization: Bearer ${login.token}`],
    )) as { id: string }[];
    expect(list).toHaveLength(1);
    expect(JSON.stringify(list)).not.toMatch(/test_pass|argon2/);
    const removed = await run('curl', [
      ...['--silent', '--request', 'DELETE', '--write-out', '%{http_code}'],
      `${sallyport.url}/api/mqtt/client/credentials/${list[0]?.id}`,
      ...['--header', `X-Authorization: Bearer ${login.token}`],
    ]);
    expect(removed.stdout).toBe('200');
    const after = await publish('test_user', 'test_pass', 'test_basic/1', 'hi', '-q', '1');
    expect(after).toMatchObject({ code: 4 });
  });
});

describe('the first device of the README', () => {
  it('works as it is written there', async () => {
    const api = await Api.login(sallyport.url, 'admin', sallyport.adminPassword);
    await api.expect(201, 'POST', '/api/v1/credentials', {
      name: 'Pump 7',
      match: { username: 'pump-7' },
      password: 'a secret of the pump',
    });
    const rule = { effect: 'allow', action: 'all', topicFilter: 'plant/pump-7/#' };
    const path = '/api/v1/acl/usernames/pump-7/rules?wait=enforced';
    const answer = await api.send('POST', path, rule);
    expect(answer.status).toBe(201);
    expect(answer.headers.get('sallyport-enforced')).toBe('true');

    const secret = 'a secret of the pump';
    await using sub = await MosquittoSub.start(mosquitto('pump-7', secret, 'plant/pump-7/#'));
    await publish('pump-7', secret, 'plant/pump-7/rpm', '1450');
    await sub.waitFor(/^plant\/pump-7\/rpm 1450$/m);
    const refused = await publish('pump-7', secret, 'plant/other', '1', '-q', '1');
    expect(refused.code).not.toBe(0);
  });
});

describe('the process', () => {
  it('keeps what was acknowledged when it is killed, and makes no second administrator', async () => {
    const api = await Api.login(sallyport.url, 'admin', sallyport.adminPassword);
    const device = await api.addDevice('survivor', [
      { effect: 'allow', action: 'all', topicFilter: 's/#' },
    ]);
    await sallyport.process.restart('kill');
    const again = await Api.login(sallyport.url, 'admin', sallyport.adminPassword);
    const operators = await again.expect<{ items: unknown[] }>(200, 'GET', '/api/v1/operators');
    expect(operators.items).toHaveLength(1);
    const sent = await publish(device.username, device.password, 's/1', 'x', '-q', '1');
    expect(sent).toMatchObject({ code: 0 });
  });

  it('says which key of its configuration is wrong, and does not start', async () => {
    const refused = startStandalone({ SALLYPORT_MQTT__TPC__LISTEN: '127.0.0.1:1' });
    await expect(refused).rejects.toThrow(/SALLYPORT_MQTT__TPC__LISTEN/);
  });
});

describe('npm start', () => {
  it('ends with all its processes when whoever has started it ends it', async () => {
    const dataDir = tempFolder('npm-start');
    const [http = 0, mqtt = 0, ws = 0] = await freePorts(3);
    const npm = spawn('npm', ['start'], {
      cwd: repositoryPath('.'),
      // A group of its own, so that nothing is left of it when this fails.
      detached: true,
      stdio: ['ignore', 'pipe', 'ignore'],
      env: {
        ...process.env,
        SALLYPORT_DATA_DIR: dataDir,
        SALLYPORT_HTTP__LISTEN: `127.0.0.1:${http}`,
        SALLYPORT_MQTT__TCP__LISTEN: `127.0.0.1:${mqtt}`,
        SALLYPORT_MQTT__WS__LISTEN: `127.0.0.1:${ws}`,
      },
    });
    try {
      let told = '';
      for await (const chunk of npm.stdout.iterator({ destroyOnReturn: false })) {
        told += String(chunk);
        if (told.includes('Ctrl-C stops it')) break;
      }
      // Each process has this pipe: it ends with the last of them.
      const ended = once(npm, 'close', { signal: AbortSignal.timeout(20_000) });
      npm.stdout.resume();
      npm.kill('SIGTERM');
      await ended;
      await expect(fetch(`http://127.0.0.1:${http}/livez`)).rejects.toThrow('fetch failed');
    } finally {
      if (npm.pid !== undefined) killGroup(npm.pid);
      removeFolder(dataDir);
    }
  });
});

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    // There is none any more.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
