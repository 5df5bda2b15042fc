import type { SessionStore } from '../src/session-store.ts';

export interface Operation {
  readonly clientId: string;
  readonly kind:
    | 'enqueue'
    | 'send'
    | 'release'
    | 'acknowledge'
    | 'forget-id'
    | 'retain'
    | 'subscribe'
    | 'unsubscribe';
  /** Of the message. */
  readonly number: number;
}

/** What the writer does for one client, without end; every seventh message stays in the queue. */
export function* operationsOf(clientId: string, first: number): Generator<Operation> {
  for (let number = first + 1; ; number++) {
    const of = (kind: Operation['kind']): Operation => ({ clientId, kind, number });
    yield of('enqueue');
    yield of('send');
    if (number % 2 === 0) yield of('release');
    if (number % 7 !== 0) yield of('acknowledge');
    yield of('retain');
    yield of('subscribe');
    yield of('unsubscribe');
    if (number % 5 !== 0) yield of('forget-id');
  }
}

/** What the store must have of one client. */
export interface ClientState {
  /** Number of the message → state. */
  readonly queue: Readonly<Record<string, string>>;
  readonly incoming: readonly number[];
  readonly retained: string | undefined;
  readonly subscriptions: readonly string[];
}

export const emptyState: ClientState = {
  queue: {},
  incoming: [],
  retained: undefined,
  subscriptions: [],
};

const idOf = (number: number): number => (number % 60_000) + 1;

export function after(state: ClientState, { kind, number }: Operation): ClientState {
  const queue = { ...state.queue };
  switch (kind) {
    case 'enqueue':
      queue[number] = 'queued';
      return { ...state, queue, incoming: [...state.incoming, idOf(number)].sort(byNumber) };
    case 'send':
      queue[number] = 'sent';
      return { ...state, queue };
    case 'release':
      queue[number] = 'released';
      return { ...state, queue };
    case 'acknowledge':
      delete queue[number];
      return { ...state, queue };
    case 'forget-id':
      return { ...state, incoming: state.incoming.filter((id) => id !== idOf(number)) };
    case 'retain':
      return { ...state, retained: String(number) };
    case 'subscribe':
      return { ...state, subscriptions: [...state.subscriptions, `t/${number}`].sort() };
    case 'unsubscribe':
      return {
        ...state,
        subscriptions: state.subscriptions.filter((topic) => topic !== `t/${number - 1}`),
      };
  }
}

const byNumber = (a: number, b: number): number => a - b;

export async function stateOf(store: SessionStore, clientId: string): Promise<ClientState> {
  const queue = await store.readQueue(clientId, { after: 0, limit: 100_000 });
  const [retained] = await store.retainedMessages([`r/${clientId}`], 0);
  const subscriptions = await store.subscriptionsByClient({ id: clientId });
  return {
    queue: Object.fromEntries(queue.map(({ packet, state }) => [packet.brokerCounter, state])),
    incoming: [...(await store.incomingIds(clientId))].sort(byNumber),
    retained: retained?.payload?.toString(),
    subscriptions: subscriptions.map(({ topic }) => topic).sort(),
  };
}
