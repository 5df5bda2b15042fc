import { NAME_BYTES_MAX, OPERATOR_ROLES } from '@sallyport/domain';
import { SECRET_BYTES_MAX } from '@sallyport/secrets';
import { Type } from 'typebox';
import { TOKEN_LENGTH_MAX } from '../../http/tokens.ts';

const closed = { additionalProperties: false };
const loginName = Type.String({ minLength: 1, maxLength: NAME_BYTES_MAX });

export const loginBody = Type.Object(
  {
    username: Type.Optional(loginName),
    email: Type.Optional(loginName),
    password: Type.String({ minLength: 1, maxLength: SECRET_BYTES_MAX }),
  },
  { ...closed, description: 'The name or the e-mail address, and the password.' },
);

export const refreshBody = Type.Object(
  { refreshToken: Type.String({ minLength: 1, maxLength: TOKEN_LENGTH_MAX }) },
  closed,
);

export const sessionSchema = Type.Object({
  tokenType: Type.Literal('Bearer'),
  accessToken: Type.String(),
  refreshToken: Type.String(),
  expiresInSeconds: Type.Integer(),
  refreshExpiresInSeconds: Type.Integer(),
  operator: Type.Object({
    id: Type.String(),
    name: Type.String(),
    role: Type.Enum([...OPERATOR_ROLES]),
  }),
});
