import { DYNSEC_GROUPS_HELD_MAX, DYNSEC_ROLES_HELD_MAX } from '@sallyport/domain';
import { type TSchema, Type } from 'typebox';
import { prioritySchema, roleIdSchema } from '../dynsec/schema.ts';
import { applySchema } from './apply-schema.ts';

const closed = { additionalProperties: false };

/** Access by dynamic security as it is sent: what is left out is empty. `role` and `group` are how these are named. */
export const dynsecAccessOf = (role: TSchema, group: TSchema) =>
  Type.Object(
    {
      kind: Type.Literal('dynsec'),
      roles: Type.Optional(
        Type.Array(Type.Object({ role, priority: Type.Optional(prioritySchema) }, closed), {
          maxItems: DYNSEC_ROLES_HELD_MAX,
          description: 'Looked at before those of the groups.',
        }),
      ),
      groups: Type.Optional(
        Type.Array(Type.Object({ group, priority: Type.Optional(prioritySchema) }, closed), {
          maxItems: DYNSEC_GROUPS_HELD_MAX,
        }),
      ),
      apply: applySchema,
    },
    {
      ...closed,
      description:
        'What the first row says that matches, of roles of dynamic security; else the settings. A session is disconnected when that ' +
        'changes, unless `apply` says otherwise.',
    },
  );

export const dynsecAccessSchema = dynsecAccessOf(
  roleIdSchema,
  Type.String({ maxLength: 64, description: 'Id of a group of dynamic security.' }),
);
