import {
  CREDENTIAL_ROLES_MAX,
  PUBLISH_PREFIX_BYTES_MAX,
  ROLE_ID_BYTES_MAX,
} from '@sallyport/domain';
import { type TSchema, Type } from 'typebox';
import { applySchema } from './apply-schema.ts';
import { permissionsBody } from '../roles/schema.ts';

/** Access by roles as it is sent: what is left out is empty, and permissions without an id get one. `role` is how a role is named. */
export const rolesAccessOf = (role: TSchema) =>
  Type.Object(
    {
      kind: Type.Literal('roles'),
      roles: Type.Optional(Type.Array(role, { maxItems: CREDENTIAL_ROLES_MAX })),
      permissions: Type.Optional(
        permissionsBody('What the credential is granted beside its roles.'),
      ),
      apply: applySchema,
      publishPrefix: Type.Optional(
        Type.String({
          maxLength: PUBLISH_PREFIX_BYTES_MAX,
          description:
            'Put in front of the topic of whatever the client publishes, as it is, before anything is checked. Empty: none.',
        }),
      ),
    },
    {
      additionalProperties: false,
      description: 'What the roles and permissions grant together, and nothing else.',
    },
  );

export const rolesAccessSchema = rolesAccessOf(
  Type.String({ maxLength: ROLE_ID_BYTES_MAX, description: 'Id of a role.' }),
);
