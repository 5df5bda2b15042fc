import { RawMqtt5Client } from '@sallyport/test-kit';
import { connectAsync, type MqttClient } from 'mqtt';
import { afterEach, describe, expect, it } from 'vitest';
import { PROFILES, type Running, startProfile } from '../harness/profiles.ts';

const PER_SECOND = 20;
const BURST = 20;
const SENDERS = 4;
/** Of each sender. */
const MESSAGES = 20;
/** But for the last message of each, which is taken before its sender is held up. */
const TOO_MANY = SENDERS * MESSAGES - BURST - SENDERS;
const HELD_UP_MS = (TOO_MANY * 1000) / PER_SECOND;

const rate = (key: string) => ({
  [`SALLYPORT_MQTT__${key}__PUBLISHES_PER_SECOND`]: String(PER_SECOND),
  [`SALLYPORT_MQTT__${key}__PUBLISHES_BURST`]: String(BURST),
});

describe.each(PROFILES)('publish rates on the %s profile', (profile) => {
  const clients: RawMqtt5Client[] = [];
  let web: MqttClient | undefined;
  let running: Running | undefined;

  afterEach(async () => {
    for (const client of clients.splice(0)) await client[Symbol.asyncDispose]();
    await web?.endAsync(true);
    web = undefined;
    await running?.[Symbol.asyncDispose]();
    running = undefined;
  });

  const rules = [{ effect: 'allow', action: 'all', topicFilter: '#' }] as const;

  async function started(env: Record<string, string>): Promise<Running> {
    running = await startProfile(profile, env);
    return running;
  }

  /** With a credential of its own, on the first node; `source`: as a load balancer would say it. */
  async function device(name: string, { api, mqttPorts }: Running, source?: string) {
    const { username, password } = await api.addDevice(name, rules);
    const client = await RawMqtt5Client.open(mqttPorts[0] ?? 0);
    clients.push(client);
    if (source !== undefined) client.send(Buffer.from(proxied(source)));
    const { reasonCode } = await client.connect({ clientId: name, username, password });
    expect(reasonCode).toBe(0);
    return client;
  }

  const proxied = (source: string): string =>
    source.includes(':')
      ? `PROXY TCP6 ${source} ::1 4711 1883\r\n`
      : `PROXY TCP4 ${source} 127.0.0.1 4711 1883\r\n`;

  /** All that the senders have, at once; and what each of the others waits for its message meanwhile. */
  async function flood(
    receiver: RawMqtt5Client,
    senders: readonly RawMqtt5Client[],
    others: () => Promise<unknown>,
  ) {
    await receiver.subscribe('many/#');
    const start = performance.now();
    for (const client of senders) {
      for (let index = 0; index < MESSAGES; index++) {
        client.publish({ topicName: 'many/t', payload: 'm', qos: 0 });
      }
    }
    await others();
    const othersMs = performance.now() - start;
    for (let count = 0; count < senders.length * MESSAGES; count++) await receiver.take();
    return { othersMs, allMs: performance.now() - start };
  }

  it('whoever shares a source shares its rate, whatever credentials they have, and nobody else', async () => {
    const env = { ...rate('SOURCE_PUBLISH_RATE'), SALLYPORT_MQTT__PROXY_FROM: '127.0.0.1' };
    const here = await started(env);
    for (const [name, sources, other] of [
      ['v4', Array<string>(SENDERS).fill('192.0.2.7'), '192.0.2.8'],
      // A network of 2^64 addresses is one source.
      [
        'v6',
        Array.from({ length: SENDERS }, (_, index) => `2001:db8:0:1::${index + 1}`),
        '2001:db8:0:2::1',
      ],
    ] as const) {
      const receiver = await device(`${name}-receiver`, here, '198.51.100.1');
      const senders: RawMqtt5Client[] = [];
      for (const [index, source] of sources.entries()) {
        senders.push(await device(`${name}-${index}`, here, source));
      }
      const apart = await device(`${name}-apart`, here, other);
      const { othersMs, allMs } = await flood(receiver, senders, () =>
        apart.deliver({ topicName: 'apart', payload: 'a', qos: 1 }),
      );
      expect(allMs).toBeGreaterThan(HELD_UP_MS);
      expect(othersMs).toBeLessThan(HELD_UP_MS);
    }
  });

  it('whoever comes by a listener shares its rate, and nobody of another', async () => {
    const here = await started(rate('TCP__PUBLISH_RATE'));
    const receiver = await device('receiver', here);
    const names = Array.from({ length: SENDERS }, (_, index) => `sender-${index}`);
    const senders: RawMqtt5Client[] = [];
    for (const name of names) senders.push(await device(name, here));
    const { username, password } = await here.api.addDevice('apart', rules);
    web = await connectAsync(`ws://127.0.0.1:${here.wsPort}/mqtt`, {
      ...{ username, password, protocolVersion: 5, reconnectPeriod: 0 },
    });
    const { othersMs, allMs } = await flood(receiver, senders, async () =>
      web?.publishAsync('apart', 'a', { qos: 1 }),
    );
    expect(allMs).toBeGreaterThan(HELD_UP_MS);
    expect(othersMs).toBeLessThan(HELD_UP_MS);
  });
});
