import type { RowFailure } from '@sallyport/domain';
import type { Sealer } from '@sallyport/secrets';
import { createChecker } from '../http/validation.ts';
import type { CommandInputs } from '../http/write.ts';
import { type CreateBody, readyCredential } from '../routes/credentials/prepare.ts';
import { createBody } from '../routes/credentials/schema.ts';
import { failureOf, readRow } from './raw-rows.ts';

/** Finds what is wrong with a credential as it is sent, and fills in what was left out. */
export const check = createChecker(createBody);

/** What was made of the text of one row: the JSON text of the credential that it adds, or what is wrong with it. */
export type ReadyRow =
  | string
  | RowFailure
  /** Its secret has to be hashed or generated, or it is our fault: for somebody else to make. */
  | null;

/** Makes ready what rows say that bring a hash or need no secret. It asks nobody for anything, so it may be done on any thread. */
export function readyRows(
  texts: readonly string[],
  box: Pick<Sealer, 'seal'>,
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
