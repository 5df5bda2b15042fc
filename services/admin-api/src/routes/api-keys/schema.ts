import { type ApiKey, NAME_BYTES_MAX, OPERATOR_ROLES } from '@sallyport/domain';
import { Type } from 'typebox';
import { defaulted, instant, instantSchema } from '../../http/list-query.ts';
import { writeQuery } from '../../http/write.ts';

const closed = { additionalProperties: false };
const role = Type.Enum([...OPERATOR_ROLES]);

export const createBody = Type.Object(
  {
    name: Type.String({ minLength: 1, maxLength: NAME_BYTES_MAX }),
    role,
    enabled: defaulted(Type.Boolean({ default: true })),
    expiresAt: Type.Optional(instantSchema('From when on the key opens nothing.')),
  },
  closed,
);

export const patchBody = Type.Object({ enabled: Type.Boolean() }, closed);

const members = {
  id: Type.String(),
  name: Type.String(),
  role,
  enabled: Type.Boolean(),
  expiresAt: Type.Optional(instantSchema('From when on the key opens nothing.')),
  createdAt: instantSchema('When the key was added.'),
  updatedRevision: Type.Integer(),
};

export const apiKeySchema = Type.Object(members);
export const writtenApiKeySchema = Type.Object({
  ...members,
  secret: Type.Optional(
    Type.String({ description: 'The second half of the key. Shown once, and not to a retry.' }),
  ),
  revision: Type.Integer(),
});
export const apiKeyListSchema = Type.Object({
  items: Type.Array(apiKeySchema),
  total: Type.Integer(),
});

export const idParams = Type.Object({ id: Type.String() });
export const emptyQuery = Type.Object({}, closed);
export const writeQuerySchema = Type.Object(writeQuery, closed);

export function apiKeyView(key: ApiKey): Record<string, unknown> {
  const { id, name, role, enabled, expiresAt, createdAt, updatedRevision } = key;
  return {
    id,
    name,
    role,
    enabled,
    ...(expiresAt === undefined ? {} : { expiresAt: instant(expiresAt) }),
    createdAt: instant(createdAt),
    updatedRevision,
  };
}
