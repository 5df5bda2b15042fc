import { createHash } from 'node:crypto';
import {
  CREDENTIAL_ROLES_MAX,
  isRegistrationOpen,
  NAME_BYTES_MAX,
  type PendingRegistration,
  REGISTRATION_CONTEXT_ENTRIES_MAX,
  REGISTRATION_OPEN_MS_DEFAULT,
  REGISTRATION_OPEN_MS_MAX,
  REGISTRATION_PASSWORD_LENGTH_MIN,
  REGISTRATION_PERMISSIONS_MAX,
  REGISTRATION_USERNAME_LENGTH_MIN,
  type RegistrationWindow,
  ROLE_ID_BYTES_MAX,
  type Store,
  STORES,
} from '@sallyport/domain';
import { SECRET_BYTES_MAX } from '@sallyport/secrets';
import { Type } from 'typebox';
import { defaulted, instant, instantSchema, pageOf, pageQuery } from '../../http/list-query.ts';
import { writeQuery } from '../../http/write.ts';
import {
  keyText,
  readSigningRequest,
  SIGNING_REQUEST_LENGTH_MAX,
} from '../../issuing/signing-request.ts';
import { permissionAtBody, permissionsBody } from '../roles/schema.ts';

const closed = { additionalProperties: false };

const roles = Type.Array(Type.String({ maxLength: ROLE_ID_BYTES_MAX }), {
  maxItems: CREDENTIAL_ROLES_MAX,
  description: 'Ids of roles.',
});

const context = Type.Unsafe<Record<string, string>>({
  type: 'object',
  additionalProperties: { type: 'string', maxLength: NAME_BYTES_MAX },
  maxProperties: REGISTRATION_CONTEXT_ENTRIES_MAX,
  description: 'Whatever lets an administrator tell the device, such as a pairing id.',
});

const askedPermissions = Type.Array(permissionAtBody, { maxItems: REGISTRATION_PERMISSIONS_MAX });

export const registerBody = Type.Object(
  {
    username: Type.String({
      minLength: REGISTRATION_USERNAME_LENGTH_MIN,
      maxLength: NAME_BYTES_MAX,
    }),
    password: Type.String({
      maxLength: SECRET_BYTES_MAX,
      description: `At least ${REGISTRATION_PASSWORD_LENGTH_MIN} characters, and what the password policy asks for. Kept as argon2id.`,
    }),
    context: Type.Optional(context),
    roles: Type.Optional(roles),
    permissions: Type.Optional(askedPermissions),
    csr: Type.Optional(
      Type.String({
        description:
          `PEM of a certificate signing request (PKCS#10), at most ${SIGNING_REQUEST_LENGTH_MAX} characters, whose one Common Name is the user name. ` +
          'Nothing else that it asks for is looked at. Who is granted access gets a certificate for it, and may connect by that as well as by password. ' +
          'Sent with another key while it waits, the new one is signed.',
      }),
    ),
  },
  {
    ...closed,
    description:
      'Roles and permissions are suggestions to the administrator: nothing is granted because it is asked for. Who waits sends the same again.',
  },
);

export const pendingSchema = Type.Object(
  { state: Type.Literal('pending') },
  { description: 'Nothing is decided yet; ask again with the same body' },
);
export const grantedSchema = Type.Object(
  {
    state: Type.Literal('granted'),
    certificate: Type.Optional(
      Type.String({ description: 'PEM of the certificate, where one was asked for.' }),
    ),
  },
  { description: 'Granted: the user name and password open connections' },
);

const windowMembers = {
  state: Type.Enum(['open', 'locked']),
  openUntil: Type.Optional(instantSchema('When it locks itself.')),
};

const requestSchema = Type.Object({
  id: Type.String(),
  username: Type.String(),
  origin: Type.Enum(['mqtt', 'http'], {
    description: '`mqtt`: a connection that was refused. `http`: somebody asks and waits.',
  }),
  count: Type.Integer({ description: 'How often, about: repetitions are recorded together.' }),
  conflicting: Type.Boolean({
    description: 'The same user name waits with another password; granting one discards the other.',
  }),
  address: Type.Optional(Type.String({ description: 'Where the last attempt came from.' })),
  clientId: Type.Optional(Type.String({ description: 'MQTT client id of the last attempt.' })),
  context,
  roles: Type.Array(Type.String(), { description: 'Asked for; they may not exist.' }),
  permissions: askedPermissions,
  signingRequest: Type.Optional(
    Type.Object(
      {
        key: Type.String({ description: 'Kind and size of its key.' }),
        keyFingerprint: Type.String({
          description: 'SHA-256 of its public key (SubjectPublicKeyInfo), in hexadecimal digits.',
        }),
      },
      { description: 'A certificate is asked for, and made when it is granted.' },
    ),
  ),
  createdAt: instantSchema('First attempt.'),
  lastSeenAt: instantSchema('Last attempt, to within some seconds.'),
  expiresAt: instantSchema('When the request ends by itself.'),
});

export const registrationSchema = Type.Object({
  ...windowMembers,
  ...pageOf(requestSchema, 'RegistrationRequestPage').properties,
});
export const windowSchema = Type.Object({ ...windowMembers, revision: Type.Integer() });

export const openBody = Type.Object(
  {
    openDuration: defaulted(
      Type.Integer({
        minimum: 1,
        maximum: REGISTRATION_OPEN_MS_MAX,
        default: REGISTRATION_OPEN_MS_DEFAULT,
        description: 'Milliseconds after which it locks itself.',
      }),
    ),
  },
  closed,
);

export const grantBody = Type.Object(
  {
    store: defaulted(Type.Unsafe<Store>({ type: 'string', enum: [...STORES], default: 'cybus' })),
    name: Type.Optional(Type.String({ description: 'The user name when left out.' })),
    roles: defaulted({ ...roles, default: [] }),
    permissions: defaulted({
      ...permissionsBody('What the credential is granted beside its roles.'),
      default: [],
    }),
  },
  { ...closed, description: 'Nothing is granted that is not named here.' },
);

export const listQuery = Type.Object(pageQuery(['lastSeenAt', 'createdAt', 'username']), closed);
export const emptyQuery = Type.Object({}, closed);
export const writeQuerySchema = Type.Object(writeQuery, closed);
export const idParams = Type.Object({ id: Type.String() });

export function windowView(window: RegistrationWindow, at: number): Record<string, unknown> {
  const { openUntil } = window;
  if (openUntil === undefined || !isRegistrationOpen(window, at)) return { state: 'locked' };
  return { state: 'open', openUntil: instant(openUntil) };
}

/** Without what would open anything. */
export function requestView(
  request: PendingRegistration,
  conflicting: boolean,
): Record<string, unknown> {
  const { id, username, origin, count, address, clientId, asked = {} } = request;
  return {
    ...{ id, username, origin, count, conflicting },
    ...(address !== undefined && { address }),
    ...(clientId !== undefined && { clientId }),
    context: asked.context ?? {},
    roles: asked.roles ?? [],
    permissions: asked.permissions ?? [],
    ...(asked.csr !== undefined && signingRequestView(asked.csr, username)),
    createdAt: instant(request.createdAt),
    lastSeenAt: instant(request.lastSeenAt),
    expiresAt: instant(request.until),
  };
}

/** What an administrator can compare with the device. */
function signingRequestView(csr: string, username: string): Record<string, unknown> {
  const read = readSigningRequest(csr, username);
  if (!read.ok) return {};
  const { publicKey } = read.request;
  const spki = publicKey.export({ type: 'spki', format: 'der' });
  const keyFingerprint = createHash('sha256').update(spki).digest('hex');
  return { signingRequest: { key: keyText(publicKey), keyFingerprint } };
}
