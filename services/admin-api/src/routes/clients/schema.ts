import type { Credential } from '@sallyport/domain';
import { Type } from 'typebox';
import { instant, instantSchema, pageOf, pageQuery } from '../../http/list-query.ts';
import { writeQuery } from '../../http/write.ts';
import { passwordSchema } from '../credentials/schema.ts';

const closed = { additionalProperties: false };

const members = {
  name: Type.String({ description: 'Unique among clients; 1 to 256 bytes.' }),
  authentication: Type.Literal('credentials'),
};
const username = Type.String({ description: 'Unique among clients; 1 to 256 bytes.' });

export const createBody = Type.Object({ ...members, username, password: passwordSchema }, closed);

export const replaceBody = Type.Object(
  { ...members, username, password: Type.Optional(passwordSchema) },
  { ...closed, description: 'Without a password the present one stays.' },
);

const viewMembers = {
  id: Type.String({ format: 'uuid' }),
  ...members,
  username: Type.Optional(username),
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
  const { id, name, match } = credential;
  return {
    id,
    name,
    authentication: 'credentials',
    ...(match.username === undefined ? {} : { username: match.username }),
    createdAt: instant(credential.createdAt),
    updatedAt: instant(credential.updatedAt),
    updatedRevision: credential.updatedRevision,
  };
}
