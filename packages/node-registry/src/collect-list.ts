import { OperationalError } from '@sallyport/errors';
import {
  compareKeys,
  LIST_PARTS_MAX,
  LIST_ROWS_MAX,
  type ListKey,
  type ListQuery,
  type ListQuestion,
  type ListRow,
  type PageOfNode,
  type SplitOfNode,
} from './live-list.ts';
import type { NodeCalls } from './node-calls.ts';

/** Most rounds of looking for where a page begins; each makes the range some forty times smaller. */
const ROUNDS_MAX = 5;

export interface CollectRequest {
  readonly query: ListQuery;
  /** Rows before the page. */
  readonly offset: number;
  /** Rows of the page; at most half of `LIST_ROWS_MAX`. */
  readonly limit: number;
}

export interface CollectedPage<Row> {
  readonly items: readonly Row[];
  /** Rows of all nodes that have answered. */
  readonly total: number;
  /** Nodes that have not answered, sorted: what they know is missing. */
  readonly silentNodes: readonly string[];
}

/** Asks every node at once; who does not answer is not asked again. */
export class Scatter {
  readonly #calls: NodeCalls;
  readonly #timeoutMs: number;
  readonly #nodes: Set<string>;
  readonly #silent = new Set<string>();

  /** `timeoutMs` is for each question. */
  constructor(calls: NodeCalls, nodeIds: Iterable<string>, timeoutMs: number) {
    this.#calls = calls;
    this.#timeoutMs = timeoutMs;
    this.#nodes = new Set(nodeIds);
  }

  get silentNodes(): readonly string[] {
    return [...this.#silent].sort();
  }

  /** Answers of the nodes that have one, in no order. What a node says is the caller's claim: nodes are ours. */
  async ask<A>(question: unknown): Promise<readonly A[]> {
    const asked = [...this.#nodes].map(async (nodeId) => {
      try {
        return [(await this.#calls.ask(nodeId, question, this.#timeoutMs)) as A];
      } catch (error) {
        if (!(error instanceof OperationalError)) throw error;
        this.#nodes.delete(nodeId);
        this.#silent.add(nodeId);
        return [];
      }
    });
    return (await Promise.all(asked)).flat();
  }
}

/** A part of the list that the page begins in. */
interface Range {
  readonly from?: ListKey;
  readonly to?: ListKey;
  /** Rows that may have to be skipped from `from` on. */
  readonly slack: number;
}

const sum = (numbers: readonly number[]): number => numbers.reduce((all, one) => all + one, 0);

/** At least, and at most, so many rows of a node's range come before a key. */
function boundsOf({ keys, within }: SplitOfNode, key: ListKey, order: ListQuery['order']) {
  const next = keys.findIndex((one) => compareKeys(one.key, key, order) >= 0);
  const last = next === -1 ? keys.at(-1) : keys[next - 1];
  return {
    least: last === undefined ? 0 : last.at + 1,
    most: next === -1 ? within : (keys[next]?.at ?? within),
  };
}

/** The smallest part that the row of this rank, counted from the beginning of the range, is in for certain. */
function narrowed(splits: readonly SplitOfNode[], rank: number, { order }: ListQuery): Range {
  const keys = splits.flatMap((split) => split.keys.map((one) => one.key));
  keys.sort((a, b) => compareKeys(a, b, order));
  let range: Range = { slack: rank };
  for (const key of keys) {
    const bounds = splits.map((split) => boundsOf(split, key, order));
    const least = sum(bounds.map((one) => one.least));
    if (sum(bounds.map((one) => one.most)) <= rank) range = { from: key, slack: rank - least };
    if (least > rank) return { ...range, to: key };
  }
  return range;
}

/**
 * One page of a list that is spread over nodes, in order, without moving the list: where the page begins is found by keys first, and
 * then each node sends the few rows that can be on it.
 */
export async function collectPage<Row>(
  scatter: Scatter,
  { query, offset, limit }: CollectRequest,
): Promise<CollectedPage<Row>> {
  let range: Range = { slack: offset };
  for (let round = 0; round < ROUNDS_MAX && range.slack + limit > LIST_ROWS_MAX; round++) {
    const { from, to } = range;
    const question: ListQuestion = {
      op: 'split',
      query,
      parts: LIST_PARTS_MAX,
      ...(from !== undefined && { from }),
      ...(to !== undefined && { to }),
    };
    const splits = await scatter.ask<SplitOfNode>(question);
    const total = sum(splits.map((one) => one.total));
    if (offset >= total) return { items: [], total, silentNodes: scatter.silentNodes };
    const rank = Math.max(0, offset - sum(splits.map((one) => one.before)));
    const inside = narrowed(splits, rank, query);
    range = { ...range, ...inside };
  }
  return fetchPage<Row>(scatter, { query, offset, limit }, range);
}

async function fetchPage<Row>(
  scatter: Scatter,
  { query, offset, limit }: CollectRequest,
  { from, slack }: Range,
): Promise<CollectedPage<Row>> {
  const pages = await scatter.ask<PageOfNode<Row>>({
    op: 'page',
    query,
    ...(from !== undefined && { from }),
    limit: Math.min(LIST_ROWS_MAX, slack + limit),
  } satisfies ListQuestion);
  const rows: ListRow<Row>[] = pages.flatMap((one) => one.items);
  rows.sort((a, b) => compareKeys(a.key, b.key, query.order));
  // The list may have moved meanwhile; then the page is near, and never twice as long.
  const skip = Math.max(0, offset - sum(pages.map((one) => one.before)));
  return {
    items: rows.slice(skip, skip + limit).map((one) => one.row),
    total: sum(pages.map((one) => one.total)),
    silentNodes: scatter.silentNodes,
  };
}
