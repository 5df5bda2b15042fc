import type { DecisionReads, ImportRow, RowFailure } from '@sallyport/domain';
import type { createChecker } from '../http/validation.ts';
import type { CommandInputs } from '../http/write.ts';
import { failureOf, type RawRow, readRow } from './raw-rows.ts';
import { turn } from './turn.ts';

export const EXISTING = ['refuse', 'keep', 'update'] as const;

/** What becomes of a row that speaks of something that is there already. */
export type Existing = (typeof EXISTING)[number];

/** What a row asks for. */
export interface Decidable {
  readonly row: ImportRow;
  /** Secret that was generated for it. */
  readonly generated?: string;
}

/** A row that is ready to be decided. */
export interface PreparedRow extends Decidable {
  /** Bytes that its event has, about. */
  readonly bytes: number;
}

/** Makes commands of the rows of one kind of import. */
export interface RowPreparer {
  /**
   * `reads` knows of the rows of all calls before but the last. Never throws what a row is to blame for.
   * @throws OperationalError what the world says
   */
  prepareAll(
    raw: readonly RawRow[],
    inputs: CommandInputs,
    reads: DecisionReads,
  ): Promise<readonly PreparedRow[]>;
}

/** Rows that are made ready in one turn of the event loop. */
const TURN_ROWS = 100;

/** Makes rows ready one after the other, and lets others have their turns. */
export async function preparedInTurns<T>(
  all: readonly T[],
  prepare: (one: T, index: number) => PreparedRow | Promise<PreparedRow>,
): Promise<readonly PreparedRow[]> {
  const rows: PreparedRow[] = [];
  for (const [index, one] of all.entries()) {
    const made = prepare(one, index);
    rows.push(made instanceof Promise ? await made : made);
    if (rows.length % TURN_ROWS === 0) await turn();
  }
  return rows;
}

/** Bytes that the event of a row has beyond what was sent, about. */
const EVENT_BYTES = 200;
const FAILURE_BYTES = 300;
/** Longest pointer and detail of a failure that is kept. */
const FAILURE_TEXT_LENGTH_MAX = 256;

type Made = Decidable & { readonly moreBytes?: number };

/** A row that `check` has found to be a `Body`, made by `prepare`; what is wrong with it becomes its failure. */
export function preparedRow<Body>(
  raw: RawRow,
  check: ReturnType<typeof createChecker>,
  prepare: (body: Body) => Made | Promise<Made>,
): PreparedRow | Promise<PreparedRow> {
  const read = readRow(raw);
  if ('failure' in read) return failedRow(read.failure);
  const [problem] = check(read.value);
  if (problem !== undefined) return failedRow({ code: 'invalid_request', ...problem });
  const whole = ({ moreBytes = 0, ...prepared }: Made): PreparedRow => ({
    ...prepared,
    bytes: raw.text.length + EVENT_BYTES + moreBytes,
  });
  const failed = (error: unknown): PreparedRow => failedRow(failureOf(error));
  try {
    const made = prepare(read.value as Body); // `check` has found that it is.
    return made instanceof Promise ? made.then(whole).catch(failed) : whole(made);
  } catch (error) {
    return failed(error);
  }
}

export function failedRow({ code, pointer, detail }: RowFailure): PreparedRow {
  const cut = (text: string): string => text.slice(0, FAILURE_TEXT_LENGTH_MAX);
  const failure = {
    code,
    ...(pointer === undefined ? {} : { pointer: cut(pointer) }),
    ...(detail === undefined ? {} : { detail: cut(detail) }),
  };
  return { row: { failure }, bytes: FAILURE_BYTES };
}
