import { Type } from 'typebox';

export const emptyQuery = Type.Object({}, { additionalProperties: false });

export const statusSchema = Type.Object({
  revision: Type.Integer({ description: 'Revision that this replica answers from.' }),
  hash: Type.String({ description: 'Running hash of the log at that revision.' }),
  importedSecrets: Type.Unsafe<Record<string, number>>({
    type: 'object',
    additionalProperties: { type: 'integer' },
    description: 'Secrets that are still kept as somebody else has hashed them, by algorithm.',
  }),
});
