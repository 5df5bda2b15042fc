import {
  API_KEY_DESCRIPTION_BYTES_MAX,
  API_KEY_ROLES,
  type ApiKey,
  NAME_BYTES_MAX,
} from '@sallyport/domain';
import { Type } from 'typebox';
import { defaulted, instant, instantSchema } from '../../http/list-query.ts';
import { writeQuery } from '../../http/write.ts';

const closed = { additionalProperties: false };
const role = Type.Enum([...API_KEY_ROLES], {
  description: '`publisher` may use nothing of this API.',
});
const name = Type.String({ minLength: 1, maxLength: NAME_BYTES_MAX });
const description = Type.String({
  maxLength: API_KEY_DESCRIPTION_BYTES_MAX,
  description: 'For people.',
});

export const createBody = Type.Object(
  {
    name,
    description: Type.Optional(description),
    role,
    enabled: defaulted(Type.Boolean({ default: true })),
    expiresAt: Type.Optional(instantSchema('From when on the key opens nothing.')),
  },
  closed,
);

export const patchBody = Type.Object(
  {
    name: Type.Optional(name),
    description: Type.Optional(description),
    role: Type.Optional(role),
    enabled: Type.Optional(Type.Boolean()),
    expiresAt: Type.Optional(
      Type.Union([instantSchema('From when on the key opens nothing.'), Type.Null()], {
        description: '`null`: it never ends.',
      }),
    ),
  },
  { ...closed, minProperties: 1 },
);

const members = {
  id: Type.String(),
  name: Type.String(),
  description: Type.Optional(description),
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
  const { id, name, description, role, enabled, expiresAt, createdAt, updatedRevision } = key;
  return {
    id,
    name,
    ...(description === undefined ? {} : { description }),
    role,
    enabled,
    ...(expiresAt === undefined ? {} : { expiresAt: instant(expiresAt) }),
    createdAt: instant(createdAt),
    updatedRevision,
  };
}
