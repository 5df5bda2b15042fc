import { beforeEach, describe, expect, test } from 'vitest';
import {
  type CloseSession,
  defaultStoreLimits,
  DUE_LEASE_MS,
  TAKEN_WILL_MS,
  type OpenSession,
  PLACES_OF_STEP_MAX,
  type RoutedOrClient,
  SECRET_USES_MAX,
  type SessionStore,
  type StoreBroker,
  type StoredSubscription,
  type StoreLimits,
  type StoreObserver,
  type StorePacket,
} from '../src/session-store.ts';

export interface StoreOptions {
  readonly limits?: StoreLimits;
  readonly observer?: StoreObserver;
}

/** A broker that is alone. */
export const loneBroker: StoreBroker = {
  id: 'lone',
  publish: (_packet, done) => done(null),
  subscribe: (_filter, _listener, done) => done(),
  unsubscribe: (_filter, _listener, done) => done(),
};

/** Names that mean something to JavaScript, SQL, Redis or MQTT. */
export const HOSTILE_NAMES = [
  '__proto__',
  'constructor',
  'hasOwnProperty',
  'a:b',
  '{tag}',
  '}{',
  '*',
  "'; --",
  'a b\n',
  'ü/💧',
  '',
];

const NOW = 1_700_000_000_000;

export const session = (clientId: string, changes: Partial<OpenSession> = {}): OpenSession => ({
  clientId,
  owner: 'credential-1',
  principal: { username: 'u' },
  expirySeconds: 60,
  nodeId: 'node-1',
  cleanStart: false,
  now: NOW,
  ...changes,
});

const closing = (
  clientId: string,
  epoch: number,
  changes: Partial<CloseSession> = {},
): CloseSession => ({
  clientId,
  epoch,
  now: NOW,
  expirySeconds: 60,
  will: 'keep',
  ...changes,
});

export const message = (
  brokerCounter: number,
  changes: Partial<StorePacket> = {},
): StorePacket => ({
  cmd: 'publish',
  topic: 'a/b',
  payload: Buffer.from(`m${brokerCounter}`),
  qos: 1,
  retain: false,
  brokerId: 'broker',
  brokerCounter,
  ...changes,
});

const will: StorePacket = { topic: 'will', payload: Buffer.from([0, 0xff]), qos: 1, retain: true };

const subscription = (topic: string, qos: 0 | 1 | 2 = 1): StoredSubscription => ({
  topic,
  qos,
  rh: 0,
  rap: false,
  nl: false,
});

async function collect(stream: AsyncIterable<unknown>): Promise<StorePacket[]> {
  const packets: StorePacket[] = [];
  for await (const packet of stream) packets.push(packet as StorePacket);
  return packets;
}

/**
 * What every adapter does with sessions, queues and retained messages beyond aedes-persistence.
 * @param open a store that is empty and set up
 */
export function sessionContract(open: (options?: StoreOptions) => Promise<SessionStore>): void {
  let store: SessionStore;
  beforeEach(async () => {
    store = await open();
  });

  const counters = async (clientId: string): Promise<(number | undefined)[]> => {
    const queue = await store.readQueue(clientId, { after: 0, limit: 1000 });
    return queue.map(({ packet }) => packet.brokerCounter);
  };
  const enqueue = async (clientId: string, ...numbers: number[]): Promise<void> => {
    for (const number of numbers) {
      await store.outgoingEnqueueCombi([{ clientId, ...subscription('a/b', 2) }], message(number));
    }
  };
  const due = (now: number, limit = 100) => store.claimDue({ now, limit });

  describe('sessions', () => {
    test('a first session is not present, a second one is, with all that was stored', async () => {
      const first = await store.openSession(session('c'));
      expect(first).toEqual({ present: false, epoch: first.epoch });
      await store.addSubscriptions({ id: 'c' }, [subscription('a/b')]);
      await enqueue('c', 1);
      await store.outgoingEnqueueCombi([], message(2), { clientId: 'c', messageId: 7 });
      await store.closeSession(closing('c', first.epoch));
      const second = await store.openSession(session('c', { nodeId: 'node-2' }));
      expect(second).toEqual({ present: true, epoch: second.epoch });
      expect(second.epoch).toBeGreaterThan(first.epoch);
      expect(await store.subscriptionsByClient({ id: 'c' })).toEqual([subscription('a/b')]);
      expect(await counters('c')).toEqual([1]);
      expect(await store.incomingIds('c')).toEqual([7]);
    });

    test.each([
      ['a clean start', { cleanStart: true }],
      ['another owner', { owner: 'credential-2' }],
      ['the end of its time', { now: NOW + 60_000 }],
    ])('%s forgets everything', async (_reason, changes) => {
      const first = await store.openSession(session('c'));
      await store.addSubscriptions({ id: 'c' }, [subscription('a/b'), subscription('$share/g/x')]);
      await enqueue('c', 1);
      await store.outgoingEnqueueCombi([], message(2), { clientId: 'c', messageId: 7 });
      await store.closeSession(closing('c', first.epoch));
      const second = await store.openSession(session('c', changes));
      expect(second).toEqual({ present: false, epoch: second.epoch });
      expect(second.epoch).toBeGreaterThan(first.epoch);
      expect(await store.subscriptionsByClient({ id: 'c' })).toEqual([]);
      expect(await store.subscriptionsByTopic('a/b')).toEqual([]);
      expect(store.sharedSubscriptionsByTopic('x')).toEqual([]);
      expect(await counters('c')).toEqual([]);
      expect(await store.incomingIds('c')).toEqual([]);
    });

    test('a millisecond before its end a session is still there', async () => {
      const { epoch } = await store.openSession(session('c'));
      await store.closeSession(closing('c', epoch));
      expect(await store.openSession(session('c', { now: NOW + 59_999 }))).toMatchObject({
        present: true,
      });
    });

    test('an expiry of 2^32 - 1 seconds never comes', async () => {
      const { epoch } = await store.openSession(session('c'));
      await store.closeSession(closing('c', epoch, { expirySeconds: 0xffff_ffff }));
      expect(await due(Number.MAX_SAFE_INTEGER)).toEqual([]);
      const again = await store.openSession(session('c', { now: Number.MAX_SAFE_INTEGER }));
      expect(again.present).toBe(true);
    });

    test('state that no session owned does not pass to one that is opened', async () => {
      await enqueue('c', 1);
      await store.addSubscriptions({ id: 'c' }, [subscription('a/b')]);
      expect(await store.openSession(session('c'))).toMatchObject({ present: false });
      expect(await counters('c')).toEqual([]);
      expect(await store.subscriptionsByTopic('a/b')).toEqual([]);
    });

    test('who had the client id before and said no goodbye is named, whatever is forgotten', async () => {
      await store.openSession(session('c', { nodeId: 'node-1' }));
      expect(await store.openSession(session('c', { nodeId: 'node-2' }))).toMatchObject({
        present: true,
        previousNodeId: 'node-1',
      });
      const last = await store.openSession(session('c', { nodeId: 'node-3', cleanStart: true }));
      expect(last).toMatchObject({ present: false, previousNodeId: 'node-2' });
      await store.closeSession(closing('c', last.epoch));
      expect(await store.openSession(session('c'))).not.toHaveProperty('previousNodeId');
    });

    test('the epoch grows with every connection, also without a record', async () => {
      const nothingKept = { expirySeconds: 0, cleanStart: true };
      const epochs: number[] = [];
      for (const changes of [nothingKept, nothingKept, {}, { cleanStart: true }, nothingKept, {}]) {
        epochs.push((await store.openSession(session('c', changes))).epoch);
      }
      expect(epochs).toEqual([...new Set(epochs)].sort((a, b) => a - b));
    });

    test('an epoch is not less than the time, so that lost writes do not bring one back', async () => {
      const { epoch } = await store.openSession(session('c'));
      expect(epoch).toBeGreaterThanOrEqual(NOW);
      const later = await store.openSession(session('c', { now: NOW + 5000 }));
      expect(later.epoch).toBeGreaterThanOrEqual(NOW + 5000);
      expect((await store.openSession(session('c'))).epoch).toBeGreaterThan(later.epoch);
    });

    test('without expiry, will and old state no record is written', async () => {
      const kept = await store.openSession(session('c'));
      await store.closeSession(closing('c', kept.epoch));
      await store.openSession(session('c', { expirySeconds: 0, cleanStart: true }));
      const after = await store.openSession(session('c', { expirySeconds: 0 }));
      expect(after).toEqual({ present: false, epoch: after.epoch });
    });

    test('a session that is found goes on until the end of a connection without expiry', async () => {
      const first = await store.openSession(session('c'));
      await enqueue('c', 1);
      await store.closeSession(closing('c', first.epoch));
      const second = await store.openSession(session('c', { expirySeconds: 0 }));
      expect(second.present).toBe(true);
      expect(await counters('c')).toEqual([1]);
      await store.closeSession(closing('c', second.epoch, { expirySeconds: 0 }));
      expect(await counters('c')).toEqual([]);
    });

    test('a close with an earlier epoch does nothing', async () => {
      const stale = await store.openSession(session('c', { will }));
      const current = await store.openSession(session('c', { will }));
      await store.closeSession(closing('c', stale.epoch, { expirySeconds: 0 }));
      expect(await due(NOW + 1_000_000)).toEqual([]);
      expect(await store.openSession(session('c'))).toMatchObject({ present: true });
      await store.closeSession(closing('c', current.epoch, { expirySeconds: 0 }));
      expect(await due(NOW + 1_000_000)).toEqual([]);
    });

    test('a second close does nothing', async () => {
      const { epoch } = await store.openSession(session('c', { will }));
      await store.closeSession(closing('c', epoch));
      await store.closeSession(closing('c', epoch, { expirySeconds: 0 }));
      expect(await due(NOW)).toMatchObject([{ kind: 'will' }]);
      expect(await store.openSession(session('c'))).toMatchObject({ present: true });
    });

    test('a close with expiry 0 ends the session at once', async () => {
      const { epoch } = await store.openSession(session('c'));
      await store.addSubscriptions({ id: 'c' }, [subscription('a/b')]);
      await enqueue('c', 1);
      await store.closeSession(closing('c', epoch, { expirySeconds: 0 }));
      expect(await counters('c')).toEqual([]);
      expect(await store.subscriptionsByTopic('a/b')).toEqual([]);
      expect(await due(NOW + 1_000_000)).toEqual([]);
      expect(await store.openSession(session('c'))).toMatchObject({ present: false });
    });

    test('an expired session is handed out with its state, and dropped', async () => {
      const { epoch } = await store.openSession(session('c', { principal: { groups: ['g'] } }));
      await enqueue('c', 1);
      await store.closeSession(closing('c', epoch, { expirySeconds: 5 }));
      expect(await due(NOW + 4999)).toEqual([]);
      const [item] = await due(NOW + 5000);
      expect(item).toEqual({
        kind: 'expired',
        epoch,
        record: {
          clientId: 'c',
          owner: 'credential-1',
          principal: { groups: ['g'] },
          expirySeconds: 5,
          nodeId: 'node-1',
        },
      });
      expect(await counters('c')).toEqual([1]);
      await store.dropSession({ clientId: 'c', epoch });
      expect(await counters('c')).toEqual([]);
      expect(await due(NOW + 1_000_000)).toEqual([]);
    });

    test('a drop with an earlier epoch does nothing, one without always', async () => {
      const first = await store.openSession(session('c'));
      await store.openSession(session('c'));
      await store.addSubscriptions({ id: 'c' }, [subscription('a/b')]);
      await enqueue('c', 1);
      await store.dropSession({ clientId: 'c', epoch: first.epoch });
      expect(await counters('c')).toEqual([1]);
      await store.dropSession({ clientId: 'c' });
      expect(await counters('c')).toEqual([]);
      expect(await store.subscriptionsByClient({ id: 'c' })).toEqual([]);
      expect(await store.openSession(session('c'))).toMatchObject({ present: false });
    });

    test('a session that was opened again is not due', async () => {
      const { epoch } = await store.openSession(session('c'));
      await store.closeSession(closing('c', epoch, { expirySeconds: 5 }));
      const again = await store.openSession(session('c'));
      expect(await due(NOW + 1_000_000)).toEqual([]);
      await store.closeSession(closing('c', again.epoch, { expirySeconds: 100 }));
      expect(await due(NOW + 99_999)).toEqual([]);
      expect(await due(NOW + 100_000)).toHaveLength(1);
    });

    test('recovery closes the open sessions of the dead node, and no other', async () => {
      const dead = { nodeId: 'dead', will, willDelaySeconds: 10 };
      await store.openSession(session('open', dead));
      await store.openSession(session('brief', { ...dead, expirySeconds: 0 }));
      await store.openSession(session('elsewhere', { ...dead, nodeId: 'alive' }));
      await store.openSession(session('moved', dead));
      await store.openSession(session('moved', { nodeId: 'alive' }));
      const closed = await store.openSession(session('closed', dead));
      await store.closeSession(closing('closed', closed.epoch, { will: 'discard' }));
      await store.recoverSessions({ nodeId: 'dead', now: NOW + 1000 });
      await store.recoverSessions({ nodeId: 'dead', now: NOW + 2000 });
      expect(await due(NOW + 1000)).toMatchObject([
        { kind: 'will', record: { clientId: 'brief' } },
      ]);
      expect(await due(NOW + 11_000)).toMatchObject([{ record: { clientId: 'open' } }]);
      const ends = await due(NOW + 1_000_000);
      expect(ends.map(({ record }) => record.clientId).sort()).toEqual(['closed', 'open']);
      expect(await store.openSession(session('elsewhere'))).toMatchObject({ present: true });
    });
  });

  describe('wills', () => {
    const leave = async (
      opened: Partial<OpenSession>,
      closed: Partial<CloseSession> = {},
    ): Promise<void> => {
      const { epoch } = await store.openSession(session('c', { will, ...opened }));
      await store.closeSession(closing('c', epoch, closed));
    };

    test('a will without delay is due at once, with its record', async () => {
      await leave({});
      const [item] = await due(NOW);
      expect(item).toMatchObject({
        kind: 'will',
        will,
        record: { clientId: 'c', owner: 'credential-1', principal: { username: 'u' } },
      });
      expect(Buffer.isBuffer(item?.kind === 'will' && item.will.payload)).toBe(true);
      expect(await due(NOW)).toEqual([]);
    });

    test('MQTT-5.0 §3.1.3.2.2 a will is due after its delay', async () => {
      await leave({ willDelaySeconds: 10 });
      expect(await due(NOW + 9999)).toEqual([]);
      expect(await due(NOW + 10_000)).toMatchObject([{ kind: 'will' }]);
    });

    test('MQTT-5.0 §3.1.3.2.2 or with the end of its session, and before it', async () => {
      await leave({ willDelaySeconds: 100 }, { expirySeconds: 5 });
      expect(await due(NOW + 4999)).toEqual([]);
      expect(await due(NOW + 5000)).toMatchObject([{ kind: 'will' }, { kind: 'expired' }]);
    });

    test('a will of a session without expiry is due at once, whatever its delay', async () => {
      await leave({ willDelaySeconds: 100, expirySeconds: 0 }, { expirySeconds: 0 });
      expect(await due(NOW)).toMatchObject([{ kind: 'will', record: { clientId: 'c' } }]);
      expect(await due(NOW + 1_000_000)).toEqual([]);
    });

    test('a discarded will never comes', async () => {
      await leave({}, { will: 'discard', expirySeconds: 5 });
      expect(await due(NOW + 5000)).toMatchObject([{ kind: 'expired' }]);
    });

    test('MQTT-5.0 [MQTT-3.1.3-9] a session that goes on within the delay takes its will back', async () => {
      await leave({ willDelaySeconds: 10 });
      await store.openSession(session('c', { now: NOW + 9999 }));
      expect(await due(NOW + 1_000_000)).toEqual([]);
    });

    test('a will that is due already is published, though its client is back', async () => {
      await leave({ willDelaySeconds: 10 });
      await store.openSession(session('c', { now: NOW + 10_000 }));
      expect(await due(NOW + 10_000)).toMatchObject([{ kind: 'will' }]);
    });

    test.each([
      ['a clean start', { cleanStart: true }],
      ['another owner', { owner: 'credential-2' }],
    ])('%s ends the session, and so its will is due', async (_reason, changes) => {
      await leave({ willDelaySeconds: 10 });
      await store.openSession(session('c', { now: NOW + 1, ...changes }));
      expect(await due(NOW)).toEqual([]);
      const items = await due(NOW + 1);
      expect(items).toMatchObject([{ kind: 'will', record: { owner: 'credential-1' } }]);
    });

    test('a drop ends the session, and so its will is due', async () => {
      await leave({ willDelaySeconds: 10 });
      await store.dropSession({ clientId: 'c' });
      expect(await due(NOW)).toMatchObject([{ kind: 'will' }]);
    });

    describe.each([
      ['that goes on', 60],
      ['that is over', 0],
      ['that ends meanwhile', 2],
    ])('that are held, of a session %s', (_what, expirySeconds) => {
      const hold = (changes: Partial<CloseSession> = {}) =>
        leave({ expirySeconds }, { expirySeconds, holdWillSeconds: 10, ...changes });
      const wills = async (now: number) => {
        const items = await due(now);
        for (const { kind, record } of items) {
          if (kind === 'expired') await store.dropSession({ clientId: record.clientId });
        }
        return items.filter(({ kind }) => kind === 'will');
      };

      test('are due when they have been held, and not before', async () => {
        await hold();
        expect(await wills(NOW + 9999)).toEqual([]);
        expect(await wills(NOW + 10_000)).toMatchObject([
          { will, record: { clientId: 'c', owner: 'credential-1', expirySeconds } },
        ]);
        expect(await wills(NOW + 1_000_000)).toEqual([]);
      });

      test.each([{}, { cleanStart: true }, { expirySeconds: 0, cleanStart: true }])(
        'are gone when their client is back in time: %j',
        async (changes) => {
          await hold();
          const { epoch } = await store.openSession(session('c', { now: NOW + 9999, ...changes }));
          expect(await wills(NOW + 1_000_000)).toEqual([]);
          // What it leaves now is another will.
          await store.closeSession(closing('c', epoch, { expirySeconds: 0 }));
          expect(await wills(NOW + 1_000_000)).toEqual([]);
        },
      );

      test('are published, though their client is back, once they are due', async () => {
        await hold();
        await store.openSession(session('c', { now: NOW + 10_000 }));
        expect(await wills(NOW + 10_000)).toHaveLength(1);
      });

      test('are not silenced by another owner, who may have one held as well', async () => {
        await hold();
        const other = { owner: 'credential-2', will, expirySeconds, now: NOW + 1 };
        const { epoch } = await store.openSession(session('c', other));
        await store.closeSession(
          closing('c', epoch, { now: NOW + 2, expirySeconds, holdWillSeconds: 10 }),
        );
        await store.openSession(session('c', { now: NOW + 3, owner: 'credential-2' }));
        expect(await wills(NOW + 1_000_000)).toMatchObject([{ record: { owner: 'credential-1' } }]);
      });

      test('are not held when they are discarded', async () => {
        await hold({ will: 'discard' });
        expect(await wills(NOW + 1_000_000)).toEqual([]);
      });
    });

    test('a will whose delay is not shorter than it is to be held waits for its delay', async () => {
      await leave({ willDelaySeconds: 10 }, { holdWillSeconds: 10 });
      await store.openSession(session('c', { now: NOW + 1, cleanStart: true }));
      expect(await due(NOW + 1)).toMatchObject([{ kind: 'will' }]);
    });

    describe('of a client that another node has, and that comes to this one', () => {
      const take = async (
        had: Partial<OpenSession> = {},
        comes: Partial<OpenSession> = {},
      ): Promise<number> => {
        const { epoch } = await store.openSession(session('c', { will, nodeId: 'other', ...had }));
        await store.openSession(session('c', { now: NOW + 1, ...comes }));
        return epoch;
      };
      const DUE = NOW + 1 + TAKEN_WILL_MS;

      test.each([
        ['a session that goes on', {}, {}],
        ['one that does not', { expirySeconds: 0 }, { cleanStart: true, expirySeconds: 0 }],
        ['a delay, and a session that does not', { willDelaySeconds: 9 }, { cleanStart: true }],
        ['another owner', {}, { owner: 'credential-2' }],
      ])('are due once that node has had its time: with %s', async (_what, had, comes) => {
        await take(had, comes);
        expect(await due(DUE - 1)).toEqual([]);
        expect(await due(DUE)).toMatchObject([
          { kind: 'will', will, record: { owner: 'credential-1', nodeId: 'other' } },
        ]);
        expect(await due(DUE + 1_000_000)).toEqual([]);
      });

      test('are not when that node has dealt with them in time', async () => {
        const epoch = await take();
        await store.closeSession(closing('c', epoch, { will: 'discard' }));
        expect(await due(DUE)).toEqual([]);
        // And what it says of others changes nothing.
        const next = await store.openSession(session('c', { now: NOW + 2, nodeId: 'third', will }));
        await store.closeSession(closing('c', epoch, { will: 'keep' }));
        await store.openSession(session('c', { now: NOW + 3 }));
        expect(await due(NOW + 3 + TAKEN_WILL_MS)).toHaveLength(1);
        await store.closeSession(closing('c', next.epoch, { will: 'keep' }));
        expect(await due(DUE + 1_000_000)).toEqual([]);
      });

      test('are none with a delay, when the session goes on', async () => {
        await take({ willDelaySeconds: 9 });
        expect(await due(DUE + 1_000_000)).toEqual([]);
      });

      test('are none when it is the same node, which has dealt with them', async () => {
        await take({ nodeId: 'node-1' });
        expect(await due(DUE + 1_000_000)).toEqual([]);
      });
    });

    test('two wills of one client come both', async () => {
      await leave({ will: { ...will, topic: 'one' } });
      await leave({ will: { ...will, topic: 'two' } });
      const items = await due(NOW);
      expect(items.map((item) => item.kind === 'will' && item.will.topic).sort()).toEqual([
        'one',
        'two',
      ]);
    });

    test('concurrent callers share what is due, and none gets it twice', async () => {
      for (let number = 0; number < 20; number++) {
        const { epoch } = await store.openSession(session(`c${number}`, { will }));
        await store.closeSession(closing(`c${number}`, epoch, { expirySeconds: 1 }));
      }
      const now = NOW + 1000;
      const claims = await Promise.all(Array.from({ length: 8 }, () => due(now, 7)));
      for (const claimed of claims) expect(claimed.length).toBeLessThanOrEqual(7);
      const keys = claims.flat().map(({ kind, record }) => `${kind} ${record.clientId}`);
      expect(new Set(keys).size).toBe(keys.length);
      expect(keys).toHaveLength(40);
    });

    test('what is due longest comes first, wills before expiries, at most the limit', async () => {
      for (const [clientId, seconds] of [
        ['late', 3],
        ['early', 1],
        ['middle', 2],
      ] as const) {
        const { epoch } = await store.openSession(
          session(clientId, { will, willDelaySeconds: seconds }),
        );
        await store.closeSession(closing(clientId, epoch, { expirySeconds: 3 }));
      }
      const claimed = async (limit: number): Promise<string[]> =>
        (await due(NOW + 9000, limit)).map(({ kind, record }) => `${kind} ${record.clientId}`);
      expect(await claimed(2)).toEqual(['will early', 'will middle']);
      expect((await claimed(2))[0]).toBe('will late');
      expect(await claimed(9)).toHaveLength(2);
    });

    test('an expired session that nobody drops comes again after the lease', async () => {
      await leave({}, { expirySeconds: 1, will: 'discard' });
      expect(await due(NOW + 1000)).toHaveLength(1);
      expect(await due(NOW + 1000 + DUE_LEASE_MS - 1)).toEqual([]);
      expect(await due(NOW + 1000 + DUE_LEASE_MS)).toHaveLength(1);
    });

    test('wills of connections, as the kernel keeps them, belong to their node', async () => {
      await store.putWill({ id: 'c' }, will);
      expect(await store.delWill({ id: 'c', brokerId: 'another' })).toBeFalsy();
      expect(await store.getWill({ id: 'c' })).toEqual(will);
      expect(await collect(store.streamWill({ lone: 1 }))).toEqual([]);
      expect(await collect(store.streamWill({}))).toEqual([
        { ...will, clientId: 'c', brokerId: 'lone' },
      ]);
      expect(await store.delWill({ id: 'c', brokerId: 'lone' })).toEqual(will);
      expect(await store.getWill({ id: 'c' })).toBeFalsy();
    });
  });

  describe('queues', () => {
    test('messages keep their order, their positions grow, pages continue', async () => {
      await enqueue('c', 5, 3, 9, 1);
      const all = await store.readQueue('c', { after: 0, limit: 10 });
      expect(all.map(({ packet }) => packet.brokerCounter)).toEqual([5, 3, 9, 1]);
      const positions = all.map(({ position }) => position);
      expect(positions).toEqual([...new Set(positions)].sort((a, b) => a - b));
      expect(positions[0]).toBeGreaterThan(0);
      const first = await store.readQueue('c', { after: 0, limit: 2 });
      expect(first).toEqual(all.slice(0, 2));
      const rest = await store.readQueue('c', { after: first[1]?.position ?? 0, limit: 2 });
      expect(rest).toEqual(all.slice(2));
      expect(await store.readQueue('c', { after: positions[3] ?? 0, limit: 2 })).toEqual([]);
    });

    test('positions grow on, though the queue was empty meanwhile', async () => {
      await enqueue('c', 1);
      const [first] = await store.readQueue('c', { after: 0, limit: 1 });
      await store.removeQueued('c', { brokerId: 'broker', brokerCounter: 1 });
      await enqueue('c', 2);
      expect(await store.readQueue('c', { after: first?.position ?? 0, limit: 9 })).toMatchObject([
        { packet: { brokerCounter: 2 } },
      ]);
    });

    test('an entry says everything that its delivery needs', async () => {
      const properties = {
        userProperties: [['__proto__', 'x']],
        correlationData: Buffer.from([0, 255, 10]),
        contentType: 'text/plain',
      };
      await store.outgoingEnqueueCombi(
        [{ clientId: 'c', ...subscription('a/+', 1), rap: true, subscriptionIdentifier: 9 }],
        message(1, {
          payload: Buffer.from([0, 1, 255, 0xc3, 0x28]),
          qos: 2,
          retain: true,
          clientId: 'publisher',
          messageExpiry: NOW + 1,
          properties,
        }),
      );
      const [entry] = await store.readQueue('c', { after: 0, limit: 1 });
      expect(entry).toMatchObject({
        state: 'queued',
        qos: 1,
        retainAsPublished: true,
        subscriptionIdentifiers: [9],
        packet: {
          cmd: 'publish',
          topic: 'a/b',
          qos: 2,
          retain: true,
          clientId: 'publisher',
          brokerId: 'broker',
          brokerCounter: 1,
          messageExpiry: NOW + 1,
        },
      });
      expect(entry).not.toHaveProperty('messageId');
      expect(entry).not.toHaveProperty('sharedFilter');
      expect(entry?.packet.payload).toEqual(Buffer.from([0, 1, 255, 0xc3, 0x28]));
      expect(entry?.packet.properties).toMatchObject({
        userProperties: [['__proto__', 'x']],
        contentType: 'text/plain',
      });
      expect(entry?.packet.properties?.['correlationData']).toEqual(Buffer.from([0, 255, 10]));
    });

    test('payloads stay what they were: bytes, text, nothing', async () => {
      for (const [index, payload] of [Buffer.alloc(0), 'tëxt', undefined].entries()) {
        const { payload: _, ...rest } = message(index);
        await store.outgoingEnqueue(
          { clientId: 'c' },
          { ...rest, ...(payload !== undefined && { payload }) },
        );
      }
      const payloads = (await store.readQueue('c', { after: 0, limit: 9 })).map(
        ({ packet }) => packet.payload,
      );
      expect(payloads).toEqual([Buffer.alloc(0), 'tëxt', Buffer.alloc(0)]);
    });

    test('MQTT-5.0 [MQTT-3.3.4-2] a session gets a message once, with all its identifiers', async () => {
      const matching: RoutedOrClient[] = [
        { clientId: 'c', ...subscription('a/+', 1), subscriptionIdentifier: 1 },
        { clientId: 'd', ...subscription('a/b', 1) },
        { clientId: 'c', ...subscription('a/#', 2), rap: true, subscriptionIdentifier: 2 },
      ];
      await store.outgoingEnqueueCombi(matching, message(1, { qos: 2 }));
      expect(await store.readQueue('c', { after: 0, limit: 9 })).toMatchObject([
        { qos: 2, retainAsPublished: true, subscriptionIdentifiers: [1, 2] },
      ]);
      expect(await store.readQueue('d', { after: 0, limit: 9 })).toMatchObject([
        { qos: 1, retainAsPublished: false, subscriptionIdentifiers: [] },
      ]);
    });

    test('MQTT-5.0 [MQTT-3.8.3-3] no-local keeps a message from its publisher', async () => {
      await store.outgoingEnqueueCombi(
        ['c', 'd'].map((clientId) => ({ clientId, ...subscription('a/b'), nl: true })),
        message(1, { clientId: 'c' }),
      );
      expect(await counters('c')).toEqual([]);
      expect(await counters('d')).toEqual([1]);
    });

    test('a share group is a delivery of its own, with states of its own', async () => {
      const shared = '$share/g/a/+';
      await store.outgoingEnqueueCombi(
        [
          { clientId: 'c', ...subscription('a/b') },
          { clientId: 'c', ...subscription(shared) },
        ],
        message(1),
      );
      await store.outgoingUpdate({ id: 'c' }, message(1, { messageId: 5 }));
      await store.outgoingUpdate({ id: 'c' }, message(1, { messageId: 6 }));
      await store.outgoingUpdate({ id: 'c' }, message(1, { messageId: 6 }));
      const entries = await store.readQueue('c', { after: 0, limit: 9 });
      expect(entries.map(({ messageId, sharedFilter }) => [messageId, sharedFilter])).toEqual([
        [5, undefined],
        [6, shared],
      ]);
      await store.outgoingClearMessageId({ id: 'c' }, { messageId: 5 });
      expect(await store.readQueue('c', { after: 0, limit: 9 })).toMatchObject([{ messageId: 6 }]);
    });

    test('a message that is in the queue already is not queued again', async () => {
      const both: RoutedOrClient[] = [{ clientId: 'c' }, { clientId: 'c', topic: '$share/g/a/b' }];
      await enqueue('c', 1);
      await enqueue('c', 1);
      await store.outgoingEnqueueCombi(both, message(1));
      await store.outgoingEnqueueCombi(both, message(1));
      await store.outgoingEnqueue({ clientId: 'c' }, message(1, { brokerId: 'another' }));
      expect(await counters('c')).toEqual([1, 1, 1]);
    });

    test('of two deliveries of a message, the one that was not sent is removed first', async () => {
      await store.outgoingEnqueueCombi(
        [
          { clientId: 'c', ...subscription('a/b') },
          { clientId: 'c', ...subscription('$share/g/a/b') },
        ],
        message(1),
      );
      await store.outgoingUpdate({ id: 'c' }, message(1, { messageId: 5 }));
      const key = { brokerId: 'broker', brokerCounter: 1 };
      await store.removeQueued('c', key);
      expect(await store.readQueue('c', { after: 0, limit: 9 })).toMatchObject([{ messageId: 5 }]);
      await store.removeQueued('c', key);
      await store.removeQueued('c', key);
      expect(await counters('c')).toEqual([]);
    });

    test('queued, sent, released, gone', async () => {
      await enqueue('c', 1, 2);
      await store.outgoingUpdate({ id: 'c' }, message(1, { messageId: 10 }));
      let [entry] = await store.readQueue('c', { after: 0, limit: 1 });
      expect(entry).toMatchObject({ state: 'sent', messageId: 10, packet: { topic: 'a/b' } });
      await store.outgoingUpdate({ id: 'c' }, { cmd: 'pubrel', messageId: 10 });
      await store.outgoingUpdate({ id: 'c' }, { cmd: 'pubrel', messageId: 10 });
      [entry] = await store.readQueue('c', { after: 0, limit: 1 });
      expect(entry).toMatchObject({
        state: 'released',
        messageId: 10,
        packet: { brokerId: 'broker', brokerCounter: 1 },
      });
      expect(await collect(store.outgoingStream({ id: 'c' }))).toMatchObject([
        { cmd: 'pubrel', messageId: 10 },
        { cmd: 'publish', brokerCounter: 2 },
      ]);
      expect(await store.outgoingClearMessageId({ id: 'c' }, { messageId: 10 })).toMatchObject({
        messageId: 10,
      });
      expect(await store.outgoingClearMessageId({ id: 'c' }, { messageId: 10 })).toBeUndefined();
      expect(await counters('c')).toEqual([2]);
    });

    test('a message that is sent again keeps its place, with its new id', async () => {
      await enqueue('c', 1, 2);
      await store.outgoingUpdate({ id: 'c' }, message(1, { messageId: 10 }));
      await store.outgoingUpdate({ id: 'c' }, message(1, { messageId: 11 }));
      expect(await store.outgoingClearMessageId({ id: 'c' }, { messageId: 10 })).toBeUndefined();
      expect(await store.readQueue('c', { after: 0, limit: 9 })).toMatchObject([
        { state: 'sent', messageId: 11, packet: { brokerCounter: 1 } },
        { state: 'queued', packet: { brokerCounter: 2 } },
      ]);
    });

    test('an update of what is not there is a plain error', async () => {
      await enqueue('c', 1);
      for (const packet of [
        message(2, { messageId: 1 }),
        message(1, { brokerId: 'another', messageId: 1 }),
        { cmd: 'pubrel', messageId: 1 },
      ]) {
        const failure = await store.outgoingUpdate({ id: 'c' }, packet).catch((e: unknown) => e);
        expect(failure).toBeInstanceOf(Error);
        expect(failure).not.toHaveProperty('code');
      }
      expect(await store.readQueue('c', { after: 0, limit: 9 })).toMatchObject([
        { state: 'queued' },
      ]);
    });

    test('a message that will not be delivered is removed, whatever its state', async () => {
      await enqueue('c', 1, 2, 3);
      await store.outgoingUpdate({ id: 'c' }, message(2, { messageId: 10 }));
      for (const brokerCounter of [1, 2, 9]) {
        await store.removeQueued('c', { brokerId: 'broker', brokerCounter });
      }
      await store.removeQueued('nobody', { brokerId: 'broker', brokerCounter: 1 });
      expect(await counters('c')).toEqual([3]);
      expect(await store.outgoingClearMessageId({ id: 'c' }, { messageId: 10 })).toBeUndefined();
    });

    test('many messages come and go, and the rest is in order', async () => {
      const numbers = Array.from({ length: 300 }, (_, index) => index + 1);
      await Promise.all(numbers.map((number) => enqueue('c', number)));
      for (const number of numbers.filter((each) => each % 10 !== 0)) {
        await store.outgoingUpdate({ id: 'c' }, message(number, { messageId: number }));
        await store.outgoingClearMessageId({ id: 'c' }, { messageId: number });
      }
      expect(await counters('c')).toEqual(numbers.filter((each) => each % 10 === 0));
      const [second] = await store.readQueue('c', { after: 0, limit: 2 }).then((q) => q.slice(1));
      const page = await store.readQueue('c', { after: second?.position ?? 0, limit: 2 });
      expect(page.map(({ packet }) => packet.brokerCounter)).toEqual([30, 40]);
    });

    test('writes for one client take effect in the order of the calls, awaited or not', async () => {
      const calls: Promise<unknown>[] = [];
      const resolved: number[] = [];
      for (let number = 1; number <= 50; number++) {
        calls.push(
          store
            .outgoingEnqueueCombi([{ clientId: 'c' }], message(number))
            .then(() => resolved.push(3 * number)),
          store
            .outgoingUpdate({ id: 'c' }, message(number, { messageId: number }))
            .then(() => resolved.push(3 * number + 1)),
        );
        if (number % 2 === 1) continue;
        calls.push(
          store
            .outgoingClearMessageId({ id: 'c' }, { messageId: number })
            .then(() => resolved.push(3 * number + 2)),
        );
      }
      await Promise.all(calls);
      expect(resolved).toEqual([...resolved].sort((a, b) => a - b));
      const entries = await store.readQueue('c', { after: 0, limit: 100 });
      expect(entries.map(({ state, messageId }) => [state, messageId])).toEqual(
        Array.from({ length: 25 }, (_, index) => ['sent', 2 * index + 1]),
      );
    });

    test('a drop between two messages takes the first, and not the second', async () => {
      await Promise.all([
        store.outgoingEnqueue({ clientId: 'c' }, message(1)),
        store.dropSession({ clientId: 'c' }),
        store.outgoingEnqueue({ clientId: 'c' }, message(2)),
      ]);
      expect(await counters('c')).toEqual([2]);
    });
  });

  describe('limits of queues', () => {
    let full: string[];
    const limited = async (limits: Partial<StoreLimits>): Promise<void> => {
      full = [];
      const observer = { onQueueFull: (clientId: string) => void full.push(clientId) };
      store = await open({ limits: { ...defaultStoreLimits, ...limits }, observer });
    };

    test('at the limit of messages the newest is refused, and told', async () => {
      await limited({ queueMessagesMax: 3 });
      await enqueue('c', 1, 2, 3);
      expect(full).toEqual([]);
      await enqueue('c', 4);
      expect(full).toEqual(['c']);
      expect(await counters('c')).toEqual([1, 2, 3]);
      await store.removeQueued('c', { brokerId: 'broker', brokerCounter: 1 });
      await enqueue('c', 5, 6);
      expect(await counters('c')).toEqual([2, 3, 5]);
      expect(full).toEqual(['c', 'c']);
    });

    test('messages that are being sent count too, until they are acknowledged', async () => {
      await limited({ queueMessagesMax: 2 });
      await enqueue('c', 1, 2);
      await store.outgoingUpdate({ id: 'c' }, message(1, { messageId: 1 }));
      await store.outgoingUpdate({ id: 'c' }, { cmd: 'pubrel', messageId: 1 });
      await enqueue('c', 3);
      expect(full).toEqual(['c']);
      await store.outgoingClearMessageId({ id: 'c' }, { messageId: 1 });
      await enqueue('c', 4);
      expect(await counters('c')).toEqual([2, 4]);
    });

    test('at the limit of bytes, topics included, and one past it', async () => {
      await limited({ queueBytesMax: 20 });
      const of = (brokerCounter: number, bytes: number): StorePacket =>
        message(brokerCounter, { topic: 'ä', payload: Buffer.alloc(bytes) });
      await store.outgoingEnqueue({ clientId: 'c' }, of(1, 19)); // 21 with its topic.
      expect(full).toEqual(['c']);
      await store.outgoingEnqueue({ clientId: 'c' }, of(2, 10));
      await store.outgoingEnqueue({ clientId: 'c' }, of(3, 7)); // 21 together.
      await store.outgoingEnqueue({ clientId: 'c' }, of(4, 6));
      expect(await counters('c')).toEqual([2, 4]);
      expect(full).toEqual(['c', 'c']);
      // Until a message is gone its bytes count.
      await store.outgoingUpdate({ id: 'c' }, { ...of(2, 10), messageId: 1 });
      await store.outgoingUpdate({ id: 'c' }, { cmd: 'pubrel', messageId: 1 });
      await store.outgoingEnqueue({ clientId: 'c' }, of(5, 0));
      expect(full).toEqual(['c', 'c', 'c']);
      await store.outgoingClearMessageId({ id: 'c' }, { messageId: 1 });
      await store.outgoingEnqueue({ clientId: 'c' }, of(6, 10));
      expect(await counters('c')).toEqual([4, 6]);
      await store.outgoingEnqueue({ clientId: 'c' }, of(7, 0));
      expect(full).toEqual(['c', 'c', 'c', 'c']);
    });

    test('a full queue keeps nothing from others, and not the note of the incoming id', async () => {
      await limited({ queueMessagesMax: 1 });
      await enqueue('c', 1);
      await store.outgoingEnqueueCombi([{ clientId: 'c' }, { clientId: 'd' }], message(2), {
        clientId: 'p',
        messageId: 3,
      });
      expect(full).toEqual(['c']);
      expect(await counters('d')).toEqual([2]);
      expect(await store.incomingIds('p')).toEqual([3]);
    });

    test('a queue that was dropped is empty', async () => {
      await limited({ queueMessagesMax: 1 });
      await enqueue('c', 1);
      await store.dropSession({ clientId: 'c' });
      await enqueue('c', 2);
      expect(await counters('c')).toEqual([2]);
      expect(full).toEqual([]);
    });
  });

  describe('incoming ids', () => {
    test('are noted with the message, also when nobody gets it', async () => {
      const incoming = (messageId: number) => ({ clientId: 'p', messageId });
      await store.outgoingEnqueueCombi([], message(1), incoming(65_535));
      await store.outgoingEnqueueCombi([{ clientId: 'c' }], message(2), incoming(1));
      await store.outgoingEnqueueCombi([], message(3), incoming(1));
      expect([...(await store.incomingIds('p'))].sort((a, b) => a - b)).toEqual([1, 65_535]);
      expect(await store.incomingGetPacket({ id: 'p' }, { messageId: 1 })).toMatchObject({
        messageId: 1,
      });
      await store.incomingDelPacket({ id: 'p' }, { messageId: 1 });
      await store.incomingDelPacket({ id: 'p' }, { messageId: 1 });
      expect(await store.incomingIds('p')).toEqual([65_535]);
      expect(await store.incomingIds('nobody')).toEqual([]);
    });

    test('of a packet that was stored whole are among them', async () => {
      await store.incomingStorePacket({ id: 'p' }, message(1, { messageId: 4, qos: 2 }));
      expect(await store.incomingIds('p')).toEqual([4]);
      await store.cleanIncoming({ id: 'p' });
      expect(await store.incomingIds('p')).toEqual([]);
    });
  });

  describe('retained messages', () => {
    const retain = (topic: string, changes: Partial<StorePacket> = {}): Promise<void> =>
      store.storeRetained({ cmd: 'publish', topic, payload: Buffer.from(topic), ...changes });
    const topics = async (...filters: string[]): Promise<(string | undefined)[]> =>
      (await store.retainedMessages(filters, NOW)).map(({ topic }) => topic).sort();

    test('the newest of a topic replaces the others, and an empty one removes them', async () => {
      await retain('a', { payload: Buffer.from('old') });
      await retain('a', { payload: Buffer.from('new') });
      await retain('b');
      expect(store.retainedCount).toBe(2);
      expect(await store.retainedMessages(['a'], NOW)).toMatchObject([
        { topic: 'a', payload: Buffer.from('new') },
      ]);
      await retain('a', { payload: Buffer.alloc(0) });
      await retain('c', { payload: Buffer.alloc(0) });
      expect(store.retainedCount).toBe(1);
      expect(await topics('#')).toEqual(['b']);
    });

    test.each([
      ['#', ['/', '/x', 'a', 'a/', 'a/b', 'a/b/c', 'x//y']],
      ['+', ['a']],
      ['a/+', ['a/', 'a/b']],
      ['a/#', ['a', 'a/', 'a/b', 'a/b/c']],
      ['+/+', ['/', '/x', 'a/', 'a/b']],
      ['/+', ['/', '/x']],
      ['/#', ['/', '/x']],
      ['x/+/y', ['x//y']],
      ['+/b/#', ['a/b', 'a/b/c']],
      ['a/b', ['a/b']],
      ['$SYS/#', ['$SYS/x']],
      ['$SYS/+', ['$SYS/x']],
      ['+/x', ['/x']],
      ['nothing/#', []],
    ])('%s finds %j', async (filter, expected) => {
      const names = ['a', 'a/', 'a/b', 'a/b/c', '/', '/x', 'x//y', '$SYS/x'];
      for (const name of names) await retain(name);
      expect(await topics(filter)).toEqual(expected);
      expect(
        (await collect(store.createRetainedStream(filter))).map((p) => p.topic).sort(),
      ).toEqual(expected);
    });

    test('a message that several filters match comes once', async () => {
      await retain('a/b');
      await retain('a/c');
      expect(await topics('a/+', 'a/b', '#')).toEqual(['a/b', 'a/c']);
      expect(await topics()).toEqual([]);
      expect(await collect(store.createRetainedStreamCombi(['a/#', '+/b']))).toHaveLength(2);
    });

    test('an expired message is not found, and goes with what is due', async () => {
      await retain('over', { messageExpiry: NOW });
      await retain('soon', { messageExpiry: NOW + 1 });
      await retain('renewed', { messageExpiry: NOW });
      await retain('renewed');
      expect(await topics('#')).toEqual(['renewed', 'soon']);
      expect(await topics('over')).toEqual([]);
      await due(NOW);
      expect(store.retainedCount).toBe(2);
      expect(await topics('#')).toEqual(['renewed', 'soon']);
    });

    test('bytes, properties and fields that nobody knows come back', async () => {
      const packet = {
        cmd: 'publish',
        topic: 'a',
        payload: Buffer.from([0, 0xff]),
        qos: 1 as const,
        retain: true,
        properties: { correlationData: Buffer.from([0xfe]), userProperties: [['a', 'b']] },
        messageExpiry: NOW + 5,
        more: { x: 1 },
      };
      await store.storeRetained(packet);
      expect(await store.retainedMessages(['a'], NOW)).toEqual([packet]);
    });
  });

  describe('subscriptions', () => {
    test('`+` matches an empty level, and a leading wildcard nothing that starts with $', async () => {
      for (const [index, topic] of ['+', '#', 'a/+', '+/x', '$SYS/+', '$SYS/#'].entries()) {
        await store.addSubscriptions({ id: `c${index}` }, [subscription(topic)]);
      }
      const matching = async (name: string): Promise<string[]> =>
        (await store.subscriptionsByTopic(name)).map(({ topic }) => topic).sort();
      expect(await matching('a/')).toEqual(['#', 'a/+']);
      expect(await matching('/x')).toEqual(['#', '+/x']);
      expect(await matching('$SYS/x')).toEqual(['$SYS/#', '$SYS/+']);
      expect(await matching('$SYS')).toEqual(['$SYS/#']);
    });

    test('MQTT-5.0 [MQTT-3.3.4-3] those with QoS 0 count for a session that another one queues for, and queue nothing themselves', async () => {
      await store.addSubscriptions({ id: 'c' }, [
        { ...subscription('#', 0), subscriptionIdentifier: 1, rap: true },
        { ...subscription('a/+', 1), subscriptionIdentifier: 2 },
        { ...subscription('b', 0), subscriptionIdentifier: 3 },
      ]);
      await store.addSubscriptions({ id: 'd' }, [subscription('a/b', 0)]);
      await store.addSubscriptions({ id: 'own' }, [
        { ...subscription('a/b', 1), nl: true },
        subscription('#', 0),
      ]);
      const queued = await store.subscriptionsByTopic('a/b');
      const also = store.unqueuedSubscriptions('a/b', queued);
      expect(also.map(({ clientId, topic }) => `${clientId} ${topic}`).sort()).toEqual([
        'c #',
        'own #',
      ]);
      expect(store.unqueuedSubscriptions('b', [])).toEqual([]);
      const found = [...queued, ...also];
      await store.outgoingEnqueueCombi(found, { ...message(1), topic: 'a/b', clientId: 'own' });
      const [entry] = await store.readQueue('c', { after: 0, limit: 10 });
      expect(entry?.subscriptionIdentifiers.toSorted()).toEqual([1, 2]);
      expect(entry).toMatchObject({ qos: 1, retainAsPublished: true });
      expect(await store.readQueue('own', { after: 0, limit: 10 })).toEqual([]);
      await store.removeSubscriptions({ id: 'c' }, ['#']);
      await store.cleanSubscriptions({ id: 'own' });
      expect(store.unqueuedSubscriptions('a/b', queued)).toEqual([]);
    });

    test('shared ones are found apart, with any QoS, in all groups', async () => {
      await store.addSubscriptions({ id: 'c' }, [
        subscription('$share/g/a/+', 0),
        subscription('$share/h/a/+', 2),
      ]);
      await store.addSubscriptions({ id: 'd' }, [subscription('$share/g/a/+', 1)]);
      await store.addSubscriptions({ id: 'e' }, [subscription('a/b', 1)]);
      expect(await store.subscriptionsByTopic('a/b')).toMatchObject([{ clientId: 'e' }]);
      const found = store.sharedSubscriptionsByTopic('a/b');
      expect(found.map(({ clientId, topic, qos }) => `${clientId} ${topic} ${qos}`).sort()).toEqual(
        ['c $share/g/a/+ 0', 'c $share/h/a/+ 2', 'd $share/g/a/+ 1'],
      );
      const members = (): string[] => ['c', 'd', 'e', 'f'].filter((id) => store.isShareMember(id));
      expect(members()).toEqual(['c', 'd']);
      await store.removeSubscriptions({ id: 'c' }, ['$share/g/a/+']);
      await store.cleanSubscriptions({ id: 'd' });
      expect(members()).toEqual(['c']);
      expect(store.sharedSubscriptionsByTopic('a/b')).toMatchObject([{ topic: '$share/h/a/+' }]);
      expect(store.sharedSubscriptionsByTopic('$share/h/a/b')).toEqual([]);
    });

    test('all options of a subscription come back', async () => {
      const full = { topic: 'a', qos: 2, rh: 2, rap: true, nl: true, subscriptionIdentifier: 8 };
      await store.addSubscriptions({ id: 'c' }, [full as StoredSubscription]);
      expect(await store.subscriptionsByClient({ id: 'c' })).toEqual([full]);
      expect(await store.subscriptionsByTopic('a')).toEqual([{ clientId: 'c', ...full }]);
    });
  });

  test.each(HOSTILE_NAMES)('%j is a name like any other', async (name) => {
    const { epoch } = await store.openSession(session(name, { owner: name, nodeId: name, will }));
    await store.addSubscriptions({ id: name }, [subscription(`${name}/+`)]);
    const routes = await store.subscriptionsByTopic(`${name}/x`);
    expect(routes).toMatchObject([{ clientId: name }]);
    await store.outgoingEnqueueCombi(
      routes,
      message(1, { topic: `${name}/x`, brokerId: name, clientId: name }),
      { clientId: name, messageId: 2 },
    );
    await store.storeRetained(message(1, { topic: `${name}/x` }));
    expect(await store.retainedMessages([`${name}/+`], NOW)).toMatchObject([
      { topic: `${name}/x` },
    ]);
    expect(await store.readQueue(name, { after: 0, limit: 9 })).toMatchObject([
      { packet: { topic: `${name}/x`, brokerId: name, clientId: name } },
    ]);
    await store.outgoingUpdate({ id: name }, message(1, { brokerId: name, messageId: 3 }));
    expect(await store.outgoingClearMessageId({ id: name }, { messageId: 3 })).toMatchObject({
      topic: `${name}/x`,
    });
    expect(await store.incomingIds(name)).toEqual([2]);
    await store.incomingDelPacket({ id: name }, { messageId: 2 });
    await store.putWill({ id: name }, will);
    expect(await store.delWill({ id: name })).toEqual(will);
    await store.closeSession(closing(name, epoch, { expirySeconds: 1 }));
    const now = NOW + 1000;
    expect(await due(now)).toMatchObject([
      { kind: 'will', record: { clientId: name, owner: name, nodeId: name } },
      { kind: 'expired', record: { clientId: name }, epoch },
    ]);
    await store.dropSession({ clientId: name, epoch });
    expect(await store.subscriptionsByClient({ id: name })).toEqual([]);
    expect(await store.openSession(session(name))).toMatchObject({ present: false });
  });

  describe('uses of secrets', () => {
    const use = (secretId: string, at: number, credentialId = 'k') => ({
      credentialId,
      secretId,
      at,
    });

    test('the later of two times is kept, whichever comes first, and each credential has its own', async () => {
      await store.noteSecretUses([]);
      await store.noteSecretUses([use('s', NOW + 5), use('', NOW), use('s', NOW + 1)]);
      await store.noteSecretUses([use('s', NOW + 3), use('s', NOW + 9, 'other')]);
      const uses = await store.secretUses('k');
      expect(Object.fromEntries(uses)).toEqual({ s: NOW + 5, '': NOW });
      expect(Object.fromEntries(await store.secretUses('other'))).toEqual({ s: NOW + 9 });
      expect((await store.secretUses('nobody')).size).toBe(0);
    });

    test('of a credential the ones that were used last are kept', async () => {
      for (let index = 0; index <= SECRET_USES_MAX; index++) {
        await store.noteSecretUses([use(`s${index}`, NOW + index)]);
      }
      const uses = await store.secretUses('k');
      expect([...uses.keys()].sort()).toEqual(
        Array.from({ length: SECRET_USES_MAX }, (_, index) => `s${index + 1}`).sort(),
      );
    });

    test('many are kept at once, and names are only names', async () => {
      const many = Array.from({ length: 1200 }, (_, index) => use('s', NOW + index, `k${index}`));
      await store.noteSecretUses(many);
      expect((await store.secretUses('k1199')).get('s')).toBe(NOW + 1199);
      for (const name of HOSTILE_NAMES) {
        await store.noteSecretUses([use(name, NOW, name)]);
        expect([...(await store.secretUses(name))]).toEqual([[name, NOW]]);
      }
    });
  });

  describe('the record of a session', () => {
    test('is what it was opened with, also when it is closed, until it ends', async () => {
      expect(await store.sessionRecord('c')).toBeUndefined();
      const opened = session('c', { principal: { facts: { clientId: 'c' } } });
      const { epoch } = await store.openSession(opened);
      const { cleanStart: _clean, now: _now, ...record } = opened;
      expect(await store.sessionRecord('c')).toEqual(record);
      await store.closeSession(closing('c', epoch));
      expect(await store.sessionRecord('c')).toEqual({ ...record, endsAt: NOW + 60_000 });
      expect(await due(NOW + 60_000)).toHaveLength(1);
      expect(await store.sessionRecord('c')).toEqual({ ...record, endsAt: NOW + 60_000 });
      await store.dropSession({ clientId: 'c' });
      expect(await store.sessionRecord('c')).toBeUndefined();
    });

    test('tells of one that never ends that it does not', async () => {
      const { epoch } = await store.openSession(session('c'));
      await store.closeSession(closing('c', epoch, { expirySeconds: 0xffff_ffff }));
      expect(await store.sessionRecord('c')).toMatchObject({ endsAt: Infinity });
      await store.openSession(session('c'));
      expect(await store.sessionRecord('c')).not.toHaveProperty('endsAt');
    });

    test('is without its will', async () => {
      const will = { topic: 't', payload: Buffer.from('p'), qos: 0 as const };
      await store.openSession(session('c', { will, willDelaySeconds: 5 }));
      const record = await store.sessionRecord('c');
      expect(record).toMatchObject({ clientId: 'c', owner: 'credential-1', willDelaySeconds: 5 });
      expect(record).not.toHaveProperty('will');
    });
  });

  describe('places of a credential', () => {
    const place = (clientId: string, token = 't', nodeId = 'n1', owner = 'k', since = NOW) => ({
      ...{ owner, clientId, nodeId, token, since },
    });
    const limits = (most: number, nodeIds: readonly string[] = ['n1', 'n2']) => ({ most, nodeIds });

    test('are refused from the limit on, over all nodes, until one is given back', async () => {
      expect(await store.takePlace(place('a'), limits(2))).toBe(true);
      expect(await store.takePlace(place('b', 't', 'n2'), limits(2))).toBe(true);
      expect(await store.takePlace(place('c'), limits(2))).toBe(false);
      expect(await store.takePlace(place('c', 't', 'n2'), limits(2))).toBe(false);
      expect(await store.takePlace(place('c', 't', 'n1', 'other'), limits(2))).toBe(true);
      await store.leavePlace(place('b', 't', 'n2'));
      expect(await store.takePlace(place('c'), limits(2))).toBe(true);
      expect(await store.takePlace(place('d'), limits(2))).toBe(false);
      expect(await store.takePlace(place('d'), limits(3))).toBe(true);
    });

    test('are one for a client id, wherever it goes', async () => {
      expect(await store.takePlace(place('a', 't1'), limits(1))).toBe(true);
      expect(await store.takePlace(place('a', 't2'), limits(1))).toBe(true);
      expect(await store.takePlace(place('a', 't3', 'n2'), limits(1))).toBe(true);
      // The ends of those before come later.
      await store.leavePlace(place('a', 't1'));
      await store.leavePlace(place('a', 't2'));
      expect(await store.takePlace(place('b'), limits(1))).toBe(false);
      await store.leavePlace(place('a', 't3', 'n2'));
      expect(await store.takePlace(place('b'), limits(1))).toBe(true);
    });

    test('of an older connection are not given back for a newer one, nor twice', async () => {
      await store.takePlace(place('a', 't1'), limits(1));
      await store.takePlace(place('a', 't2'), limits(1));
      await store.leavePlace(place('a', 't1'));
      expect(await store.takePlace(place('b'), limits(1))).toBe(false);
      await store.leavePlace(place('a', 't2'));
      await store.leavePlace(place('a', 't2'));
      await store.leavePlace(place('nobody'));
      expect(await store.takePlace(place('b'), limits(1))).toBe(true);
    });

    test('on a node that is gone are free', async () => {
      await store.takePlace(place('a', 't', 'n2'), limits(1));
      expect(await store.takePlace(place('b'), limits(1))).toBe(false);
      expect(await store.takePlace(place('b'), limits(1, ['n1']))).toBe(true);
    });

    test('are given back by a node that starts again', async () => {
      for (let index = 0; index < 600; index++) {
        await store.takePlace(place('a', 't', 'n1', `k${index}`), limits(1));
      }
      await store.takePlace(place('a', 't', 'n2', 'other'), limits(1));
      await store.recoverSessions({ nodeId: 'n1', now: NOW });
      for (const owner of ['k0', 'k599']) {
        expect(await store.takePlace(place('b', 't', 'n2', owner), limits(1))).toBe(true);
      }
      expect(await store.takePlace(place('b', 't', 'n1', 'other'), limits(1))).toBe(false);
    });

    describe('that are fewer now', () => {
      const began = (clientId: string, seconds: number, nodeId = 'n1', token = 't') =>
        place(clientId, token, nodeId, 'k', NOW + 1000 * seconds);
      const take = async (...places: readonly ReturnType<typeof began>[]): Promise<void> => {
        for (const one of places) expect(await store.takePlace(one, limits(99))).toBe(true);
      };

      test('are those of the oldest, over all nodes, and each node is told of its own once', async () => {
        const own = [began('a', 5), began('b', 7), began('c', 3)];
        const far = [began('x', 4, 'n2'), began('y', 6, 'n2')];
        await take(...own, ...far);
        expect(await store.limitPlaces(own, limits(5))).toEqual([]);
        expect(await store.limitPlaces(own, limits(2))).toEqual([own[0], own[1]]);
        expect(await store.limitPlaces(own, limits(2))).toEqual([own[0], own[1]]);
        expect(await store.limitPlaces(far, limits(2))).toEqual([far[1]]);
        expect(await store.takePlace(began('z', 9), limits(2))).toBe(false);
        await store.leavePlace(far[0] ?? began('', 0));
        expect(await store.takePlace(began('z', 9), limits(2))).toBe(true);
      });

      test('are the free ones for whoever had none, from the first on', async () => {
        await take(began('x', 1, 'n2'));
        const own = [began('a', 5), began('b', 7), began('c', 8)];
        expect(await store.limitPlaces(own, limits(3))).toEqual([own[2]]);
        expect(await store.takePlace(began('z', 9), limits(3))).toBe(false);
        expect(await store.limitPlaces(own.slice(0, 2), limits(3))).toEqual([]);
        await store.leavePlace(began('a', 5));
        expect(await store.takePlace(began('z', 9), limits(3))).toBe(true);
      });

      test('are those of the oldest also where there were none, whichever node asks first', async () => {
        const own = [began('a', 5), began('b', 7), began('c', 8)];
        const far = [began('x', 4, 'n2'), began('y', 6, 'n2'), began('z', 9, 'n2')];
        // It does not know of those of the other node yet, and ends only those that are too many for sure.
        expect(await store.limitPlaces(own, limits(2))).toEqual([own[2]]);
        expect(await store.limitPlaces(far, limits(2))).toEqual([far[1], far[2]]);
        expect(await store.takePlace(began('n', 10), limits(2))).toBe(false);
        expect(await store.limitPlaces(own.slice(0, 2), limits(2))).toEqual([own[1]]);
        expect(await store.limitPlaces(own.slice(0, 1), limits(2))).toEqual([]);
        expect(await store.takePlace(began('n', 10), limits(2))).toBe(false);
        await store.leavePlace(began('a', 5));
        expect(await store.takePlace(began('n', 10, 'n2'), limits(2))).toBe(true);
      });

      test('were asked for by each node up to the revision that it has told, until it starts again', async () => {
        expect(await store.tellPlaces('n1', 5)).toEqual(new Map([['n1', 5]]));
        await store.tellPlaces('n2', 4);
        const told = new Map([
          ['n1', 7],
          ['n2', 4],
        ]);
        expect(await store.tellPlaces('n1', 7)).toEqual(told);
        await store.recoverSessions({ nodeId: 'n1', now: NOW });
        expect(await store.tellPlaces('n2', 8)).toEqual(new Map([['n2', 8]]));
      });

      test('by two that began at once are told by their names', async () => {
        const own = [began('b', 1), began('a', 1)];
        await take(...own);
        expect(await store.limitPlaces(own, limits(1))).toEqual([own[0]]);
      });

      test('are not counted twice for a client id that goes to another node, nor on one that is gone', async () => {
        const own = [began('a', 1), began('b', 3)];
        const far = [began('a', 2, 'n2', 't2'), began('x', 0, 'n2')];
        await take(...own, ...far);
        expect(await store.limitPlaces(own, limits(3))).toEqual([]);
        expect(await store.limitPlaces(own, limits(2, ['n1']))).toEqual([]);
        // Its newer connection has the place.
        const older = began('b', 2, 'n1', 'older');
        expect(await store.limitPlaces([older], limits(3))).toEqual([]);
      });

      test('may be very many, and names that are only names', async () => {
        const many = Array.from({ length: 2 * PLACES_OF_STEP_MAX + 1 }, (_, index) =>
          began(`c${index}`, index),
        );
        expect(await store.limitPlaces(many, limits(PLACES_OF_STEP_MAX + 1))).toEqual(
          many.slice(PLACES_OF_STEP_MAX + 1),
        );
        for (const name of HOSTILE_NAMES) {
          const own = [place(name, name, 'n1', name), place(`${name}-`, name, 'n1', name)];
          expect(await store.limitPlaces(own, limits(1))).toEqual([own[1]]);
          expect(await store.limitPlaces(own.slice(0, 1), limits(1))).toEqual([]);
        }
      });
    });

    test('are kept apart by names that are only names', async () => {
      for (const name of HOSTILE_NAMES) {
        expect(await store.takePlace(place(name, name, 'n1', name), limits(1))).toBe(true);
        expect(await store.takePlace(place(`${name}-`, name, 'n1', name), limits(1))).toBe(false);
        await store.leavePlace(place(name, name, 'n1', name));
        expect(await store.takePlace(place(`${name}-`, name, 'n1', name), limits(1))).toBe(true);
      }
    });
  });
}
