import { RawMqtt5Client } from '@sallyport/test-kit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Api } from '../harness/api.ts';
import { type Standalone, startStandalone } from '../harness/standalone.ts';

/** Each of these ended the process once. */
describe('what the fuzzer has found', () => {
  let broker: Standalone;
  let login: { readonly username: string; readonly password: string };

  beforeAll(async () => {
    broker = await startStandalone();
    const api = await Api.login(broker.url, 'admin', broker.adminPassword);
    login = await api.addDevice('device', [
      { effect: 'allow', action: 'all', topicFilter: 'dev/#' },
    ]);
  });

  afterAll(() => broker?.[Symbol.asyncDispose]());

  async function open(clientId: string, stored = false): Promise<RawMqtt5Client> {
    const client = await RawMqtt5Client.open(broker.mqttPort);
    const properties = stored ? { sessionExpiryInterval: 600 } : {};
    const { reasonCode } = await client.connect({
      ...{ clientId, cleanStart: !stored, properties },
      ...{ username: login.username, password: login.password },
    });
    expect(reasonCode).toBe(0);
    return client;
  }

  it('a message that is handed on to a stored member of a share group reaches it when it comes back', async () => {
    const filter = { topicFilter: '$share/g/dev/x', qos: 1 };
    const away = await open('away', true);
    await away.subscribe(filter);
    await away.disconnect();
    const leaving = await open('leaving');
    await leaving.subscribe(filter);
    await using publisher = await open('publisher');
    expect(await publisher.deliver({ topicName: 'dev/x', payload: 'work' })).toBe(0);
    await leaving.expect('publish');
    await leaving.disconnect(); // Without an acknowledgement.
    await publisher.ping();
    await using back = await open('away', true);
    const { payload } = await back.take();
    expect(payload.toString()).toBe('work');
    await publisher.ping();
  });
});
