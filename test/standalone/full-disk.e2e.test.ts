import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { diskPath, RawMqtt5Client, until } from '@sallyport/test-kit';
import { expect, it } from 'vitest';
import { type Answer, Api } from '../harness/api.ts';
import { startStandalone } from '../harness/standalone.ts';

const DISK_BYTES = 32 * 1024 * 1024;
/** More than the files of SQLite take up without growing. */
const WRITES_MAX = 3000;

/** Takes what space there is. */
function fill(path: string): void {
  const file = openSync(path, 'w');
  for (const bytes of [1024 * 1024, 4096, 1]) {
    try {
      for (;;) writeSync(file, Buffer.alloc(bytes));
    } catch (error) {
      expect(error).toMatchObject({ code: 'ENOSPC' });
    }
  }
  closeSync(file);
}

it('a disk without space refuses what would be stored with 507, keeps all that was, and is noticed when it has space', async () => {
  await using standalone = await startStandalone({}, { diskBytes: DISK_BYTES });
  const api = await Api.login(standalone.url, 'admin', standalone.adminPassword);
  const { username, password } = await api.addDevice('device', []);
  const filler = join(diskPath(standalone.process.pid, standalone.dataDir), 'filler');
  fill(filler);

  const made: string[] = [];
  const add = async (name: string): Promise<Answer> => {
    const body = { name, match: { username: name }, passwordRequired: false };
    const answer = await api.send('POST', '/api/v1/credentials', body);
    if (answer.status === 201) made.push(name);
    return answer;
  };
  let refused: Answer | undefined;
  let index = 0;
  for (; index < WRITES_MAX && refused === undefined; index++) {
    const answer = await add(`until-${index}`);
    if (answer.status !== 201) refused = answer;
  }
  expect(refused).toMatchObject({ status: 507, body: { code: 'log_full' } });
  // Whoever is there comes in as before.
  const client = await RawMqtt5Client.open(standalone.mqttPort);
  const { reasonCode } = await client.connect({ clientId: 'device', username, password });
  expect(reasonCode).toBe(0);
  await client[Symbol.asyncDispose]();
  expect((await add('still-full')).status).toBe(507);

  rmSync(filler);
  await until(async () => (await add('afterwards')).status === 201, 10_000);
  await until(async () => (await fetch(`${standalone.url}/readyz`)).ok, 10_000);
  const total = async (search: string): Promise<number> => {
    const path = `/api/v1/credentials?search=${search}`;
    return (await api.expect<{ total: number }>(200, 'GET', path)).total;
  };
  // All that was answered 201, and nothing that was answered 507.
  expect(made).toHaveLength(index);
  expect(await total('until-')).toBe(index - 1);
  expect([await total('still-full'), await total('afterwards')]).toEqual([0, 1]);
});
