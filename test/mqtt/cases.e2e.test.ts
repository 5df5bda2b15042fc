import { type RawMqtt5Client, until } from '@sallyport/test-kit';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type DecisionCase,
  type Expectation,
  type FiledCase,
  leftOut,
  loadDecisionCases,
} from '../cases/load.ts';
import { CaseWorld } from '../harness/case-world.ts';
import type { ListenerName } from '../harness/mqtt-streams.ts';

/** From here on a reason code refuses. */
const REFUSED_MIN = 0x80;
const NEAR_MS = 1;
const ALIAS = 1;
const OBSERVER = 'the-observer-of-the-cases';
/** Not sent with the subscription: what earlier cases have retained is nobody's business. */
const EVERYTHING = { topicFilter: '#', qos: 0, retainHandling: 2 } as const;

let world: CaseWorld;
/** May do anything: publishes what is delivered, and sees what is published. */
let observer: RawMqtt5Client;
let messages = 0;

beforeAll(async () => {
  world = await CaseWorld.start();
  const match = { clientId: OBSERVER };
  await world.addCredential(OBSERVER, { match, superuser: true });
  observer = await connected({ facts: { clientId: OBSERVER } });
  await observer.subscribe(EVERYTHING);
});

afterAll(async () => {
  observer?.destroy();
  await world?.[Symbol.asyncDispose]();
});

async function connected(
  one: Pick<DecisionCase, 'facts'>,
  listener?: string,
): Promise<RawMqtt5Client> {
  const { clientId, username } = one.facts;
  const client = await world.open(one, listener);
  const named = username !== undefined && { username };
  const { reasonCode } = await client.connect({ clientId, cleanStart: true, ...named });
  expect(reasonCode, 'reason code of the CONNACK').toBe(0);
  return client;
}

const newPayload = (): string => `message ${messages++}`;

/** What has come so far, by payload: the topic that it was published under. A client that has been pinged has it all. */
async function drained(client: RawMqtt5Client): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (;;) {
    const packet = await client.receive(NEAR_MS).catch(() => undefined);
    if (packet === undefined) return found;
    if (packet.type === 'publish') found.set(packet.payload.toString(), packet.topicName);
  }
}

/** What everybody may see of what was published so far: a message of our own comes after it. */
async function published(): Promise<Map<string, string>> {
  const last = newPayload();
  const found = new Map<string, string>();
  observer.publish({ topicName: 'last', payload: last });
  for (;;) {
    const packet = await observer.receive();
    if (packet.type !== 'publish') continue;
    const payload = packet.payload.toString();
    if (payload === last) return found;
    found.set(payload, packet.topicName);
  }
}

/** Publishes; answers whether it was acknowledged, or undefined at QoS 0, which nothing answers. */
async function publish(
  client: RawMqtt5Client,
  { topic, qos = 1, retain = false, by }: Expectation,
  payload: string,
): Promise<boolean | undefined> {
  const message = { topicName: topic, payload, qos, retain };
  if (by === 'alias') {
    const properties = { topicAlias: ALIAS };
    await client.deliver({ ...message, payload: 'teaches the alias', properties });
    return (await client.deliver({ ...message, topicName: '', properties })) < REFUSED_MIN;
  }
  if (qos > 0) return (await client.deliver(message)) < REFUSED_MIN;
  client.publish(message);
  return undefined;
}

async function ask(
  client: RawMqtt5Client,
  { action, topic, qos = 0, shared = false }: Expectation,
): Promise<boolean> {
  const topicFilter = shared ? `$share/of-the-case/${topic}` : topic;
  const { reasonCodes } =
    action === 'subscribe'
      ? await client.subscribe({ topicFilter, qos, retainHandling: 2 })
      : await client.unsubscribe(topicFilter);
  return (reasonCodes[0] ?? REFUSED_MIN) < REFUSED_MIN;
}

/** Every question is answered as expected, and a message is there or not as it is. */
async function askAll(client: RawMqtt5Client, expectations: readonly Expectation[]): Promise<void> {
  const sent = new Map<string, Expectation>();
  for (const expectation of expectations) {
    const { action, allowed, by } = expectation;
    if (action === 'receive' || by === 'will') continue;
    const payload = newPayload();
    if (action === 'publish') sent.set(payload, expectation);
    const answer =
      action === 'publish'
        ? await publish(client, expectation, payload)
        : await ask(client, expectation);
    expect(answer ?? allowed, JSON.stringify(expectation)).toBe(allowed);
  }
  await client.ping();
  const seen = await published();
  for (const [payload, expectation] of sent) {
    const { allowed, topic, publishes = topic } = expectation;
    const under = seen.get(payload);
    expect(under, `published: ${JSON.stringify(expectation)}`).toBe(
      allowed ? publishes : undefined,
    );
  }
}

/** A will that may not be published refuses its CONNECT; another one is there when the connection is lost. */
async function dieWith(
  one: FiledCase,
  { topic, allowed, publishes = topic, qos = 0, retain = false }: Expectation,
): Promise<void> {
  const { clientId, username } = one.facts;
  const payload = newPayload();
  const will = { topicName: topic, payload, qos, retain };
  const client = await world.open(one);
  const named = username !== undefined && { username };
  const { reasonCode } = await client.connect({ clientId, cleanStart: true, will, ...named });
  expect(reasonCode < REFUSED_MIN, `will: ${topic}`).toBe(allowed);
  client.destroy();
  if (!allowed) return;
  let under: string | undefined;
  await until(async () => (under ??= (await published()).get(payload)) !== undefined);
  expect(under).toBe(publishes);
}

/** Nobody can publish a message under `$…`; what is decided of it is told by `explain` only. */
const isDeliverable = ({ action, topic }: Expectation): boolean =>
  action === 'receive' && !topic.startsWith('$');

/**
 * Subscribes to everything as one who may, takes that right back, and looks at what is delivered then: what the case allows, and
 * nothing else.
 */
async function deliver(client: RawMqtt5Client, one: FiledCase): Promise<void> {
  const deliveries = one.expectations.filter(isDeliverable);
  if (deliveries.length === 0) return;
  const ordinary = one.credential?.superuser !== true;
  if (ordinary) await world.makeSuperuser(true);
  const { reasonCodes } = await client.subscribe(EVERYTHING);
  expect(reasonCodes).toEqual([0]);
  if (ordinary) await world.makeSuperuser(false);
  await drained(client);
  const sent = new Map<string, Expectation>();
  for (const expectation of deliveries) {
    const payload = newPayload();
    sent.set(payload, expectation);
    await observer.deliver({ topicName: expectation.topic, payload });
  }
  await published();
  await client.ping();
  const found = await drained(client);
  for (const [payload, expectation] of sent) {
    const { allowed, topic } = expectation;
    const said = `delivered: ${JSON.stringify(expectation)}`;
    expect(found.get(payload), said).toBe(allowed ? topic : undefined);
  }
}

/** The node's own answers about the live session: which rule decided, and whether deliveries are checked. */
async function explain({ facts, expectations }: FiledCase): Promise<void> {
  for (const expectation of expectations) {
    const { action, topic, allowed, ruleId, checkDeliveries, qos, retain, shared } = expectation;
    const wire = isDeliverable(expectation) || action !== 'receive';
    if (wire && ruleId === undefined && checkDeliveries === undefined) continue;
    const answer = await world.api.expect<{ ruleId: string; checkDeliveries?: boolean }>(
      200,
      'POST',
      '/api/v1/explain',
      {
        connection: facts.clientId,
        action,
        topic: shared === true ? `$share/of-the-case/${topic}` : topic,
        ...(qos !== undefined && { qos }),
        ...(retain !== undefined && { retain }),
      },
    );
    const found = { ...answer, ruleId: world.inCaseWords(answer.ruleId) };
    expect(found, `explained: ${JSON.stringify(expectation)}`).toMatchObject({
      allowed,
      ...(ruleId !== undefined && { ruleId }),
      ...(checkDeliveries !== undefined && { checkDeliveries }),
    });
  }
}

async function runCase(one: FiledCase, listener?: ListenerName): Promise<void> {
  await world.setUp(one);
  const client = await connected(one, listener);
  try {
    await askAll(client, one.expectations);
    await explain(one);
    await deliver(client, one);
  } finally {
    client.destroy();
  }
  for (const expectation of one.expectations) {
    if (expectation.by === 'will') await dieWith(one, expectation);
  }
}

const cases = loadDecisionCases().filter((one) => leftOut(one, 'mqtt') === undefined);

describe.each(cases)('over MQTT, $file: $title', (one) => {
  test('every decision is the same', () => runCase(one));
});

/** The same tables hold on every listener (threats A12): these say nothing of how somebody has come in. */
const ELSEWHERE = ['acl-tables.json', 'credentials.json'];

describe.each(['ws:default', 'ssl:default', 'wss:default'] as const)('by %s', (listener) => {
  test.each(cases.filter(({ file }) => ELSEWHERE.includes(file)))('$file: $title', (one) =>
    runCase(one, listener),
  );
});
