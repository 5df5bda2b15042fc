import { setTimeout as pause } from 'node:timers/promises';
import { RawMqttClient, RawMqtt5Client } from '@sallyport/test-kit';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { counted } from '../harness/metrics.ts';
import { PROFILES, type Running, startProfile } from '../harness/profiles.ts';

const FAILURES_MAX = 3;
const SOURCE_FAILURES_MAX = 12;
const DELAY_SECONDS = 2;
const SHORT_CONNECTS_MAX = 6;

const RIGHT = 0;
const SERVER_UNAVAILABLE = 3;
const CONNECTION_RATE_EXCEEDED = 0x9f;

/** Every test comes from an address of its own, so that none pays for another's failures. */
const ADDRESSES = ['127.0.0.11', '127.0.0.12', '127.0.0.13', '127.0.0.14', '127.0.0.15'];
const DEVICE_ADDRESS = '127.0.0.21';

interface Device {
  readonly username: string;
  readonly password: string;
}

describe.each(PROFILES)('guessing on the %s profile', (profile) => {
  let running: Running;
  let device: Device;
  let clients: AsyncDisposable[] = [];
  let unique = 0;

  beforeAll(async () => {
    running = await startProfile(profile, {
      SALLYPORT_MQTT__GUESSING__FAILURES_MAX: String(FAILURES_MAX),
      SALLYPORT_MQTT__GUESSING__SOURCE_FAILURES_MAX: String(SOURCE_FAILURES_MAX),
      SALLYPORT_MQTT__GUESSING__DELAY_SECONDS: String(DELAY_SECONDS),
      SALLYPORT_MQTT__FLAPPING__CREDENTIAL_CONNECTS_MAX: String(SHORT_CONNECTS_MAX),
    });
    device = await running.api.addDevice('device', []);
  });
  afterAll(() => running?.[Symbol.asyncDispose]());
  afterEach(async () => {
    for (const client of clients.splice(0)) await client[Symbol.asyncDispose]();
    clients = [];
  });

  const port = (): number => running.mqttPorts[0] ?? 0;
  const addressOf = (test: number): string => ADDRESSES[test] ?? '';

  /** The code of the CONNACK, for a client id that nobody has used. */
  async function connect(address: string, who: Device): Promise<number> {
    const client = await RawMqttClient.open(port(), '127.0.0.1', address);
    clients.push(client);
    unique += 1;
    return (await client.connect({ clientId: `c-${unique}`, cleanSession: true, ...who }))
      .returnCode;
  }

  async function connect5(address: string, who: Device): Promise<number> {
    const client = await RawMqtt5Client.open(port(), '127.0.0.1', address);
    clients.push(client);
    unique += 1;
    return (await client.connect({ clientId: `c-${unique}`, cleanStart: true, ...who })).reasonCode;
  }

  const guess = (address: string, username = device.username): Promise<number> =>
    connect(address, { username, password: `wrong ${(unique += 1)}` });

  /** The codes of so many guesses, one after the other. */
  async function guesses(times: number, address: string, username?: string): Promise<number[]> {
    const codes: number[] = [];
    for (let index = 0; index < times; index++) codes.push(await guess(address, username));
    return codes;
  }

  it('who guesses under ever new client ids is refused unseen, and the device is not, from anywhere else', async () => {
    const address = addressOf(0);
    const codes = await guesses(FAILURES_MAX + 3, address);
    expect(new Set(codes.slice(0, FAILURES_MAX + 1)).has(SERVER_UNAVAILABLE)).toBe(false);
    expect(codes.slice(FAILURES_MAX + 1)).toEqual([SERVER_UNAVAILABLE, SERVER_UNAVAILABLE]);
    // Not even with the right one: a guesser is told nothing.
    expect(await connect5(address, device)).toBe(CONNECTION_RATE_EXCEEDED);
    expect(await connect(DEVICE_ADDRESS, device)).toBe(RIGHT);
    const [opsUrl = ''] = running.opsUrls;
    expect(await counted(opsUrl, 'sallyport_guessing_delays', { kind: 'name' })).toBe(1);
    // What another process has written comes here a moment later.
    const told = (): string[] =>
      running.logLines().filter((line) => line.includes('secrets are guessed'));
    await expect.poll(told).toHaveLength(1);
    expect(told()[0]).toContain(address);
    expect(told()[0]).not.toContain('wrong');
    const path = '/api/v1/refused-connections?sort=lastAt,desc&pageSize=50';
    const page = await running.api.expect<{ items: { reason: string; address: string }[] }>(
      200,
      'GET',
      path,
    );
    expect(page.items).toContainEqual(expect.objectContaining({ reason: 'guessing', address }));
  });

  it('the delay ends by itself, doubles with the next failure, and is over with the right password', async () => {
    const address = addressOf(1);
    await guesses(FAILURES_MAX + 1, address);
    await pause(DELAY_SECONDS * 1000 + 100);
    expect(await guess(address)).not.toBe(SERVER_UNAVAILABLE);
    await pause(DELAY_SECONDS * 1000 + 100);
    expect(await connect(address, device)).toBe(SERVER_UNAVAILABLE);
    await pause(DELAY_SECONDS * 1000 + 100);
    expect(await connect(address, device)).toBe(RIGHT);
    const codes = await guesses(FAILURES_MAX, address);
    expect(codes).not.toContain(SERVER_UNAVAILABLE);
    expect(await connect(address, device)).toBe(RIGHT);
  });

  it('a name that nobody has is slowed down like one that somebody has', async () => {
    const address = addressOf(2);
    const [known, unknown] = [
      await guesses(FAILURES_MAX + 2, address),
      await guesses(FAILURES_MAX + 2, address, 'nobody'),
    ];
    expect(unknown).toEqual(known);
    expect(known.at(-1)).toBe(SERVER_UNAVAILABLE);
  });

  it('a source that tries many names is slowed down whatever name comes next, and no other source', async () => {
    const address = addressOf(3);
    const codes: number[] = [];
    for (let index = 0; index < SOURCE_FAILURES_MAX + 1; index++) {
      codes.push(await guess(address, `name-${index}`));
    }
    expect(codes).not.toContain(SERVER_UNAVAILABLE);
    expect(await connect(address, device)).toBe(SERVER_UNAVAILABLE);
    expect(await connect(DEVICE_ADDRESS, device)).toBe(RIGHT);
    const [opsUrl = ''] = running.opsUrls;
    expect(await counted(opsUrl, 'sallyport_guessing_delays', { kind: 'source' })).toBe(1);
  });

  it('a credential that comes and goes under ever new client ids is blocked from there, and only from there', async () => {
    const address = addressOf(4);
    const flapper = await running.api.addDevice('flapper', []);
    for (let index = 0; index < SHORT_CONNECTS_MAX; index++) {
      expect(await connect(address, flapper)).toBe(RIGHT);
    }
    // They stay: it is a fleet that shares its credential.
    expect(await connect(address, flapper)).toBe(RIGHT);
    for (const client of clients.splice(0)) await client[Symbol.asyncDispose]();
    await expect.poll(() => connect(address, flapper)).toBe(SERVER_UNAVAILABLE);
    expect(await connect(DEVICE_ADDRESS, flapper)).toBe(RIGHT);
    expect(await connect(address, device)).toBe(RIGHT);
    const [opsUrl = ''] = running.opsUrls;
    expect(await counted(opsUrl, 'sallyport_flapping_blocks', { kind: 'credential' })).toBe(1);
  });
});
