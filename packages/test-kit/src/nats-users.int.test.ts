import { AckPolicy, type JetStreamManager, jetstream, jetstreamManager } from '@nats-io/jetstream';
import { Kvm } from '@nats-io/kv';
import { headers, type NatsConnection } from '@nats-io/nats-core';
import { connect } from '@nats-io/transport-node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  NATS_LOG_API_PREFIX,
  NATS_LOG_STREAM,
  NATS_NODES_BUCKET,
  type NatsServer,
  type NatsUser,
  startNatsServer,
} from './nats-server.ts';

const passwords = {
  'admin-api': 'first',
  'admin-api-nodes': 'one more',
  policy: '2nd',
  broker: '33',
} as const;
const READERS = ['policy', 'broker'] as const;
const FORGED = 'sallyport.log.credential.forged';
const REFUSED_TIMEOUT_MS = 500;

let nats: NatsServer;
const connections = {} as Record<NatsUser, NatsConnection>;
/** What the server said about each user's violations. */
const violations: Record<NatsUser, string[]> = {
  'admin-api': [],
  'admin-api-nodes': [],
  policy: [],
  broker: [],
};

async function managerOf(user: NatsUser, apiPrefix = '$JS.API'): Promise<JetStreamManager> {
  return jetstreamManager(connections[user], { timeout: 2000, apiPrefix, checkAPI: false });
}

async function lastSequence(): Promise<number> {
  const manager = await managerOf('admin-api');
  const { state } = await manager.streams.info(NATS_LOG_STREAM);
  expect(state.first_seq).toBe(1);
  // A consumer of the log would be a way to publish in its account.
  expect(state.consumer_count).toBe(0);
  return state.last_seq;
}

/** The request is refused by the server: nobody answers, and the violation names the subject. */
async function refused(user: NatsUser, subject: string, body = '{}'): Promise<void> {
  const before = violations[user].length;
  const request = connections[user].request(subject, body, { timeout: REFUSED_TIMEOUT_MS });
  await expect(request).rejects.toThrow();
  await connections[user].flush();
  expect(violations[user].slice(before).join()).toContain(`"${subject}"`);
}

beforeAll(async () => {
  nats = await startNatsServer({ users: passwords });
  for (const user of ['admin-api', 'admin-api-nodes', ...READERS] as const) {
    const connection = await connect({ servers: nats.address, user, pass: passwords[user] });
    connections[user] = connection;
    void (async () => {
      for await (const status of connection.status()) {
        if (status.type === 'error') violations[user].push(status.error.message);
      }
    })();
  }
  const manager = await managerOf('admin-api');
  await manager.streams.add({
    name: NATS_LOG_STREAM,
    subjects: ['sallyport.log.>'],
    republish: { src: 'sallyport.log.>', dest: 'sallyport.log-feed.>', headers_only: true },
    deny_delete: true,
    deny_purge: true,
    allow_direct: false,
  });
  await new Kvm(connections.broker).create(NATS_NODES_BUCKET, { history: 64 });
  await jetstream(connections['admin-api']).publish('sallyport.log.credential.a', 'commit', {
    msgID: 'one',
    expect: { lastSequence: 0 },
  });
});

afterAll(async () => {
  await Promise.all(Object.values(connections).map((connection) => connection.close()));
  await nats.stop();
});

describe('who has no user', () => {
  it.each([
    {},
    { user: 'broker' },
    { user: 'broker', pass: 'first' },
    { user: 'nobody', pass: '33' },
  ])('does not get in: %j', async (login) => {
    await expect(connect({ servers: nats.address, ...login })).rejects.toThrow(/Authorization/);
  });
});

describe.each(READERS)('%s', (user) => {
  it('cannot append to the log', async () => {
    const before = await lastSequence();
    await refused(user, 'sallyport.log.credential.a', 'forged');
    await refused(user, 'sallyport.log.operator.x', 'forged');
    expect(await lastSequence()).toBe(before);
  });

  const operations = [
    `STREAM.PURGE.${NATS_LOG_STREAM}`,
    `STREAM.DELETE.${NATS_LOG_STREAM}`,
    `STREAM.UPDATE.${NATS_LOG_STREAM}`,
    `STREAM.CREATE.${NATS_LOG_STREAM}`,
    `STREAM.MSG.DELETE.${NATS_LOG_STREAM}`,
    `STREAM.SNAPSHOT.${NATS_LOG_STREAM}`,
    `STREAM.RESTORE.${NATS_LOG_STREAM}`,
    `STREAM.LEADER.STEPDOWN.${NATS_LOG_STREAM}`,
    `STREAM.PEER.REMOVE.${NATS_LOG_STREAM}`,
    `DIRECT.GET.${NATS_LOG_STREAM}`,
    'STREAM.CREATE.another',
    `CONSUMER.CREATE.${NATS_LOG_STREAM}`,
    `CONSUMER.CREATE.${NATS_LOG_STREAM}.mine`,
    `CONSUMER.DURABLE.CREATE.${NATS_LOG_STREAM}.mine`,
    `CONSUMER.DELETE.${NATS_LOG_STREAM}.other`,
    `CONSUMER.MSG.NEXT.${NATS_LOG_STREAM}.other`,
    `CONSUMER.LIST.${NATS_LOG_STREAM}`,
  ];
  it.each(operations.flatMap((one) => [`$JS.API.${one}`, `${NATS_LOG_API_PREFIX}.${one}`]))(
    'is refused %s',
    async (subject) => {
      await refused(user, subject);
      expect(await lastSequence()).toBeGreaterThan(0);
    },
  );

  it('cannot make the server append for it, through the reply subject of a request', async () => {
    const before = await lastSequence();
    const connection = connections[user];
    const requests = [
      [`${NATS_LOG_API_PREFIX}.STREAM.INFO.${NATS_LOG_STREAM}`, ''],
      [`${NATS_LOG_API_PREFIX}.STREAM.MSG.GET.${NATS_LOG_STREAM}`, '{"seq":1}'],
    ] as const;
    for (const [subject, body] of requests) {
      for (const reply of [FORGED, `$JS.ACK.${FORGED}`, `_R_.${FORGED}`]) {
        connection.publish(subject, body, { reply });
      }
    }
    await connection.flush();
    // Answered after the ones above, which the server handles in order.
    for (const [subject, body] of requests) {
      const answer = await connection.request(subject, body, { timeout: 2000 });
      expect(answer.json()).not.toHaveProperty('error');
    }
    expect(await lastSequence()).toBe(before);
  });

  it('reads the log: head, record, and on the feed that there is one more, but not what', async () => {
    const manager = await managerOf(user, NATS_LOG_API_PREFIX);
    const head = (await manager.streams.info(NATS_LOG_STREAM)).state.last_seq;
    expect(head).toBe(await lastSequence());
    const first = await manager.streams.getMessage(NATS_LOG_STREAM, { seq: 1 });
    expect(first?.string()).toBe('commit');
    const feed = connections[user].subscribe('sallyport.log-feed.>', { max: 1 });
    await connections[user].flush();
    await jetstream(connections['admin-api']).publish('sallyport.log.group.g', 'secret');
    for await (const message of feed) {
      expect(message.headers?.get('Nats-Sequence')).toBe(String(head + 1));
      expect(message.string()).toBe('');
    }
  });

  it('cannot say on the feed that there is one more', async () => {
    await refused(user, 'sallyport.log-feed.group.g');
  });
});

describe.each([
  ['what replaces an imported hash', 'sallyport.rehash'],
  ['who asks for access', 'sallyport.registration'],
])('%s', (_, SUBJECT) => {
  it('is not for brokers to say, or for anybody to hear but admin-api', async () => {
    await refused('broker', SUBJECT);
    await refused('admin-api-nodes', SUBJECT);
    await refused('policy', `${SUBJECT}.more`);
    const refusals: string[] = [];
    connections.broker.subscribe(SUBJECT, {
      callback: (error) => void refusals.push(error?.message ?? 'heard'),
    });
    await expect.poll(() => refusals.join()).toContain(`"${SUBJECT}"`);
  });

  it('reaches one replica of admin-api, and its reply subject gets nothing into the log', async () => {
    const before = await lastSequence();
    const heard: string[] = [];
    const replicas = [1, 2].map(() =>
      connections['admin-api'].subscribe(SUBJECT, {
        queue: 'admin-api',
        callback: (_, message) => void heard.push(message.string()),
      }),
    );
    await connections['admin-api'].flush();
    for (const text of ['a', 'b', 'c']) {
      connections.policy.publish(SUBJECT, text, { reply: FORGED });
    }
    await connections.policy.flush();
    await expect.poll(() => [...heard].sort()).toEqual(['a', 'b', 'c']);
    for (const one of replicas) one.unsubscribe();
    await connections['admin-api'].flush();
    // Now nobody listens, and the server says so to the reply subject.
    connections.policy.publish(SUBJECT, 'd', { reply: FORGED });
    await connections.policy.flush();
    expect(await lastSequence()).toBe(before);
  });
});

describe('policy', () => {
  it('has no JetStream of its own', async () => {
    await refused('policy', '$JS.API.INFO');
  });

  it('does not hear the inboxes of brokers', async () => {
    const heard: string[] = [];
    const inboxes = connections.policy.subscribe('_INBOX.>', {
      callback: (_, message) => void heard.push(message.subject),
    });
    await connections.policy.flush();
    await (await managerOf('broker', NATS_LOG_API_PREFIX)).streams.info(NATS_LOG_STREAM);
    const own = connections.policy.request(`${NATS_LOG_API_PREFIX}.STREAM.INFO.${NATS_LOG_STREAM}`);
    const { subject } = await own;
    await connections.policy.flush();
    expect(heard).toEqual([subject]);
    inboxes.unsubscribe();
  });

  it('says nothing on the bus and nothing about nodes', async () => {
    await refused('policy', 'sallyport.bus.a');
    await refused('policy', `$KV.${NATS_NODES_BUCKET}.broker-1`);
    await refused('policy', `$JS.API.STREAM.CREATE.KV_${NATS_NODES_BUCKET}`);
  });
});

/** What a broker that was taken over makes the server publish, with bytes of its own. Arrives on the bus as a control. */
describe('broker, taken over', () => {
  const stream = `KV_${NATS_NODES_BUCKET}`;
  const key = `$KV.${NATS_NODES_BUCKET}.forged`;
  /** Says that it comes from the account of the log. */
  const forgedOrigin = () => {
    const forged = headers();
    forged.set('Nats-Request-Info', JSON.stringify({ acc: 'LOG', svc: 'LOG' }));
    return forged;
  };

  it.each([
    [`$JS.API.DIRECT.GET.${stream}`, JSON.stringify({ last_by_subj: key })],
    [`$JS.API.STREAM.MSG.GET.${stream}`, JSON.stringify({ last_by_subj: key })],
    [`$JS.API.DIRECT.GET.${stream}.${key}`, ''],
    ['$JS.API.INFO', ''],
  ])('does not get what %s answers into the log', async (subject, body) => {
    const before = await lastSequence();
    const { broker } = connections;
    await jetstream(broker).publish(key, 'a commit');
    broker.publish(subject, body, { reply: FORGED });
    const control = broker.subscribe('sallyport.bus.control', { max: 1 });
    broker.publish(subject, body, { reply: 'sallyport.bus.control' });
    let arrived = 0;
    for await (const message of control) arrived += message.data.length;
    expect(arrived).toBeGreaterThan(0);
    expect(await lastSequence()).toBe(before);
  });

  const targets = [
    [FORGED, 'a commit'],
    ...['$JS.API', NATS_LOG_API_PREFIX].flatMap((prefix) => [
      [`${prefix}.STREAM.DELETE.${NATS_LOG_STREAM}`, ''],
      [`${prefix}.STREAM.PURGE.${NATS_LOG_STREAM}`, ''],
      [`${prefix}.STREAM.MSG.DELETE.${NATS_LOG_STREAM}`, '{"seq":1}'],
      [
        `${prefix}.CONSUMER.CREATE.${NATS_LOG_STREAM}`,
        JSON.stringify({
          stream_name: NATS_LOG_STREAM,
          config: { deliver_subject: FORGED, ack_policy: 'none' },
        }),
      ],
    ]),
  ] as [string, string][];

  /** The server answers with the stored headers and bytes, to any subject of the account. */
  const answerTo = async (subject: string, body: string): Promise<void> => {
    const { broker } = connections;
    await jetstream(broker).publish(key, body, { headers: forgedOrigin() });
    const request = JSON.stringify({ last_by_subj: key });
    broker.publish(`$JS.API.DIRECT.GET.${stream}`, request, { reply: subject });
    const control = broker.subscribe('sallyport.bus.control', { max: 1 });
    broker.publish(`$JS.API.DIRECT.GET.${stream}`, request, { reply: 'sallyport.bus.control' });
    for await (const message of control) expect(message.string()).toBe(body);
  };

  it.each(targets)(
    'does not reach the log with its bytes as a request to %s',
    async (...target) => {
      const before = await lastSequence();
      await answerTo(...target);
      await connections.broker.request('$JS.API.INFO', '', { timeout: 2000 });
      expect(await lastSequence()).toBe(before);
    },
  );

  it('reaches its own account like that, so the refusals above are about the log', async () => {
    const manager = await managerOf('broker');
    await answerTo(`$JS.API.STREAM.PURGE.${stream}`, '');
    await expect.poll(async () => (await manager.streams.info(stream)).state.messages).toBe(0);
  });

  it.each(targets)(
    'does not reach the log with a push consumer that delivers to %s',
    async (subject, body) => {
      const before = await lastSequence();
      const { broker } = connections;
      const manager = await managerOf('broker');
      const { seq } = await jetstream(broker).publish(key, body, { headers: forgedOrigin() });
      const config = {
        ack_policy: AckPolicy.Explicit,
        deliver_policy: 'by_start_sequence',
        opt_start_seq: seq,
        filter_subject: key,
      } as const;
      const forging = await manager.consumers.add(stream, { ...config, deliver_subject: subject });
      const control = broker.subscribe('sallyport.bus.control', { max: 1 });
      const other = await manager.consumers.add(stream, {
        ...config,
        deliver_subject: 'sallyport.bus.control',
      });
      for await (const message of control) expect(message.string()).toBe(body);
      const { delivered } = await manager.consumers.info(stream, forging.name);
      for (const one of [forging, other]) await manager.consumers.delete(stream, one.name);
      // Not even in its own account: nobody listens there.
      expect(delivered.consumer_seq).toBe(0);
      expect(await lastSequence()).toBe(before);
    },
  );

  it('cannot take more of the disk than its account may have, nor another stream', async () => {
    const { broker } = connections;
    const info = await (await managerOf('broker')).getAccountInfo();
    expect(info.limits).toMatchObject({ max_streams: 1, max_storage: 1024 ** 3 });
    await refused('broker', '$JS.API.STREAM.CREATE.another');
    expect(broker.isClosed()).toBe(false);
  });
});

describe('broker', () => {
  it('reaches other brokers on the bus, and no other subject', async () => {
    const inbox = connections.broker.subscribe('sallyport.bus.>', { max: 1 });
    connections.broker.publish('sallyport.bus.a.b', 'hello');
    for await (const message of inbox) expect(message.string()).toBe('hello');
    await refused('broker', 'sallyport.other');
    await refused('broker', 'bus.a');
  });

  it('keeps the registry of nodes, which admin-api reads and watches', async () => {
    const bucket = await new Kvm(connections.broker).create(NATS_NODES_BUCKET, { history: 64 });
    await bucket.put('broker-1', 'revision 1');
    const reader = connections['admin-api-nodes'];
    const view = await new Kvm(reader).create(NATS_NODES_BUCKET, { history: 64 });
    expect((await view.get('broker-1'))?.string()).toBe('revision 1');
    const watch = await view.watch();
    await bucket.put('broker-2', 'revision 2');
    const keys: string[] = [];
    for await (const entry of watch) {
      if (!entry.key.startsWith('broker-')) continue;
      keys.push(entry.key);
      if (keys.length === 2) break;
    }
    expect(keys).toEqual(['broker-1', 'broker-2']);
    await bucket.purge('broker-1');
    await refused('admin-api-nodes', `$KV.${NATS_NODES_BUCKET}.broker-2`);
    await refused('admin-api-nodes', `$KV.${NATS_NODES_BUCKET}.node.broker-2`);
    expect(await view.put('barrier.1', 'its own')).toBeGreaterThan(0);
  });
});

describe('questions to nodes', () => {
  it('are asked by the second user of admin-api and answered by a broker, on subjects that nobody else has', async () => {
    const asked = connections.broker.subscribe('sallyport.ask.broker-1', {
      callback: (_, message) => connections.broker.publish(message.reply ?? '', 'answer'),
    });
    await connections.broker.flush();
    const reply = 'sallyport.answer.mine.1';
    const answers = connections['admin-api-nodes'].subscribe(reply, { max: 1 });
    connections['admin-api-nodes'].publish('sallyport.ask.broker-1', 'question', { reply });
    for await (const message of answers) expect(message.string()).toBe('answer');
    asked.unsubscribe();
    // A broker that was taken over asks nobody, and admin-api answers nobody.
    await refused('broker', 'sallyport.ask.broker-2');
    await refused('admin-api-nodes', 'sallyport.answer.mine.1');
    for (const user of ['policy', 'admin-api'] as const) {
      await refused(user, 'sallyport.ask.broker-1');
      await refused(user, 'sallyport.answer.mine.1');
    }
  });
});

describe('admin-api', () => {
  it('appends with an expected head, and loses when it is stale', async () => {
    const log = jetstream(connections['admin-api']);
    const head = await lastSequence();
    const answer = await log.publish('sallyport.log.group.g', 'commit', {
      expect: { lastSequence: head },
    });
    expect(answer.seq).toBe(head + 1);
    await expect(
      log.publish('sallyport.log.group.g', 'late', { expect: { lastSequence: head } }),
    ).rejects.toThrow(`wrong last sequence: ${head + 1}`);
  });

  it.each(['PURGE', 'DELETE', 'UPDATE', 'MSG.DELETE', 'RESTORE', 'SNAPSHOT'])(
    'may not %s the log either',
    async (verb) => {
      await refused('admin-api', `$JS.API.STREAM.${verb}.${NATS_LOG_STREAM}`);
    },
  );

  it('may create no consumer, and reaches no account but that of the log', async () => {
    await refused('admin-api', `$JS.API.CONSUMER.CREATE.${NATS_LOG_STREAM}`);
    await refused('admin-api', `$KV.${NATS_NODES_BUCKET}.broker-2`);
    await refused('admin-api', 'sallyport.bus.a');
    await refused('admin-api-nodes', FORGED);
    await refused('admin-api-nodes', 'sallyport.bus.a');
  });
});
