import { RawMqtt5Client, until } from '@sallyport/test-kit';
import { expect, it } from 'vitest';
import { Api } from '../harness/api.ts';
import { startStandalone } from '../harness/standalone.ts';

const PREFIX = 'SALLYPORT_PASSWORD_POLICY__';
const REGISTRATION = '/api/v1/registration';

it.each([
  [{ [`${PREFIX}LENGTH`]: '8' }, /SALLYPORT_PASSWORD_POLICY__LENGTH: unknown key/],
  [{ [`${PREFIX}MIN`]: '-1' }, /SALLYPORT_PASSWORD_POLICY__MIN: must be >= 0/],
  [{ [`${PREFIX}UPPER`]: '1.5' }, /SALLYPORT_PASSWORD_POLICY__UPPER: must be integer/],
  // The first password of the harness has hexadecimal digits only.
  [
    { [`${PREFIX}UPPER`]: '1', [`${PREFIX}SYMBOL`]: '2' },
    /bootstrap\.adminPassword must have at least 1 upper-case letter \(upper\), 2 symbols \(symbol\)/,
  ],
])('does not start with %j, and says why', async (env, why) => {
  await expect(startStandalone(env)).rejects.toThrow(why);
});

it('asks of everybody what the configuration says', async () => {
  await using standalone = await startStandalone({
    [`${PREFIX}MIN`]: '8',
    [`${PREFIX}SYMBOL`]: '1',
    SALLYPORT_BOOTSTRAP__ADMIN_PASSWORD: 'twelve-characters',
  });
  const api = await Api.login(standalone.url, 'admin', 'twelve-characters');
  const policy = await api.expect(200, 'GET', '/api/v1/password-policy');
  expect(policy).toEqual({ min: 8, lower: 0, upper: 0, numeric: 0, symbol: 1 });
  const body = { name: 'pump', match: { username: 'pump' } };
  const weak = await api.send('POST', '/api/v1/credentials', { ...body, password: 'seven-7' });
  expect([weak.status, weak.body]).toMatchObject([
    422,
    { errors: [{ pointer: '/password', detail: 'must have at least 8 characters (min)' }] },
  ]);
  await api.expect(201, 'POST', '/api/v1/credentials', { ...body, password: 'eight-88' });

  await api.expect(200, 'POST', `${REGISTRATION}/open`, { openDuration: 60_000 });
  for (const [username, password] of [
    ['weak-agent', 'no symbol here'],
    ['agent', 'a-symbol'],
  ] as const) {
    const client = await RawMqtt5Client.open(standalone.mqttPort);
    const { reasonCode } = await client.connect({ clientId: username, username, password });
    expect(reasonCode).toBe(0x86);
    await client[Symbol.asyncDispose]();
  }
  const names = async () => {
    const { items } = await api.expect<{ items: { username: string }[] }>(200, 'GET', REGISTRATION);
    return items.map((one) => one.username);
  };
  // Taken up in the order in which they come.
  await until(async () => (await names()).includes('agent'));
  expect(await names()).toEqual(['agent']);
});
