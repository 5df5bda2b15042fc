import { randomInt } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { DISCONNECT, RawMqttClient, until } from '@sallyport/test-kit';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { Api } from '../harness/api.ts';
import { type Door, DurablePublisher, DurableSubscriber } from '../harness/durable-clients.ts';
import { type Standalone, startStandalone } from '../harness/standalone.ts';

const ROUNDS = 5;
/** Of each publisher in each round: all of them together must fit into the queue of a client that is away. */
const MESSAGES = 60;
const TIMEOUT_MS = 15_000;

let standalone: Standalone;
let door: Door;
let clients: { lose(): Promise<void> }[];

beforeEach(async () => {
  clients = [];
  standalone = await startStandalone({ SALLYPORT_MQTT__LIMITS__SHUTDOWN_WILL_SECONDS: '1' });
  const api = await Api.login(standalone.url, 'admin', standalone.adminPassword);
  const { username, password } = await api.addDevice('device', [
    { effect: 'allow', action: 'all', topicFilter: '#' },
  ]);
  door = { port: standalone.mqttPort, username, password };
});

afterEach(async () => {
  await Promise.all(clients.map((client) => client.lose()));
  await standalone?.[Symbol.asyncDispose]();
});

async function subscriber(
  clientId: string,
  topicFilter: string,
  qos: number,
): Promise<DurableSubscriber> {
  const client = new DurableSubscriber(clientId, door);
  clients.push(client);
  await client.connect();
  await client.subscribe(topicFilter, qos);
  return client;
}

/** A client that is connected with a clean session and acknowledges by hand. */
async function connected(options: object = {}): Promise<RawMqttClient> {
  const { port, ...credentials } = door;
  const client = await RawMqttClient.open(port);
  clients.push({ lose: () => client[Symbol.asyncDispose]() });
  const clientId = `c${randomInt(1e9)}`;
  const { returnCode } = await client.connect({ clientId, ...credentials, ...options });
  expect(returnCode).toBe(0);
  return client;
}

const kill = async (): Promise<void> => {
  await standalone.process.kill();
  await Promise.all(clients.map((client) => client.lose()));
};

/** First occurrences only: what a receiver of QoS 1 makes of repetitions. */
const distinct = (list: readonly string[]): string[] => [...new Set(list)];

/** What a subscriber took, against what the publishers of that QoS published: nothing lost, in order, QoS 2 once. */
function expectComplete(taker: DurableSubscriber, publishers: readonly DurablePublisher[]): void {
  for (const publisher of publishers) {
    const all = Array.from({ length: publisher.published }, (_, n) => `${publisher.clientId} ${n}`);
    const got = taker.taken.get(`load/${publisher.qos}/${publisher.clientId}`) ?? [];
    const what = `${taker.clientId} from ${publisher.clientId}`;
    expect(publisher.acknowledged, what).toHaveLength(all.length);
    expect(publisher.qos === 2 ? got : distinct(got), what).toEqual(all);
  }
}

/** Four publishers, and a promise of the moment at which a number of messages has been acknowledged. */
class Load {
  readonly publishers: readonly DurablePublisher[];
  #acknowledged = 0;
  #goal = Infinity;
  #reached: () => void = () => undefined;

  constructor() {
    const onAcknowledged = (): void => {
      if (++this.#acknowledged >= this.#goal) this.#reached();
    };
    this.publishers = ([1, 2] as const).flatMap((qos) =>
      [0, 1].map((number) => {
        const clientId = `publisher-${qos}-${number}`;
        const topicName = `load/${qos}/${clientId}`;
        return new DurablePublisher(clientId, door, { topicName, qos, onAcknowledged });
      }),
    );
    clients.push(...this.publishers);
  }

  of(qos: 1 | 2): readonly DurablePublisher[] {
    return this.publishers.filter((publisher) => publisher.qos === qos);
  }

  /** Publishes, until a number of acknowledgements that is drawn has come. */
  async someOf(messages: number): Promise<void> {
    this.#goal = this.#acknowledged + randomInt(1, this.publishers.length * messages);
    const reached = new Promise<void>((resolve) => (this.#reached = resolve));
    for (const publisher of this.publishers) publisher.add(messages);
    await Promise.race([reached, this.finished()]);
  }

  finished(): Promise<void> {
    return until(
      () => this.publishers.every(({ idle }) => idle),
      TIMEOUT_MS,
      () => 'publishers wait for acknowledgements',
    );
  }
}

it('what was acknowledged survives SIGKILL at any moment: messages for clients that are away and that are connected, QoS 2 exactly once', async () => {
  const load = new Load();
  for (const client of load.publishers) await client.connect();
  const away1 = await subscriber('away-1', 'load/1/#', 1);
  const away2 = await subscriber('away-2', 'load/2/#', 2);
  const there1 = await subscriber('there-1', 'load/1/#', 1);
  const there2 = await subscriber('there-2', '#', 2);
  await away1.lose();
  await away2.lose();

  for (let round = 0; round < ROUNDS; round++) {
    await load.someOf(MESSAGES);
    await delay(randomInt(4));
    await kill();
    await standalone.process.start();
    for (const client of [...load.publishers, there1, there2]) await client.connect();
  }
  await load.finished();
  await away1.connect();
  await away2.connect();
  await settled([away1, away2, there1, there2]);

  expectComplete(away1, load.of(1));
  expectComplete(away2, load.of(2));
  expectComplete(there1, load.of(1));
  expectComplete(there2, load.publishers);
});

/** Nothing has come for a while. */
async function settled(subscribers: readonly DurableSubscriber[]): Promise<void> {
  const count = () => subscribers.reduce((sum, one) => sum + one.count, 0);
  for (let before = -1; before !== count();) {
    before = count();
    await delay(500);
  }
}

it('retained messages that were acknowledged survive SIGKILL, and those that were removed stay away', async () => {
  /** For each topic what may be retained: the last value that was acknowledged, or one that was sent after it. */
  const possible = new Map<string, string[]>();
  let version = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const publisher = await connected();
    const stop = Promise.race([publisher.closed, delay(randomInt(20, 200))]).then(kill);
    const write = async (): Promise<void> => {
      for (;;) {
        const topicName = `retained/${randomInt(20)}`;
        const payload = randomInt(4) === 0 ? '' : String(version++);
        const values = possible.get(topicName) ?? [''];
        values.push(payload);
        possible.set(topicName, values);
        publisher.publish({ topicName, payload, qos: 1, retain: true, packetId: 1 });
        await publisher.expect('puback');
        possible.set(topicName, [payload]);
      }
    };
    await expect(write()).rejects.toThrow('ended');
    await stop;
    await standalone.process.start();
    const found = await retained('retained/#');
    for (const [topicName, values] of possible) {
      expect(values, `round ${round}: ${topicName}`).toContain(found.get(topicName) ?? '');
      // What is there now is what the next round starts from.
      possible.set(topicName, [found.get(topicName) ?? '']);
    }
    for (const topicName of found.keys()) expect([...possible.keys()]).toContain(topicName);
  }
  expect(version).toBeGreaterThan(ROUNDS);
});

/** What a new subscription gets at once. */
async function retained(topicFilter: string): Promise<ReadonlyMap<string, string>> {
  const client = new DurableSubscriber(`r${randomInt(1e9)}`, door);
  clients.push(client);
  await client.connect();
  await client.subscribe(topicFilter, 1);
  await settled([client]);
  return new Map([...client.taken].map(([name, values]) => [name, values.at(-1) ?? '']));
}

it('the wills of clients that were connected at a SIGKILL are published once, soon after the restart', async () => {
  const observer = await subscriber('observer', 'will/#', 1);
  for (let round = 0; round < 3; round++) {
    const willOf = (name: string) => ({
      clientId: name,
      will: {
        topicName: `will/${round}/${name}`,
        payload: 'gone',
        qos: 1,
        retain: name === 'kept',
      },
    });
    const polite = await connected(willOf('polite'));
    polite.send(DISCONNECT);
    await polite.closed;
    await connected(willOf('clean'));
    await connected({ ...willOf('persistent'), cleanSession: false });
    await connected(willOf('kept'));
    await observer.lose();
    await kill();
    await standalone.process.start();
    await observer.connect();
    const names = ['clean', 'persistent', 'kept'];
    const expected = names.map((name) => `will/${round}/${name}`);
    const ofRound = () => [...observer.taken.keys()].filter((n) => n.startsWith(`will/${round}/`));
    await until(
      () => ofRound().length === expected.length,
      TIMEOUT_MS,
      () => `wills of round ${round}: ${ofRound().join()}`,
    );
    expect(ofRound().sort()).toEqual(expected.sort());
  }
  // No will comes twice, and none for who said goodbye.
  await settled([observer]);
  for (const [name, payloads] of observer.taken) expect(payloads, name).toEqual(['gone']);
  expect([...(await retained('will/+/kept')).keys()]).toHaveLength(3);
});

it('MQTT-3.1.1 [MQTT-3.1.2-8] the will of a client that was connected when the broker was stopped is published once, when it is back', async () => {
  const observer = await subscriber('observer', 'will/#', 1);
  const willOf = (name: string) => ({
    clientId: name,
    will: { topicName: `will/${name}`, payload: 'gone', qos: 1 },
  });
  const polite = await connected(willOf('polite'));
  polite.send(DISCONNECT);
  await polite.closed;
  await connected(willOf('clean'));
  await connected({ ...willOf('persistent'), cleanSession: false });
  await standalone.process.stop();
  await Promise.all(clients.map((client) => client.lose()));
  await standalone.process.start();
  await observer.connect();
  await until(() => observer.taken.size >= 2, TIMEOUT_MS);
  await settled([observer]);
  expect([...observer.taken].sort()).toEqual([
    ['will/clean', ['gone']],
    ['will/persistent', ['gone']],
  ]);
});

it('the will of a client that said goodbye is gone when its connection has been closed, SIGKILL or not', async () => {
  const observer = await subscriber('observer', 'will/#', 1);
  for (let round = 0; round < 3; round++) {
    const willOf = (name: string) => ({
      will: { topicName: `will/${round}/${name}`, payload: 'gone', qos: 1 },
    });
    await connected(willOf('stays'));
    const polite = await connected(willOf('polite'));
    polite.send(DISCONNECT);
    await polite.closed;
    await kill();
    await standalone.process.start();
    await observer.connect();
    await until(() => observer.taken.has(`will/${round}/stays`), TIMEOUT_MS);
  }
  await settled([observer]);
  expect([...observer.taken.keys()]).toEqual([0, 1, 2].map((round) => `will/${round}/stays`));
});

it('subscriptions survive SIGKILL, and those that were removed stay away', async () => {
  const keeper = await subscriber('keeper', 'keep/#', 1);
  await keeper.subscribe('drop/#', 1);
  await keeper.unsubscribe('drop/#');
  await kill();
  await standalone.process.start();
  const publisher = await connected();
  for (const topicName of ['drop/1', 'keep/1']) {
    publisher.publish({ topicName, payload: 'x', qos: 1, packetId: 1 });
    await publisher.expect('puback');
  }
  await keeper.connect();
  await settled([keeper]);
  expect([...keeper.taken.keys()]).toEqual(['keep/1']);
});
