import { DEFAULT_SETTINGS } from '@sallyport/domain';
import { RawMqtt5Client } from '@sallyport/test-kit';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  CASE_CREDENTIAL_ID,
  type DecisionCase,
  type Expectation,
  loadDecisionCases,
} from '../cases/load.ts';
import { Api } from '../harness/api.ts';
import { type Standalone, startStandalone } from '../harness/standalone.ts';

/** From here on a reason code refuses. */
const REFUSED_MIN = 0x80;
const PUBLISHER = 'the-publisher-of-the-cases';

let standalone: Standalone;
let api: Api;
let publisher: RawMqtt5Client;
let credentialId: string | undefined;
/** Addresses of what the last case has made. */
const made: string[] = [];

beforeAll(async () => {
  standalone = await startStandalone();
  api = await Api.login(standalone.url, 'admin', standalone.adminPassword);
  await addCredential(PUBLISHER, { clientId: PUBLISHER }, { superuser: true });
  publisher = await open(PUBLISHER);
});

afterAll(async () => {
  publisher?.destroy();
  await standalone?.[Symbol.asyncDispose]();
});

async function addCredential(name: string, match: object, more: object = {}): Promise<string> {
  const body = { name, match, passwordRequired: false, ...more };
  return (await api.expect<{ id: string }>(201, 'POST', '/api/v1/credentials', body)).id;
}

async function open(clientId: string, username?: string): Promise<RawMqtt5Client> {
  const client = await RawMqtt5Client.open(standalone.mqttPort);
  const answer = await client.connect({
    clientId,
    cleanStart: true,
    ...(username && { username }),
  });
  expect(answer.reasonCode).toBe(0);
  return client;
}

/** The rows of a case, with the numbers as ids that the expectations name. */
async function putRules(path: string, rows: DecisionCase['tables']['everyone']): Promise<void> {
  const address = `/api/v1/acl/${path}`;
  if (rows === undefined) {
    const { status } = await api.send('DELETE', address);
    expect([204, 404]).toContain(status);
    return;
  }
  const rules = rows.map((row, index) => ({ ...row, ruleId: String(index + 1) }));
  const { status, body } = await api.send('PUT', address, { rules });
  expect([200, 201], JSON.stringify(body)).toContain(status);
}

/** Makes an object; answers its id. */
async function add(address: string, body: object): Promise<string> {
  const { id } = await api.expect<{ id: string }>(201, 'POST', address, body);
  made.push(`${address}/${id}`);
  return id;
}

/** The access of the case, with the ids that its roles have got. */
async function accessOf({ credential, roles = [] }: DecisionCase): Promise<object> {
  const access = credential?.access;
  if (access?.kind !== 'roles') return { ...credential };
  const ids: string[] = [];
  for (const { id, permissions } of roles) {
    const added = await add('/api/v1/roles', { name: id, permissions });
    if (access.roles.includes(id)) ids.push(added);
  }
  return { ...credential, access: { ...access, roles: ids } };
}

async function putGroups({ groups }: DecisionCase, credential: string): Promise<void> {
  const ids = new Map<string, string>();
  for (const [name, permissions] of Object.entries(groups?.rows ?? {})) {
    const body = { name, description: '', permissions };
    ids.set(name, await add('/api/v1/groups', body));
  }
  const rules = (groups?.rules ?? []).map(({ matchBy, value, groups: names }) => ({
    matchBy,
    value: matchBy === 'credential' && value === CASE_CREDENTIAL_ID ? credential : value,
    groups: names.map((name) => ids.get(name) ?? name),
  }));
  await api.expect(200, 'PUT', '/api/v1/group-rules', { rules });
}

async function setUp(one: DecisionCase): Promise<void> {
  const { clientId, username } = one.facts;
  if (credentialId !== undefined) {
    await api.expect(204, 'DELETE', `/api/v1/credentials/${credentialId}`);
  }
  for (const address of made.splice(0)) await api.expect(204, 'DELETE', address);
  const match = username === undefined ? { clientId } : { username };
  credentialId = await addCredential('the case', match, await accessOf(one));
  await putGroups(one, credentialId);
  const { client, username: ofUsername, everyone } = one.tables;
  await putRules(`clients/${encodeURIComponent(clientId)}`, client);
  if (username !== undefined)
    await putRules(`usernames/${encodeURIComponent(username)}`, ofUsername);
  await putRules('everyone', everyone);
  const settings = { ...DEFAULT_SETTINGS, ...one.settings, denyAction: 'ignore' };
  await api.expect(200, 'PATCH', '/api/v1/settings?wait=enforced', settings);
}

/** Whether it was allowed, or undefined where nothing on the wire tells. */
async function ask(
  client: RawMqtt5Client,
  { action, topic, qos, retain = false, shared = false }: Expectation,
): Promise<boolean | undefined> {
  if (action === 'receive') return undefined;
  const topicFilter = shared ? `$share/of-the-case/${topic}` : topic;
  if (action === 'subscribe') {
    const { reasonCodes } = await client.subscribe({ topicFilter, qos: qos ?? 0 });
    return (reasonCodes[0] ?? REFUSED_MIN) < REFUSED_MIN;
  }
  if (action === 'unsubscribe') {
    const { reasonCodes } = await client.unsubscribe(topicFilter);
    return (reasonCodes[0] ?? REFUSED_MIN) < REFUSED_MIN;
  }
  // A QoS 0 message is answered by nothing; where no rule asks for the QoS any other will do.
  if (qos === 0) return undefined;
  const code = await client.deliver({
    topicName: topic,
    payload: Buffer.from('x'),
    qos: qos ?? 1,
    retain,
  });
  return code < REFUSED_MIN;
}

/** What is delivered of these topics, to the subscriptions that were granted. */
async function received(client: RawMqtt5Client, topics: readonly string[]): Promise<Set<string>> {
  for (const topic of topics)
    await publisher.deliver({ topicName: topic, payload: Buffer.from('delivery') });
  await client.ping();
  const found = new Set<string>();
  for (;;) {
    const packet = await client.receive(20).catch(() => undefined);
    if (packet === undefined) return found;
    if (packet.type === 'publish' && packet.payload.toString() === 'delivery') {
      found.add(packet.topicName);
    }
  }
}

const hasNul = (facts: DecisionCase['facts']): boolean => JSON.stringify(facts).includes('\\u0000');
const cases = loadDecisionCases().filter(
  ({ mqtt, rulesOnly, facts }) =>
    mqtt === undefined &&
    rulesOnly === undefined &&
    facts.certificate === undefined &&
    facts.username !== '' &&
    !hasNul(facts),
);

test('nearly all cases can be asked over MQTT', () => {
  expect(cases.length).toBeGreaterThanOrEqual(300);
});

describe.each(cases)('over MQTT, $file: $title', (one) => {
  test('every decision is the same', async () => {
    await setUp(one);
    const client = await open(one.facts.clientId, one.facts.username);
    try {
      for (const expectation of one.expectations) {
        const allowed = await ask(client, expectation);
        if (allowed === undefined) continue;
        expect(allowed, JSON.stringify(expectation)).toBe(expectation.allowed);
      }
      const deliveries = one.expectations.filter(
        ({ action, topic }) => action === 'receive' && !topic.startsWith('$'),
      );
      const found = await received(
        client,
        deliveries.map(({ topic }) => topic),
      );
      // What may be delivered is not, when no filter of the case asks for it.
      for (const { topic, allowed } of deliveries)
        if (!allowed) expect([...found]).not.toContain(topic);
    } finally {
      client.destroy();
    }
  });
});
