import {
  NAME_BYTES_MAX,
  PERMISSION_CONTEXTS,
  PERMISSION_ID_BYTES_MAX,
  PERMISSION_OPERATIONS,
  PERMISSIONS_MAX,
  type Role,
} from '@sallyport/domain';
import { TOPIC_BYTES_MAX } from '@sallyport/topic';
import { Type } from 'typebox';
import { defaulted, instant, instantSchema, pageOf, pageQuery } from '../../http/list-query.ts';
import { writeQuery } from '../../http/write.ts';

const closed = { additionalProperties: false };

const permissionMembers = {
  context: Type.Enum([...PERMISSION_CONTEXTS], {
    description: '`mqtt`: the resource is a topic filter. `http`: it is a path of an HTTP API.',
  }),
  resource: Type.String({
    maxLength: TOPIC_BYTES_MAX,
    description:
      'With the wildcards `+` and `#`. Of `mqtt` a level may be ${clientid} or ${username}; of `http` it starts with `/`.',
  }),
  operation: Type.Enum([...PERMISSION_OPERATIONS], {
    description:
      '`read`: subscribe and receive, or GET and HEAD. `write`: publish, or POST, PUT, PATCH and DELETE. `readWrite`: all.',
  }),
};

const permissionId = Type.String({ minLength: 1, maxLength: PERMISSION_ID_BYTES_MAX });

/** A permission as it is sent: without an id it gets a new one. */
export const permissionBody = Type.Object(
  { id: Type.Optional(permissionId), ...permissionMembers },
  closed,
);

/** A permission at its own address. */
export const permissionAtBody = Type.Object(permissionMembers, closed);

export const permissionsBody = (description: string) =>
  Type.Array(permissionBody, { maxItems: PERMISSIONS_MAX, description });

const permissionSchema = Type.Object({ id: Type.String(), ...permissionMembers });

const name = Type.String({
  maxLength: NAME_BYTES_MAX,
  description: `Unique among roles; 1 to ${NAME_BYTES_MAX} bytes.`,
});
const permissions = permissionsBody('What the role grants. There is no deny, and no order.');

export const createBody = Type.Object(
  { name, permissions: defaulted({ ...permissions, default: [] }) },
  closed,
);

export const replaceBody = Type.Object({ name, permissions }, closed);

export const patchBody = Type.Object(
  { name: Type.Optional(name), permissions: Type.Optional(permissions) },
  { ...closed, minProperties: 1, description: 'A list that is given replaces the present one.' },
);

const roleMembers = {
  id: Type.String(),
  name,
  permissions: Type.Array(permissionSchema),
  createdAt: instantSchema('When the role was added.'),
  updatedAt: instantSchema('When it was last changed.'),
  updatedRevision: Type.Integer({ description: 'The entity tag, as a number.' }),
};

export const roleSchema = Type.Object(roleMembers);
export const writtenRoleSchema = Type.Object({
  ...roleMembers,
  revision: Type.Integer({ description: 'At which the change takes effect.' }),
});
export const rolePageSchema = pageOf(roleSchema, 'RolePage');
export const onePermissionSchema = permissionSchema;
export const permissionListSchema = Type.Object({ items: Type.Array(permissionSchema) });
export const writtenPermissionSchema = Type.Object({
  ...permissionSchema.properties,
  revision: Type.Integer(),
});

export const listQuery = Type.Object(pageQuery(['name', 'createdAt', 'updatedAt']), closed);
export const emptyQuery = Type.Object({}, closed);
export const writeQuerySchema = Type.Object(writeQuery, closed);
export const removeQuery = Type.Object(
  {
    ...writeQuery,
    detach: defaulted(
      Type.Boolean({
        default: false,
        description:
          'Takes the role from the credentials that have it; without, there must be none.',
      }),
    ),
  },
  closed,
);

export const idParams = Type.Object({ id: Type.String() });
export const permissionParams = Type.Object({ id: Type.String(), permissionId: Type.String() });

export const roleView = (role: Role) => ({
  id: role.id,
  name: role.name,
  permissions: role.permissions,
  createdAt: instant(role.createdAt),
  updatedAt: instant(role.updatedAt),
  updatedRevision: role.updatedRevision,
});
