import { type Credential, CREDENTIAL_NAME_BYTES_MAX, fingerprintText } from '@sallyport/domain';
import { SECRET_BYTES_MAX } from '@sallyport/secrets';
import type { Static } from 'typebox';
import { Type } from 'typebox';
import { instant, instantSchema, pageOf, pageQuery } from '../../http/list-query.ts';
import { writeQuery } from '../../http/write.ts';
import { passwordSchema } from '../credentials/schema.ts';

const closed = { additionalProperties: false };

const members = {
  name: Type.String({
    description: `Unique among clients; 1 to ${CREDENTIAL_NAME_BYTES_MAX} bytes.`,
  }),
  authentication: Type.Enum(['credentials', 'certificate'], {
    description: 'A user name and a password, or a certificate alone.',
  }),
};
const username = Type.String({
  description: 'For credentials: unique among clients; 1 to 256 bytes.',
});
const binding = {
  fingerprint: Type.Optional(
    Type.String({
      maxLength: 128,
      description: 'For certificate: SHA-256 of the certificate, hexadecimal or base64.',
    }),
  ),
  commonName: Type.Optional(
    Type.String({
      description:
        'For certificate: the Common Name of the certificate. The name of the client when neither is given.',
    }),
  ),
};

export const createBody = Type.Object(
  {
    ...members,
    username: Type.Optional(username),
    password: Type.Optional(passwordSchema),
    ...binding,
  },
  closed,
);
export type ClientBody = Static<typeof createBody>;

export const replaceBody = Type.Object(
  {
    ...createBody.properties,
    password: Type.Optional(
      Type.String({
        maxLength: SECRET_BYTES_MAX,
        description:
          'The present one stays when it is left out or empty; a client that has none needs one.',
      }),
    ),
  },
  closed,
);

const viewMembers = {
  id: Type.String({ format: 'uuid' }),
  ...members,
  username: Type.Optional(username),
  ...binding,
  createdAt: instantSchema('When the client was added.'),
  updatedAt: instantSchema('When it was last changed.'),
  updatedRevision: Type.Integer({ description: 'The entity tag, as a number.' }),
};

export const clientSchema = Type.Object(viewMembers);
export const writtenClientSchema = Type.Object({
  ...viewMembers,
  revision: Type.Integer({ description: 'At which the change takes effect.' }),
});
export const clientPageSchema = pageOf(clientSchema, 'ClientPage');

export const listQuery = Type.Object(pageQuery(['name', 'createdAt', 'updatedAt']), closed);
export const emptyQuery = Type.Object({}, closed);
export const writeQuerySchema = Type.Object(writeQuery, closed);
export const idParams = Type.Object({ id: Type.String() });

/** A credential of the store `clients` as this view tells it. A password is never told. */
export function clientView(credential: Credential): Record<string, unknown> {
  const { id, name, kind, match } = credential;
  const { fingerprint, commonName } = match;
  return {
    id,
    name,
    authentication: kind === 'certificate' ? 'certificate' : 'credentials',
    ...(match.username === undefined ? {} : { username: match.username }),
    ...(fingerprint === undefined ? {} : { fingerprint: fingerprintText(fingerprint) }),
    ...(commonName === undefined ? {} : { commonName }),
    createdAt: instant(credential.createdAt),
    updatedAt: instant(credential.updatedAt),
    updatedRevision: credential.updatedRevision,
  };
}
