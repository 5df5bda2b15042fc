import {
  type AccessSpec,
  type ApplyMode,
  CREDENTIAL_ROLES_MAX,
  PUBLISH_PREFIX_BYTES_MAX,
  ROLE_ID_BYTES_MAX,
} from '@sallyport/domain';
import { type TSchema, Type } from 'typebox';
import type { CommandInputs } from '../../http/write.ts';
import { applySchema } from './apply-schema.ts';
import { permissionsBody, type SentPermission, withIds } from '../roles/schema.ts';

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

interface SentRolesAccess {
  readonly kind: 'roles';
  readonly roles?: readonly string[];
  readonly permissions?: readonly SentPermission[];
  readonly publishPrefix?: string;
  readonly apply?: ApplyMode;
}

/** The fields with an access that is whole. */
export function withWholeAccess<F extends { readonly access?: AccessSpec }>(
  fields: F,
  inputs: Pick<CommandInputs, 'id'>,
): F {
  const { access } = fields;
  return access?.kind === 'roles' ? { ...fields, access: wholeAccess(access, inputs) } : fields;
}

function wholeAccess(
  sent: Extract<AccessSpec, { kind: 'roles' }>,
  inputs: Pick<CommandInputs, 'id'>,
): AccessSpec {
  const { roles = [], permissions = [], publishPrefix = '', apply }: SentRolesAccess = sent; // `rolesAccessSchema` lets more be left out.
  return {
    kind: 'roles',
    roles,
    permissions: withIds(permissions, inputs),
    ...(publishPrefix === '' ? {} : { publishPrefix }),
    ...(apply === undefined ? {} : { apply }),
  };
}
