import { duplexPair } from 'node:stream';
import { createLocalBus } from '@sallyport/message-bus';
import {
  type ConnectVerdict,
  defaultLimits,
  Engine,
  type MqttHooks,
  type SessionRights,
} from '@sallyport/mqtt-session';
import {
  askedFilter,
  decideMessage,
  decideSubscribe,
  Dice,
  filterMatches,
  judgeWorld,
  type RandomWorld,
  randomWorld,
  WORLD_TOPICS,
} from '@sallyport/rules/testing';
import { createMemorySessionStore } from '@sallyport/session-store';
import { RawMqtt5Client } from '@sallyport/test-kit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { LiveSession } from './access/live-sessions.ts';
import { AedesKernel } from './engine/aedes-kernel.ts';
import { ClientRights } from './hooks/client-rights.ts';

const WORLDS = 150;
const FILTERS_ASKED = 4;
/** From here on a reason code refuses. */
const REFUSED_MIN = 0x80;
const NEAR_MS = 1;
/** Of three levels every so manieth is enough. */
const DEEP_STEP = 12;
const KEPT = WORLD_TOPICS.filter(
  (topic, index) => topic.split('/').length < 3 || index % DEEP_STEP === 0,
);

let engine: Engine;
let kernel: AedesKernel;
/** Of whoever connects next. */
let next: SessionRights;

const hooks: MqttHooks = {
  authenticate: (_client, { clientId }): ConnectVerdict => ({
    ...{ accepted: true, rights: next, owner: clientId, principal: { clientId } },
  }),
  authenticateEnhanced: () => undefined,
  ended: () => undefined,
  storedWillTopic: () => Promise.resolve(undefined),
};

beforeAll(async () => {
  const store = createMemorySessionStore();
  const fail = (problem: Error): never => {
    throw problem;
  };
  kernel = await AedesKernel.start({ store, bus: createLocalBus(), onProblem: fail });
  engine = new Engine({
    nodeId: 'node-1',
    limits: defaultLimits,
    store,
    kernel,
    hooks,
    observer: { count: () => undefined, clientError: () => undefined, problem: fail },
    clock: () => 0,
  });
  await kernel.connect(engine);
  for (const topic of KEPT) {
    const message = { topic, payload: Buffer.from(topic), qos: 0, retain: true } as const;
    await new Promise<void>((resolve) => {
      kernel.publish({ ...message, clientId: 'publisher' }, undefined, () => {
        resolve();
      });
    });
  }
});

afterAll(async () => {
  await engine[Symbol.asyncDispose]();
  await kernel.close();
});

/** A connection that is judged as that of the world is. */
async function connectAs(world: RandomWorld, clientId: string): Promise<RawMqtt5Client> {
  const { policy, facts } = judgeWorld(world);
  const { credential } = world;
  const principal = { credentialId: credential.id, store: credential.store, facts };
  const { attributes } = facts;
  const resolved = { policyId: policy.policyId, tags: [], ...(attributes && { attributes }) };
  const admitted = { principal, resolved, policy, revision: 1 };
  next = new ClientRights(new LiveSession(admitted, () => undefined), { info: () => undefined });
  const [here, there] = duplexPair();
  engine.accept(there, { listener: 'tcp:default', peer: '192.0.2.1:1' });
  const client = RawMqtt5Client.over(here);
  expect((await client.connect({ clientId, cleanStart: true })).reasonCode).toBe(0);
  return client;
}

/** Topics of what is delivered: as many as expected, and whatever comes beside them. */
async function delivered(client: RawMqtt5Client, expected: number): Promise<readonly string[]> {
  const topics: string[] = [];
  while (topics.length < expected) {
    const packet = await client.receive();
    if (packet.type === 'publish') topics.push(packet.topicName);
  }
  await client.ping();
  for (;;) {
    const packet = await client.receive(NEAR_MS).catch(() => undefined);
    if (packet === undefined) return topics.sort();
    if (packet.type === 'publish') topics.push(packet.topicName);
  }
}

/** What somebody with these rights is told of all that is retained, who subscribes to this. */
function keptFor(world: RandomWorld, filter: string): readonly string[] {
  const way = { qos: 0, retain: false } as const;
  return KEPT.filter(
    (topic) => filterMatches(filter, topic) && decideMessage(world, 'receive', topic, way).allowed,
  ).sort();
}

test('threats A7: retained messages are delivered as the documents say, to whoever it is', async () => {
  const first = Math.floor(Math.random() * 2 ** 31);
  console.log(`retained messages for random worlds from seed ${first}`);
  let withheld = 0;
  for (let seed = first; seed < first + WORLDS; seed++) {
    const dice = new Dice(seed);
    const world = randomWorld(dice);
    const client = await connectAs(world, `client-${seed}`);
    for (let asked = 0; asked < FILTERS_ASKED; asked++) {
      const filter = askedFilter(dice);
      const way = { qos: dice.pick([0, 1, 2] as const), shared: false };
      const { allowed } = decideSubscribe(world, filter, way, WORLD_TOPICS);
      const said = `seed ${seed}: ${filter}`;
      const { reasonCodes } = await client.subscribe({ topicFilter: filter, qos: way.qos });
      expect((reasonCodes[0] ?? REFUSED_MIN) < REFUSED_MIN, said).toBe(allowed);
      const wanted = allowed ? keptFor(world, filter) : [];
      expect(await delivered(client, wanted.length), said).toEqual(wanted);
      withheld += KEPT.filter((topic) => filterMatches(filter, topic)).length - wanted.length;
      await client.unsubscribe(filter);
    }
    client.destroy();
  }
  expect(withheld).toBeGreaterThan(0);
}, 120_000);
