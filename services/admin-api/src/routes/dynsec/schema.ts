import {
  DYNSEC_ACL_TYPES,
  DYNSEC_ACLS_MAX,
  DYNSEC_DESCRIPTION_BYTES_MAX,
  DYNSEC_PRIORITY_DEFAULT,
  DYNSEC_PRIORITY_MAX,
  DYNSEC_ROLES_HELD_MAX,
  type DynsecGroup,
  type DynsecObject,
  type DynsecRole,
} from '@sallyport/domain';
import { TOPIC_BYTES_MAX } from '@sallyport/topic';
import { type TSchema, Type } from 'typebox';
import { defaulted, instant, instantSchema, pageOf, pageQuery } from '../../http/list-query.ts';
import { writeQuery } from '../../http/write.ts';

const closed = { additionalProperties: false };

export const prioritySchema = Type.Integer({
  minimum: -DYNSEC_PRIORITY_MAX,
  maximum: DYNSEC_PRIORITY_MAX,
  default: DYNSEC_PRIORITY_DEFAULT,
  description: 'The highest is looked at first.',
});

const acl = Type.Object(
  {
    aclType: Type.Enum([...DYNSEC_ACL_TYPES], {
      description:
        'What is asked: to publish, to be sent a message, to subscribe or to end a subscription; of the literal types to just this filter.',
    }),
    topic: Type.String({
      maxLength: TOPIC_BYTES_MAX,
      description:
        'An MQTT filter. Of the types that are not literal a level may be %c, the client id, or %u, the user name.',
    }),
    priority: defaulted(prioritySchema),
    allow: Type.Boolean(),
  },
  closed,
);

const named = {
  name: Type.String({
    description:
      'Unique among those of its kind; 1 to 256 bytes. Of equal priorities the first name is looked at first.',
  }),
  description: defaulted(Type.String({ maxLength: DYNSEC_DESCRIPTION_BYTES_MAX, default: '' })),
};

const roleFields = {
  ...named,
  acls: defaulted(
    Type.Array(acl, {
      maxItems: DYNSEC_ACLS_MAX,
      default: [],
      description:
        'The first that matches decides: the literal ones first, then by priority, then as they are listed.',
    }),
  ),
  allowWildcardSubs: defaulted(
    Type.Boolean({
      default: true,
      description: 'False denies every SUBSCRIBE with a wildcard before the rows are looked at.',
    }),
  ),
};

/** Of a new role, and of what takes the place of one. */
export const roleBody = Type.Object(roleFields, closed);

const groupFieldsOf = (role: TSchema) => ({
  ...named,
  roles: defaulted(
    Type.Array(Type.Object({ role, priority: defaulted(prioritySchema) }, closed), {
      maxItems: DYNSEC_ROLES_HELD_MAX,
      default: [],
    }),
  ),
});

export const roleIdSchema = Type.String({
  maxLength: 64,
  description: 'Id of a role of dynamic security.',
});

/** The same of a group; `role` is how a role is named. */
export const groupBodyOf = (role: TSchema) => Type.Object(groupFieldsOf(role), closed);
export const groupBody = groupBodyOf(roleIdSchema);

const kept = {
  createdAt: instantSchema('When it was added.'),
  updatedAt: instantSchema('When it was last changed.'),
  updatedRevision: Type.Integer({ description: 'The entity tag, as a number.' }),
};
const id = { id: Type.String({ format: 'uuid' }) };
const written = {
  revision: Type.Integer({ description: 'At which the change takes effect.' }),
};

const schemasOf = (fields: Record<string, TSchema>, page: string) => {
  const object = Type.Object({ ...id, ...fields, ...kept });
  return {
    object,
    written: Type.Object({ ...id, ...fields, ...kept, ...written }),
    page: pageOf(object, page),
  };
};

export const roleSchemas = schemasOf(roleFields, 'DynsecRolePage');
export const groupSchemas = schemasOf(groupFieldsOf(roleIdSchema), 'DynsecGroupPage');

export const listQuery = Type.Object(pageQuery(['name', 'createdAt', 'updatedAt']), closed);
export const writeQuerySchema = Type.Object(writeQuery, closed);
export const idParams = Type.Object({ id: Type.String() });

/** What an administrator has decided about a role, or about a group. */
export const roleFieldsOf = ({ name, description, acls, allowWildcardSubs }: DynsecRole) => ({
  ...{ name, description, acls, allowWildcardSubs },
});
export const groupFieldsOfStored = ({ name, description, roles }: DynsecGroup) => ({
  ...{ name, description, roles },
});

export const dynsecView = (object: DynsecObject) => ({
  id: object.id,
  ...(object.kind === 'role' ? roleFieldsOf(object) : groupFieldsOfStored(object)),
  createdAt: instant(object.createdAt),
  updatedAt: instant(object.updatedAt),
  updatedRevision: object.updatedRevision,
});
