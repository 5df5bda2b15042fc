import { NAME_BYTES_MAX, type Operator, OPERATOR_ROLES } from '@sallyport/domain';
import { SECRET_BYTES_MAX } from '@sallyport/secrets';
import { Type } from 'typebox';
import { defaulted, instant, instantSchema } from '../../http/list-query.ts';
import { writeQuery } from '../../http/write.ts';

/** Fewest characters of an operator's password. */
export const OPERATOR_PASSWORD_LENGTH_MIN = 12;

const closed = { additionalProperties: false };
const name = Type.String({ minLength: 1, maxLength: NAME_BYTES_MAX });
const email = Type.String({ minLength: 1, maxLength: NAME_BYTES_MAX });
const role = Type.Enum([...OPERATOR_ROLES]);
const password = Type.String({
  maxLength: SECRET_BYTES_MAX,
  description: `At least ${OPERATOR_PASSWORD_LENGTH_MIN} characters, and what the password policy asks for.`,
});

export const createBody = Type.Object(
  {
    name,
    email: Type.Optional(email),
    role,
    enabled: defaulted(Type.Boolean({ default: true })),
    password,
  },
  closed,
);

export const patchBody = Type.Object(
  {
    name: Type.Optional(name),
    email: Type.Optional(email),
    role: Type.Optional(role),
    enabled: Type.Optional(Type.Boolean()),
    password: Type.Optional(password),
  },
  { ...closed, minProperties: 1, description: 'Any change ends the sessions of the operator.' },
);

const members = {
  id: Type.String(),
  name: Type.String(),
  email: Type.Optional(Type.String()),
  role,
  enabled: Type.Boolean(),
  createdAt: instantSchema('When the operator was added.'),
  updatedAt: instantSchema('When it was last changed.'),
  updatedRevision: Type.Integer(),
};

export const operatorSchema = Type.Object(members);
export const writtenOperatorSchema = Type.Object({ ...members, revision: Type.Integer() });
export const operatorListSchema = Type.Object({
  items: Type.Array(operatorSchema),
  total: Type.Integer(),
});

export const idParams = Type.Object({ id: Type.String() });
export const emptyQuery = Type.Object({}, closed);
export const writeQuerySchema = Type.Object(writeQuery, closed);

export function operatorView(operator: Operator): Record<string, unknown> {
  const { id, name, email, role, enabled, createdAt, updatedAt, updatedRevision } = operator;
  return {
    id,
    name,
    ...(email === undefined ? {} : { email }),
    role,
    enabled,
    createdAt: instant(createdAt),
    updatedAt: instant(updatedAt),
    updatedRevision,
  };
}
