import { DEFAULT_SETTINGS } from '@sallyport/domain';
import type { RawMqtt5Client } from '@sallyport/test-kit';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type ConnectCase,
  type ConnectExpectation,
  listenerOf,
  loadConnectCases,
} from '../cases/connects.ts';
import { CaseWorld } from '../harness/case-world.ts';

/** From here on a reason code refuses. */
const REFUSED_MIN = 0x80;

/** Of the CONNACK; `cut` where there is none. */
async function answerTo(
  world: CaseWorld,
  expectation: ConnectExpectation,
): Promise<{ readonly answer: number | 'cut'; readonly client?: RawMqtt5Client }> {
  const { clientId = 'pump-7', username, password } = expectation;
  try {
    const client = await world.openBy(expectation, listenerOf(expectation));
    const { reasonCode } = await client.connect({
      clientId,
      cleanStart: true,
      ...(username !== undefined && { username }),
      ...(password !== undefined && { password }),
    });
    return { answer: reasonCode, client };
  } catch {
    return { answer: 'cut' };
  }
}

async function ask(
  world: CaseWorld,
  expectation: ConnectExpectation,
  ids: ReadonlyMap<string, string>,
): Promise<void> {
  const { allowed, as, handshake, clientId = 'pump-7' } = expectation;
  const said = JSON.stringify(expectation);
  const { answer, client } = await answerTo(world, expectation);
  try {
    if (handshake === 'fails') expect(answer, said).toBe('cut');
    else if (!allowed) expect(answer, said).toBeGreaterThanOrEqual(REFUSED_MIN);
    else expect(answer, said).toBe(0);
    if (!allowed || as === undefined) return;
    const asked = { connection: clientId, action: 'publish', topic: 'a' };
    const { credential } = await world.api.expect<{ credential: { id: string } }>(
      ...([200, 'POST', '/api/v1/explain', asked] as const),
    );
    expect(ids.get(credential.id) ?? credential.id.replace(/^cert:.*/, 'unbound'), said).toBe(as);
  } finally {
    client?.destroy();
    await client?.closed;
  }
}

async function run(world: CaseWorld, one: ConnectCase): Promise<void> {
  const ids = new Map<string, string>();
  const scopes = Object.entries(one.chains ?? {});
  for (const [scope, chain] of scopes) {
    await world.api.expect(200, 'PUT', `/api/v1/auth-chains/${scope}`, chain);
  }
  for (const { id, chain, ...credential } of one.credentials) {
    const authenticator = 'password_based:built_in_database';
    const member = chain === undefined ? {} : { chain: { scope: chain, authenticator } };
    const body = { name: id, ...credential, ...member };
    const added = await world.api.expect<{ id: string }>(201, 'POST', '/api/v1/credentials', body);
    ids.set(added.id, id);
  }
  const settings = { ...DEFAULT_SETTINGS, noMatch: 'deny', ...one.settings };
  await world.api.expect(200, 'PATCH', '/api/v1/settings?wait=enforced', settings);
  try {
    for (const expectation of one.expectations) await ask(world, expectation, ids);
  } finally {
    for (const id of ids.keys()) await world.api.expect(204, 'DELETE', `/api/v1/credentials/${id}`);
    // One that lists nobody gives the listener back to the global chain.
    const nobody = { authenticators: [], anonymous: false };
    for (const [scope] of scopes) {
      await world.api.expect(200, 'PUT', `/api/v1/auth-chains/${scope}`, nobody);
    }
  }
}

describe.each(loadConnectCases())('over MQTT, $file', ({ cases, ...listeners }) => {
  let world: CaseWorld;

  beforeAll(async () => {
    world = await CaseWorld.start(listeners);
  });
  afterAll(() => world?.[Symbol.asyncDispose]());

  test.each(cases)('$title', (one) => run(world, one));
});
