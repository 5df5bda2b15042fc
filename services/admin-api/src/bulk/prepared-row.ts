import type { ImportRow, RowFailure } from '@sallyport/domain';
import type { createChecker } from '../http/validation.ts';
import type { CommandInputs } from '../http/write.ts';
import { failureOf, type RawRow } from './raw-rows.ts';

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
  /** Never throws what the row is to blame for. @throws OperationalError what the world says */
  prepare(raw: RawRow, inputs: CommandInputs): Promise<PreparedRow>;
}

/** Bytes that the event of a row has beyond what was sent, about. */
const EVENT_BYTES = 200;
const FAILURE_BYTES = 300;
/** Longest pointer and detail of a failure that is kept. */
const FAILURE_TEXT_LENGTH_MAX = 256;

/** A row that `check` has found to be a `Body`, made by `prepare`; what is wrong with it becomes its failure. */
export async function preparedRow<Body>(
  raw: RawRow,
  check: ReturnType<typeof createChecker>,
  prepare: (body: Body) => Promise<Decidable & { readonly moreBytes?: number }>,
): Promise<PreparedRow> {
  if ('failure' in raw) return failed(raw.failure);
  const [problem] = check(raw.value);
  if (problem !== undefined) return failed({ code: 'invalid_request', ...problem });
  try {
    const { moreBytes = 0, ...prepared } = await prepare(raw.value as Body); // `check` has found that it is.
    return { ...prepared, bytes: raw.text.length + EVENT_BYTES + moreBytes };
  } catch (error) {
    return failed(failureOf(error));
  }
}

function failed({ code, pointer, detail }: RowFailure): PreparedRow {
  const cut = (text: string): string => text.slice(0, FAILURE_TEXT_LENGTH_MAX);
  const failure = {
    code,
    ...(pointer === undefined ? {} : { pointer: cut(pointer) }),
    ...(detail === undefined ? {} : { detail: cut(detail) }),
  };
  return { row: { failure }, bytes: FAILURE_BYTES };
}
