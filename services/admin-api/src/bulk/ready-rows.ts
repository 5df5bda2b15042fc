// Loads no schema: it is to start soon on a thread, and to make a schema takes ten times as long as the rest.
import type { RowFailure } from '@sallyport/domain';
import type { Sealer } from '@sallyport/secrets';
import type { createChecker } from '../http/validation.ts';
import type { CommandInputs } from '../http/write.ts';
import { type CreateBody, readyCredential } from '../routes/credentials/ready.ts';
import { failureOf, readRow } from './raw-rows.ts';

/** What was made of the text of one row: the JSON text of the credential that it adds, or what is wrong with it. */
export type ReadyRow =
  | string
  | RowFailure
  /** Its secret has to be hashed or generated, or it is our fault: for somebody else to make. */
  | null;

export interface ReadyTools {
  /** Of the schema of a credential as it is sent. */
  readonly check: ReturnType<typeof createChecker>;
  readonly box: Pick<Sealer, 'seal'>;
}

/** Makes ready what rows say that bring a hash or need no secret. It asks nobody for anything, so it may be done on any thread. */
export function readyRows(
  texts: readonly string[],
  { check, box }: ReadyTools,
  inputs: CommandInputs,
): readonly ReadyRow[] {
  return texts.map((text) => {
    const read = readRow({ text, unread: true });
    if ('failure' in read) return read.failure;
    const [problem] = check(read.value);
    if (problem !== undefined) return { code: 'invalid_request', ...problem };
    try {
      const credential = readyCredential(box, read.value as CreateBody, inputs); // `check` has found that it is.
      return credential === undefined ? null : JSON.stringify(credential);
    } catch (error) {
      return refusalOf(error);
    }
  });
}

function refusalOf(error: unknown): RowFailure | null {
  try {
    return failureOf(error);
  } catch {
    return null; // Told where the row is made a second time.
  }
}
