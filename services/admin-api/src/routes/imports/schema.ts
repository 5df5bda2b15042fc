import { errorFacts } from '@sallyport/errors';
import { IMPORT_MODES } from '@sallyport/domain';
import { Type } from 'typebox';
import { EXISTING } from '../../bulk/prepared-row.ts';
import { defaulted, instantSchema } from '../../http/list-query.ts';
import { writeQuery } from '../../http/write.ts';

const closed = { additionalProperties: false };

/** `existing` says what a row speaks of that is there already. */
export const importQueryOf = (existing: string) =>
  Type.Object(
    {
      mode: defaulted(
        Type.Enum([...IMPORT_MODES], {
          default: 'partial',
          description:
            'Whether a refused row leaves the others alone (`partial`), or nothing is stored then (`atomic`: one commit).',
        }),
      ),
      existing: defaulted(
        Type.Enum([...EXISTING], {
          default: 'refuse',
          description: existing,
        }),
      ),
      ...writeQuery,
      dryRun: defaulted(
        Type.Boolean({ default: false, description: 'Tells what would become of the rows.' }),
      ),
    },
    closed,
  );

export const importParams = Type.Object({ id: Type.String() });

const counts = {
  created: Type.Integer(),
  updated: Type.Integer(),
  unchanged: Type.Integer(),
  failed: Type.Integer(),
};

export const importSchema = Type.Object({
  id: Type.String(),
  state: Type.Enum(['running', 'open', 'finished'], {
    description:
      'An `open` import is not finished and does not run in the process that answers: whoever sends the same file with the same key goes on with it.',
  }),
  rowsRead: Type.Integer({ description: 'Rows that have come in, as far as this process knows.' }),
  rows: Type.Integer({ description: 'Rows that have been disposed of, from the first on.' }),
  ...counts,
  startedAt: Type.Optional(instantSchema('When the first rows were stored.')),
  updatedAt: Type.Optional(instantSchema('When rows were stored last.')),
  updatedRevision: Type.Integer(),
});

/** One line of the answer. */
export const importLineSchema = Type.Unsafe<unknown>({
  title: 'ImportLine',
  description: 'A line for each row, in order, and one more at the end that tells the whole.',
  oneOf: [
    Type.Object({
      row: Type.Integer({ description: 'Number of the row, from 1; a CSV header is no row.' }),
      outcome: Type.Enum(['created', 'updated', 'unchanged', 'error']),
      id: Type.Optional(Type.String()),
      secret: Type.Optional(Type.String({ description: 'Generated; told once.' })),
      code: Type.Optional(Type.String({ enum: Object.keys(errorFacts) })),
      pointer: Type.Optional(Type.String({ description: 'JSON pointer into the row.' })),
      detail: Type.Optional(Type.String()),
    }),
    Type.Object({
      summary: Type.Object({
        importId: Type.String(),
        state: Type.Enum(['finished', 'refused', 'dry', 'stopped']),
        rows: Type.Integer(),
        ...counts,
        revision: Type.Integer(),
        enforced: Type.Optional(
          Type.Boolean({
            description: 'With `wait=enforced`: whether every live node enforces what was stored.',
          }),
        ),
        pendingNodes: Type.Optional(
          Type.Array(Type.String(), { description: 'Those that have not said so in time.' }),
        ),
        problem: Type.Optional(Type.Unsafe<unknown>({ $ref: 'Problem#' })),
      }),
    }),
  ],
});
