import { type Group, GROUP_DESCRIPTION_BYTES_MAX, GROUP_ROWS_MAX } from '@sallyport/domain';
import { TOPIC_BYTES_MAX } from '@sallyport/topic';
import { Type } from 'typebox';
import { defaulted, instant, instantSchema, pageOf, pageQuery } from '../../http/list-query.ts';
import { writeQuery } from '../../http/write.ts';

const closed = { additionalProperties: false };

const permission = Type.Object(
  {
    permission: Type.Enum(['allow', 'deny']),
    action: Type.Enum(['subscribe', 'publish']),
    topic: Type.String({
      maxLength: TOPIC_BYTES_MAX,
      description: 'An MQTT filter; a level may be ${clientid} or ${username}.',
    }),
  },
  closed,
);

const fields = {
  name: Type.String({ description: 'Unique among groups; 1 to 256 bytes.' }),
  description: defaulted(Type.String({ maxLength: GROUP_DESCRIPTION_BYTES_MAX, default: '' })),
  permissions: defaulted(
    Type.Array(permission, {
      maxItems: GROUP_ROWS_MAX,
      default: [],
      description:
        'Their order means nothing: a row that denies, in any group of a connection, overrides every row that allows.',
    }),
  ),
};

/** Of a new group, and of what takes the place of one. */
export const groupBody = Type.Object(fields, closed);

const viewMembers = {
  id: Type.String({ format: 'uuid' }),
  ...fields,
  createdAt: instantSchema('When the group was added.'),
  updatedAt: instantSchema('When it was last changed.'),
  updatedRevision: Type.Integer({ description: 'The entity tag, as a number.' }),
};

export const groupSchema = Type.Object(viewMembers);
export const writtenGroupSchema = Type.Object({
  ...viewMembers,
  revision: Type.Integer({ description: 'At which the change takes effect.' }),
});
export const groupPageSchema = pageOf(groupSchema, 'GroupPage');

export const listQuery = Type.Object(pageQuery(['name', 'createdAt', 'updatedAt']), closed);
export const emptyQuery = Type.Object({}, closed);
export const writeQuerySchema = Type.Object(writeQuery, closed);
export const idParams = Type.Object({ id: Type.String() });

export const groupView = (group: Group) => ({
  id: group.id,
  name: group.name,
  description: group.description,
  permissions: group.permissions,
  createdAt: instant(group.createdAt),
  updatedAt: instant(group.updatedAt),
  updatedRevision: group.updatedRevision,
});
