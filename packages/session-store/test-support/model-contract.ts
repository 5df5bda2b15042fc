import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createMemorySessionStore } from '../src/memory.ts';
import type { DueItem, RoutedOrClient, SessionStore, StorePacket } from '../src/session-store.ts';
import { loneBroker, message, session, type StoreOptions } from './session-contract.ts';

const LIMITS = { queueMessagesMax: 5, queueBytesMax: 60 };
const CLIENTS = ['a', 'b'];
const START = 1_700_000_000_000;

interface Step {
  readonly kind: string;
  readonly client: string;
  readonly number: number;
  readonly id: number;
  readonly flag: boolean;
}

const step: fc.Arbitrary<Step> = fc.record({
  kind: fc.constantFrom(
    ...['enqueue', 'enqueue', 'enqueue', 'share', 'send', 'send', 'release', 'acknowledge'],
    ...['remove', 'forgetId', 'open', 'close', 'staleClose', 'drop', 'subscribe', 'unsubscribe'],
    ...['claim', 'recover', 'retain'],
  ),
  client: fc.constantFrom(...CLIENTS),
  number: fc.integer({ min: 1, max: 8 }),
  id: fc.integer({ min: 1, max: 4 }),
  flag: fc.boolean(),
});

/** One store, and what its clients remember of it. */
class Subject {
  readonly store: SessionStore;
  readonly full: string[];
  readonly #prefix: string;
  readonly #epochs = new Map<string, number>();

  constructor(store: SessionStore, full: string[], prefix: string) {
    this.store = store;
    this.full = full;
    this.#prefix = prefix;
  }

  /** The answer of a step, as far as it must be the same for all stores. */
  async take(one: Step, now: number): Promise<unknown> {
    const clientId = this.#prefix + one.client;
    const packet = message(one.number, { qos: 2, payload: Buffer.alloc(one.number * 3) });
    const { store } = this;
    switch (one.kind) {
      case 'enqueue':
      case 'share':
        return this.#enqueue(one, clientId, packet);
      case 'send':
        return store
          .outgoingUpdate({ id: clientId }, { ...packet, messageId: one.id })
          .then(() => 'sent', String);
      case 'release':
        return store
          .outgoingUpdate({ id: clientId }, { cmd: 'pubrel', messageId: one.id })
          .then(() => 'released', String);
      case 'acknowledge':
        return store
          .outgoingClearMessageId({ id: clientId }, { messageId: one.id })
          .then((found) => found && { cmd: found.cmd, topic: found.topic });
      case 'remove':
        return store.removeQueued(clientId, { brokerId: 'broker', brokerCounter: one.number });
      case 'forgetId':
        return store.incomingDelPacket({ id: clientId }, { messageId: one.id });
      case 'subscribe':
        return store
          .addSubscriptions({ id: clientId }, [{ topic: `t/${one.id}`, qos: one.flag ? 1 : 0 }])
          .then(() => undefined);
      case 'unsubscribe':
        return store.removeSubscriptions({ id: clientId }, [`t/${one.id}`]).then(() => undefined);
      case 'retain':
        return store.storeRetained({
          topic: `${this.#prefix}${one.id}`,
          payload: Buffer.alloc(one.flag ? 1 : 0),
        });
      default:
        return this.#session(one, clientId, now);
    }
  }

  async state(): Promise<unknown> {
    const { store } = this;
    const clients = CLIENTS.map(async (client) => {
      const clientId = this.#prefix + client;
      const queue = await store.readQueue(clientId, { after: 0, limit: 100 });
      return {
        // Positions may differ, their order may not.
        queue: queue.map(({ position: _, packet, ...rest }) => [packet.brokerCounter, rest]),
        incoming: [...(await store.incomingIds(clientId))].sort(),
        subscriptions: (await store.subscriptionsByClient({ id: clientId })).sort((x, y) =>
          x.topic.localeCompare(y.topic),
        ),
      };
    });
    const retained = await store.retainedMessages(
      [1, 2, 3, 4].map((id) => this.#prefix + id),
      0,
    );
    return [await Promise.all(clients), retained.length, this.full];
  }

  async #enqueue(one: Step, clientId: string, packet: StorePacket): Promise<unknown> {
    const targets: RoutedOrClient[] = [{ clientId, topic: 'a/b', qos: one.flag ? 1 : 2 }];
    if (one.kind === 'share') targets.push({ clientId, topic: '$share/g/a/b', qos: 1 });
    const incoming = one.flag ? { clientId, messageId: one.id } : undefined;
    return this.store.outgoingEnqueueCombi(targets, packet, incoming);
  }

  async #session(one: Step, clientId: string, now: number): Promise<unknown> {
    const { store } = this;
    const nodeId = `${this.#prefix}${one.id % 2}`;
    switch (one.kind) {
      case 'open': {
        const opened = await store.openSession(
          session(clientId, {
            now,
            nodeId,
            expirySeconds: one.number - 1,
            owner: one.number === 8 ? 'another' : 'owner',
            cleanStart: one.id === 4,
            ...(one.flag && { will: { topic: 'w', payload: Buffer.from('w') } }),
            willDelaySeconds: one.id,
          }),
        );
        this.#epochs.set(clientId, opened.epoch);
        const previous = opened.previousNodeId?.slice(this.#prefix.length);
        return { present: opened.present, previous };
      }
      case 'close':
      case 'staleClose':
        return store.closeSession({
          clientId,
          epoch: (this.#epochs.get(clientId) ?? 0) - (one.kind === 'close' ? 0 : 1),
          now,
          expirySeconds: one.number - 1,
          will: one.flag ? 'keep' : 'discard',
          ...(one.id > 2 && { holdWillSeconds: one.id }),
        });
      case 'drop': {
        const epoch = this.#epochs.get(clientId) ?? 0;
        return store.dropSession(one.flag ? { clientId } : { clientId, epoch });
      }
      case 'recover':
        return store.recoverSessions({ nodeId, now });
      default:
        return (await store.claimDue({ now, limit: 100 })).map((item) => this.#nameOf(item));
    }
  }

  #nameOf({ kind, record }: DueItem): string {
    const { clientId, owner, expirySeconds } = record;
    return `${kind} ${clientId.slice(this.#prefix.length)} ${owner} ${expirySeconds}`;
  }
}

/** Whatever is asked of it, the store answers as the one in memory does. */
export function modelContract(open: (options?: StoreOptions) => Promise<SessionStore>): void {
  test('answers a thousand random calls as the store in memory does', async () => {
    const full: string[] = [];
    const store = await open({
      limits: LIMITS,
      observer: { onQueueFull: (clientId) => void full.push(clientId.slice(-1)) },
    });
    let run = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 40 }), async (steps) => {
        full.length = 0;
        const modelFull: string[] = [];
        const model = createMemorySessionStore({
          limits: LIMITS,
          observer: { onQueueFull: (clientId) => void modelFull.push(clientId.slice(-1)) },
        });
        await model.setup(loneBroker);
        const prefix = `run${++run}-`;
        const subjects = [new Subject(store, full, prefix), new Subject(model, modelFull, prefix)];
        // Later than all runs before, so that what they left is not due.
        const start = START + run * 1e9;
        await store.claimDue({ now: start - 1e6, limit: 500 });
        for (const [index, one] of steps.entries()) {
          const [answer, expected] = await Promise.all(
            subjects.map((subject) => subject.take(one, start + index * 700)),
          );
          expect(answer, `step ${index}`).toEqual(expected);
          const [state, expectedState] = await Promise.all(subjects.map((each) => each.state()));
          expect(state, `after step ${index}`).toEqual(expectedState);
        }
        for (const client of CLIENTS) await store.dropSession({ clientId: prefix + client });
      }),
      { numRuns: 40 },
    );
  });
}
