import { HASH_QUEUE_MAX } from '@sallyport/secrets';
import { encodeConnect5, RawMqtt5Client, until } from '@sallyport/test-kit';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Api } from '../harness/api.ts';
import { counted } from '../harness/metrics.ts';
import { type Standalone, startStandalone } from '../harness/standalone.ts';

const LOGINS = 5_000;
/** Sockets that are opened together: as many as the system lets wait. */
const OPENED_TOGETHER = 250;
const SERVER_BUSY = 0x89;
const ANSWER_TIMEOUT_MS = 60_000;

interface Device {
  readonly username: string;
  readonly password: string;
}

let standalone: Standalone;
let api: Api;
const clients: RawMqtt5Client[] = [];

beforeAll(async () => {
  // The first socket waits until the last is open.
  standalone = await startStandalone({ SALLYPORT_MQTT__LIMITS__CONNECT_TIMEOUT_MS: '120000' });
  api = await Api.login(standalone.url, 'admin', standalone.adminPassword);
});
afterAll(async () => {
  for (const client of clients) client.destroy();
  await standalone?.[Symbol.asyncDispose]();
});

async function open(): Promise<RawMqtt5Client> {
  const client = await RawMqtt5Client.open(standalone.mqttPort);
  clients.push(client);
  return client;
}

/** Every login under a client id of its own, so that none is answered together with another. */
async function login(client: RawMqtt5Client, clientId: string, who: Device): Promise<number> {
  client.send(encodeConnect5({ clientId, cleanStart: true, ...who }));
  const connack = await client.receive(ANSWER_TIMEOUT_MS);
  return connack.type === 'connack' ? connack.reasonCode : expect.fail(connack.type);
}

const busy = () => counted(standalone.url, 'sallyport_connects', { outcome: 'server_busy' });

it('threat I6: of 5,000 logins at once with slow secrets some are let in, the others are told that the server is busy, and it goes on', async () => {
  const person = { username: 'person', password: 'chosen by a person' };
  await api.expect(201, 'POST', '/api/v1/credentials?wait=enforced', {
    ...{ name: 'person', match: { username: 'person' }, password: person.password },
  });
  const machine: Device = await api.addDevice('machine', []);
  const storm: RawMqtt5Client[] = [];
  while (storm.length < LOGINS) {
    const some = Array.from({ length: OPENED_TOGETHER }, () => open());
    storm.push(...(await Promise.all(some)));
  }
  const calm = await open();
  const before = await busy();

  const answers = storm.map((client, index) => login(client, `storm-${index}`, person));
  // A secret that is cheap to check waits for nobody's hash.
  expect(await login(calm, 'calm', machine)).toBe(0);
  const codes = await Promise.all(answers);

  const shed = codes.filter((code) => code === SERVER_BUSY).length;
  const admitted = codes.filter((code) => code === 0).length;
  expect(admitted + shed).toBe(LOGINS);
  // What may wait and what is being hashed got in, and there was no room for most of the others.
  expect(admitted).toBeGreaterThanOrEqual(HASH_QUEUE_MAX);
  expect(shed).toBeGreaterThan(LOGINS / 2);
  expect((await busy()) - before).toBe(shed);
  await until(async () => (await login(await open(), 'later', person)) === 0, 10_000);
});
