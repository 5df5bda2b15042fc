import { OperationalError } from '@sallyport/errors';
import type { ConnectedClient } from '@sallyport/mqtt-session';
import {
  answerList,
  compareKeys,
  type ListKey,
  type ListQuery,
  parseListQuestion,
  type SortedRows,
} from '@sallyport/node-registry';
import type { RefusedEntry } from '../access/refused-attempts.ts';
import { connectionSearched, connectionValues, connectionView } from './connection-view.ts';
import { explainConnection, parseExplainQuestion } from './explain-connection.ts';
import { REFUSED_SORTS, refusedSearched, refusedValue, refusedView } from './refused-view.ts';

/** How long the order of a list is kept, so that the questions for one page are answered from one order. */
export const SNAPSHOT_MS = 2000;
/** Orders that are kept: some 100 bytes for each connection and order. */
const SNAPSHOTS_MAX = 4;

export interface NodeDeskOptions {
  readonly nodeId: string;
  /** Clients that are connected, as the engine has them. */
  readonly clients: {
    connected(): Iterable<ConnectedClient>;
    connectedAs(clientId: string): ConnectedClient | undefined;
  };
  readonly refused: { all(): readonly RefusedEntry[] };
  /** When the secrets of a credential were last used, as far as is known here. */
  readonly secretUses: (credentialId: string) => Promise<Readonly<Record<string, number>>>;
  /** Up to which revision every change has reached the live sessions that it is to reach. */
  readonly enforcedRevision: () => number;
  /** Ends a connection on an administrator's word, and its session where that is to go too. */
  readonly disconnect: (client: ConnectedClient, endSession: boolean) => void;
  /** Milliseconds that never go back. */
  readonly clock?: () => number;
}

interface Snapshot {
  readonly rows: SortedRows<unknown>;
  readonly until: number;
}

const invalid = (what: string): OperationalError => new OperationalError('invalid_request', what);

/** Answers what administrators ask of this node: who is connected and what it may do, who was refused; and ends connections. */
export class NodeDesk {
  readonly #options: NodeDeskOptions;
  readonly #clock: () => number;
  readonly #snapshots = new Map<string, Snapshot>();

  constructor(options: NodeDeskOptions) {
    this.#options = options;
    this.#clock = options.clock ?? (() => performance.now());
  }

  /** @throws OperationalError `invalid_request` for what it does not know */
  async answer(question: unknown): Promise<unknown> {
    const asked = (question ?? {}) as { op?: unknown; clientId?: unknown; credentialId?: unknown }; // All are looked at.
    const { op, clientId, credentialId } = asked;
    if (op === 'page' || op === 'split') {
      const parsed = parseListQuestion(question);
      return answerList(this.#rowsOf(parsed.query), parsed);
    }
    if (op === 'secret-uses') {
      if (typeof credentialId !== 'string') throw invalid('no credential id');
      return { uses: await this.#options.secretUses(credentialId) };
    }
    return this.#answerAbout(op, clientId, question);
  }

  #answerAbout(op: unknown, clientId: unknown, question: unknown): unknown {
    if (typeof clientId !== 'string') throw invalid('no client id');
    const client = this.#options.clients.connectedAs(clientId);
    const { nodeId, enforcedRevision } = this.#options;
    if (op === 'connection') return { connection: client && connectionView(client, nodeId) };
    if (op === 'explain') {
      const parsed = parseExplainQuestion(question);
      const explained = client && explainConnection(client, parsed);
      return {
        explained: explained && { ...explained, enforcedRevision: enforcedRevision(), nodeId },
      };
    }
    if (op !== 'disconnect') throw invalid('the question is not known');
    const { endSession } = question as { readonly endSession?: unknown }; // It has an `op`.
    if (client !== undefined) this.#options.disconnect(client, endSession === true);
    return { disconnected: client !== undefined };
  }

  #rowsOf(query: ListQuery): SortedRows<unknown> {
    const now = this.#clock();
    const key = JSON.stringify([query.list, query.sort, query.order, query.search]);
    const known = this.#snapshots.get(key);
    if (known !== undefined && known.until > now) return known.rows;
    for (const [old, { until }] of this.#snapshots) {
      if (until <= now || this.#snapshots.size >= SNAPSHOTS_MAX) this.#snapshots.delete(old);
    }
    const rows = this.#sorted(query);
    this.#snapshots.set(key, { rows, until: now + SNAPSHOT_MS });
    return rows;
  }

  #sorted(query: ListQuery): SortedRows<unknown> {
    const { nodeId, clients, refused } = this.#options;
    const { sort } = query;
    if (query.list === 'connections') {
      const valueOf = connectionValues.get(sort);
      if (valueOf === undefined) throw invalid('sort');
      return sortedRows([...clients.connected()], query, {
        keyOf: (one) => ({ value: valueOf(one, nodeId), id: one.client.clientId, nodeId }),
        searched: connectionSearched,
        view: (one) => connectionView(one, nodeId),
      });
    }
    if (query.list !== 'refused-connections') throw invalid('list');
    if (!REFUSED_SORTS.has(sort)) throw invalid('sort');
    return sortedRows(refused.all(), query, {
      keyOf: (one) => ({ value: refusedValue(one, sort, nodeId), id: one.id, nodeId }),
      searched: refusedSearched,
      view: (one) => refusedView(one, nodeId),
    });
  }
}

/** Those that the search finds, in order. O(n log n). */
function sortedRows<Item>(
  items: readonly Item[],
  { search, order }: ListQuery,
  of: {
    readonly keyOf: (item: Item) => ListKey;
    readonly searched: (item: Item) => readonly string[];
    readonly view: (item: Item) => unknown;
  },
): SortedRows<unknown> {
  const wanted = search?.toLowerCase();
  const found =
    wanted === undefined
      ? items
      : items.filter((one) => of.searched(one).some((text) => text.toLowerCase().includes(wanted)));
  const entries = inOrder(
    found.map((item) => ({ item, key: of.keyOf(item) })),
    order,
  );
  return {
    order,
    keys: entries.map((one) => one.key),
    rowAt: (index) => {
      const entry = entries[index];
      return entry && of.view(entry.item);
    },
  };
}

/**
 * In the order of `compareKeys`, of the keys of one node. Texts are sorted by the platform's own order of texts, which is the same and
 * takes a fifth of the time: the node has other things to do.
 */
function inOrder<E extends { readonly key: ListKey }>(
  entries: readonly E[],
  order: ListQuery['order'],
): readonly E[] {
  if (typeof entries[0]?.key.value !== 'string') {
    return entries.toSorted((a, b) => compareKeys(a.key, b.key, order));
  }
  // No text has a NUL, so that one that begins with another comes after it. Ids are unique.
  const byText = new Map(entries.map((entry) => [`${entry.key.value}\0${entry.key.id}`, entry]));
  const texts = [...byText.keys()].sort();
  if (order === 'desc') texts.reverse();
  return texts.flatMap((text) => byText.get(text) ?? []);
}
