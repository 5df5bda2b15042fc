import { OperationalError } from '@sallyport/errors';

/** Most rows of one answer. */
export const LIST_ROWS_MAX = 600;
/** Most keys of one answer. */
export const LIST_PARTS_MAX = 128;

/** Where a row stands: by its value, then by its id, then by its node. */
export interface ListKey {
  readonly value: string | number;
  readonly id: string;
  readonly nodeId: string;
}

/** Which rows, and in which order. */
export interface ListQuery {
  readonly list: string;
  readonly sort: string;
  readonly order: 'asc' | 'desc';
  /** Case-insensitive substring. */
  readonly search?: string;
}

export interface ListRow<Row> {
  readonly key: ListKey;
  readonly row: Row;
}

/** What a node is asked of a list of its own. */
export type ListQuestion =
  | {
      readonly op: 'page';
      readonly query: ListQuery;
      /** The first key; the beginning when left out. */
      readonly from?: ListKey;
      /** 1 to `LIST_ROWS_MAX`. */
      readonly limit: number;
    }
  | {
      readonly op: 'split';
      readonly query: ListQuery;
      readonly from?: ListKey;
      /** The first key past the range; the end when left out. */
      readonly to?: ListKey;
      /** 1 to `LIST_PARTS_MAX`. */
      readonly parts: number;
    };

export interface PageOfNode<Row> {
  /** Rows of the query. */
  readonly total: number;
  /** Those of them before `from`. */
  readonly before: number;
  readonly items: readonly ListRow<Row>[];
}

export interface SplitOfNode {
  readonly total: number;
  readonly before: number;
  /** Rows from `from` up to `to`. */
  readonly within: number;
  /** Keys of rows at even distances, the first one included; `at` is how many rows of the range come before it. */
  readonly keys: readonly { readonly key: ListKey; readonly at: number }[];
}

function compareTexts(a: string | number, b: string | number): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** The order of keys of one sort; values of one sort are all texts or all numbers. */
export function compareKeys(a: ListKey, b: ListKey, order: ListQuery['order']): number {
  const ascending =
    compareTexts(a.value, b.value) || compareTexts(a.id, b.id) || compareTexts(a.nodeId, b.nodeId);
  return order === 'asc' ? ascending : -ascending;
}

/** The rows of one query on one node, in order. */
export interface SortedRows<Row> {
  readonly order: ListQuery['order'];
  readonly keys: readonly ListKey[];
  /** The row of a key, by its index. */
  readonly rowAt: (index: number) => Row;
}

/** How many keys come before one. O(log n). */
function rankOf(
  { keys, order }: Pick<SortedRows<unknown>, 'keys' | 'order'>,
  key: ListKey,
): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const there = keys[middle];
    if (there !== undefined && compareKeys(there, key, order) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The node's part of a list. O(log n + answer). */
export function answerList<Row>(
  rows: SortedRows<Row>,
  question: ListQuestion,
): PageOfNode<Row> | SplitOfNode {
  const total = rows.keys.length;
  const before = question.from === undefined ? 0 : rankOf(rows, question.from);
  if (question.op === 'page') {
    const items: ListRow<Row>[] = [];
    for (let index = before; index < Math.min(total, before + question.limit); index++) {
      const key = rows.keys[index];
      if (key !== undefined) items.push({ key, row: rows.rowAt(index) });
    }
    return { total, before, items };
  }
  const end = question.to === undefined ? total : rankOf(rows, question.to);
  const within = Math.max(0, end - before);
  const step = Math.max(1, Math.ceil(within / question.parts));
  const keys: { key: ListKey; at: number }[] = [];
  for (let at = 0; at < within; at += step) {
    const key = rows.keys[before + at];
    if (key !== undefined) keys.push({ key, at });
  }
  return { total, before, within, keys };
}

const invalid = (what: string): OperationalError =>
  new OperationalError('invalid_request', `the question's ${what} is not valid`);

type Fields = Readonly<Record<string, unknown>>;

const isFields = (value: unknown): value is Fields => typeof value === 'object' && value !== null;

function parseKey(value: unknown, what: string): ListKey | undefined {
  if (value === undefined) return undefined;
  if (!isFields(value)) throw invalid(what);
  const { value: by, id, nodeId } = value;
  if (typeof by !== 'string' && typeof by !== 'number') throw invalid(what);
  if (typeof id !== 'string' || typeof nodeId !== 'string') throw invalid(what);
  return { value: by, id, nodeId };
}

function parseCount(value: unknown, most: number, what: string): number {
  if (!Number.isInteger(value)) throw invalid(what);
  const count = value as number; // An integer.
  if (count < 1 || count > most) throw invalid(what);
  return count;
}

function parseQuery(value: unknown): ListQuery {
  if (!isFields(value)) throw invalid('query');
  const { list, sort, order, search } = value;
  if (typeof list !== 'string' || typeof sort !== 'string') throw invalid('query');
  if (order !== 'asc' && order !== 'desc') throw invalid('order');
  if (search !== undefined && typeof search !== 'string') throw invalid('search');
  return { list, sort, order, ...(search !== undefined && { search }) };
}

/** @throws OperationalError `invalid_request` */
export function parseListQuestion(question: unknown): ListQuestion {
  if (!isFields(question)) throw invalid('shape');
  const query = parseQuery(question['query']);
  const from = parseKey(question['from'], 'from');
  const range = { query, ...(from !== undefined && { from }) };
  if (question['op'] === 'page') {
    return { op: 'page', ...range, limit: parseCount(question['limit'], LIST_ROWS_MAX, 'limit') };
  }
  if (question['op'] !== 'split') throw invalid('op');
  const to = parseKey(question['to'], 'to');
  const parts = parseCount(question['parts'], LIST_PARTS_MAX, 'parts');
  return { op: 'split', ...range, ...(to !== undefined && { to }), parts };
}
