import {
  type AccessSpec,
  ATTRIBUTES_MAX,
  AUTHENTICATOR_IDS,
  type AuthenticatorId,
  type ChainMember,
  type ClientIds,
  type Credential,
  CREDENTIAL_TOKENS_MAX,
  type CredentialToken,
  type Grant,
  IMPORTED_ALGORITHMS,
  isLive,
  liveTokens,
  memberOf,
  NAME_BYTES_MAX,
  PATTERN_BYTES_MAX,
  PATTERNS_MAX,
  ROLE_ID_BYTES_MAX,
  SCRAM_MECHANISMS,
  type ScramMechanism,
  type Store,
  STORES,
} from '@sallyport/domain';
import { SECRET_BYTES_MAX } from '@sallyport/secrets';
import { type TSchema, Type } from 'typebox';
import { defaulted, instant, instantSchema, pageOf, pageQuery } from '../../http/list-query.ts';
import { writeQuery } from '../../http/write.ts';
import { applySchema } from './apply-schema.ts';
import { rolesAccessSchema } from './roles-access.ts';
import {
  clientIdsSchema,
  grantsSchema,
  mappingSchema,
  matchSchema,
  passwordHashSchema,
  scramOnlySchema,
  validitySchema,
  validityView,
} from './proof-schema.ts';
import { type ValidityView } from './stored-body.ts';

const closed = { additionalProperties: false };

const patterns = (description: string) =>
  Type.Array(Type.String({ maxLength: PATTERN_BYTES_MAX }), {
    maxItems: PATTERNS_MAX,
    description,
  });

export const accessSchemaOf = (rolesAccess: TSchema) =>
  Type.Unsafe<AccessSpec>({
    type: 'object',
    required: ['kind'],
    discriminator: { propertyName: 'kind' },
    description: 'How the credential itself grants topics; ACL lists are looked at in every case.',
    oneOf: [
      Type.Object(
        { kind: Type.Literal('acl'), apply: applySchema },
        { ...closed, description: 'No opinion of its own: the ACL lists decide.' },
      ),
      Type.Object(
        { kind: Type.Literal('unrestricted'), apply: applySchema },
        { ...closed, description: 'Everything but reserved topics.' },
      ),
      Type.Object(
        {
          kind: Type.Literal('patterns'),
          publish: patterns('Topics that may be published to.'),
          subscribe: patterns('Topics that may be subscribed to.'),
          apply: applySchema,
        },
        {
          ...closed,
          description:
            'Whole-match regular expressions, in linear time; `${clientId}` in one is the client id, and one with `+`, `#` or `/` is not ' +
            'let in then. Bound to a session when it connects, unless `apply` says otherwise.',
        },
      ),
      rolesAccess,
      mappingSchema,
      Type.Object(
        { kind: Type.Literal('groups'), apply: applySchema },
        {
          ...closed,
          description:
            'Only what the groups of the connection allow. Bound to a session when it connects, unless `apply` says otherwise.',
        },
      ),
    ],
  });

export const accessSchema = accessSchemaOf(rolesAccessSchema);

/** Members of a credential that an administrator decides. */
const fields = {
  name: Type.String({ description: 'Unique within its store; 1 to 256 bytes.' }),
  match: matchSchema,
  enabled: defaulted(Type.Boolean({ default: true })),
  superuser: defaulted(Type.Boolean({ default: false })),
  passwordRequired: defaulted(
    Type.Boolean({
      default: true,
      description: 'When false, the match alone opens the credential.',
    }),
  ),
  attributes: defaulted(
    Type.Unsafe<Record<string, string>>({
      type: 'object',
      additionalProperties: { type: 'string' },
      maxProperties: ATTRIBUTES_MAX,
      default: {},
    }),
  ),
  access: defaulted(Type.Unsafe<AccessSpec>({ ...accessSchema, default: { kind: 'acl' } })),
  grants: defaulted(Type.Unsafe<Grant[]>({ ...grantsSchema, default: [] })),
  validity: defaulted(Type.Unsafe<ValidityView>({ ...validitySchema, default: {} })),
  clientIds: defaulted(Type.Unsafe<ClientIds>({ ...clientIdsSchema, default: {} })),
};

const kind = Type.Enum(['password', 'certificate']);
const store = Type.Enum([...STORES]);

/** Longest scope of a chain, in characters. */
const SCOPE_LENGTH_MAX = 128;

const scope = Type.String({ maxLength: SCOPE_LENGTH_MAX });

export const chainSchema = Type.Unsafe<ChainMember>({
  type: 'object',
  required: ['scope', 'authenticator'],
  additionalProperties: false,
  properties: {
    scope,
    authenticator: { type: 'string', enum: [...AUTHENTICATOR_IDS] },
  },
  description:
    'Of the store `emqx`: the authenticator of a chain that the credential belongs to, within which its name and its match are ' +
    'unique. When a credential is made: the one for passwords of the global chain when left out.',
});

export const passwordSchema = Type.String({
  minLength: 1,
  maxLength: SECRET_BYTES_MAX,
  description: 'Chosen by a person; kept as argon2id.',
});

const mechanisms = Type.Unsafe<ScramMechanism[]>({
  type: 'array',
  items: { type: 'string', enum: [...SCRAM_MECHANISMS] },
  uniqueItems: true,
  description: 'Mechanisms of MQTT 5 enhanced authentication that the secret may be proven with.',
});

/** With a new secret only: the keys are made from its text, which is not kept. */
const scram = (otherwise: string) =>
  Type.Optional(
    Type.Unsafe<ScramMechanism[]>({
      ...mechanisms,
      description:
        'Lets the new secret also be proven by MQTT 5 enhanced authentication, with these mechanisms. Whoever gets hold of the ' +
        'log and of the deployment key guesses SCRAM keys much faster than argon2id; a generated secret cannot be guessed. ' +
        `Needs a user name in the match. When absent: ${otherwise}.`,
    }),
  );

export const scramSchema = scram('as the present secret has it');

const generateSecret = defaulted(
  Type.Boolean({
    default: false,
    description: 'Generates a secret that is shown once, in the answer.',
  }),
);

export const fieldsSchema = Type.Object(fields, closed);

export const exportedSchema = Type.Object({
  store,
  kind,
  ...fields,
  chain: Type.Optional(chainSchema),
});

export const createBody = Type.Object(
  {
    store: defaulted(Type.Unsafe<Store>({ ...store, default: 'native' })),
    kind: defaulted(Type.Unsafe<Credential['kind']>({ ...kind, default: 'password' })),
    ...fields,
    chain: Type.Optional(chainSchema),
    password: Type.Optional(passwordSchema),
    passwordHash: Type.Optional(passwordHashSchema),
    generateSecret,
    scram: scram('none'),
    scramOnly: scramOnlySchema,
  },
  closed,
);

const replacedFields = { ...fields, password: Type.Optional(passwordSchema), scram: scramSchema };

/** What takes the place of a credential of a kind that is known. */
export const replacedBody = Type.Object(replacedFields, closed);

const otherKind = Type.Optional(
  Type.Unsafe<Credential['kind']>({
    ...kind,
    description:
      'How it is proven; as it is when left out. A password that is no way in any more is removed; who makes it one again sends it.',
  }),
);

export const replaceBody = Type.Object(
  { kind: otherKind, ...replacedFields },
  { ...closed, description: 'Without a password the present secrets stay.' },
);

/** Null takes a member away, as RFC 7396 has it; the outcome is checked as a whole. */
export const patchBody = Type.Unsafe<Record<string, unknown>>({
  type: 'object',
  additionalProperties: false,
  minProperties: 1,
  properties: {
    ...Object.fromEntries(Object.keys(fields).map((name) => [name, {}])),
    kind: otherKind,
    password: passwordSchema,
    scram: scramSchema,
  },
  description:
    'JSON merge patch (RFC 7396). An `access` of another kind replaces the present one, and so does a `match` beside another `kind`.',
});

/** Longest time that a replaced secret may live on, in seconds. */
export const RETIRE_SECONDS_MAX = 30 * 24 * 60 * 60;

export const rotateBody = Type.Object(
  {
    password: Type.Optional(passwordSchema),
    passwordHash: Type.Optional(passwordHashSchema),
    scram: scramSchema,
    scramOnly: scramOnlySchema,
    retireOldAfterSeconds: defaulted(
      Type.Integer({
        minimum: 0,
        maximum: RETIRE_SECONDS_MAX,
        default: 0,
        description: 'How long the present secret stays valid.',
      }),
    ),
  },
  { ...closed, description: 'Without a password a secret is generated.' },
);

const secretSchema = Type.Object({
  secretId: Type.String(),
  scram: Type.Optional(mechanisms),
  scramOnly: Type.Optional(Type.Boolean()),
  imported: Type.Optional(
    Type.Enum([...IMPORTED_ALGORITHMS], {
      description: 'How it is still kept: as it was imported, because nobody has come with it yet.',
    }),
  ),
  createdAt: instantSchema('When it was set.'),
  expiresAt: Type.Optional(instantSchema('From when on it opens nothing.')),
});

const WITHOUT_PROOF = 'Without what would open anything.';

/** Longest time that a token may last, in seconds. */
export const TOKEN_SECONDS_MAX = 10 * 366 * 24 * 60 * 60;

export const tokenBody = Type.Object(
  {
    label: Type.String({ minLength: 1, maxLength: NAME_BYTES_MAX, description: 'What it is for.' }),
    expiresInSeconds: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: TOKEN_SECONDS_MAX,
        description: 'For how long it opens the credential; until it is removed when left out.',
      }),
    ),
  },
  closed,
);

const tokenMembers = {
  tokenId: Type.String(),
  label: Type.String(),
  createdAt: instantSchema('When it was made.'),
  expiresAt: Type.Optional(instantSchema('From when on it opens nothing.')),
};

const tokenSchema = Type.Object(tokenMembers);

export const writtenTokenSchema = Type.Object({
  ...tokenMembers,
  token: Type.Optional(
    Type.String({ description: 'The token itself. Shown once, and not to a retry.' }),
  ),
  revision: Type.Integer(),
});

const TOKENS = `Tokens that are live, at most ${CREDENTIAL_TOKENS_MAX}. Without what would open anything.`;

const viewMembers = {
  id: Type.String({ format: 'uuid' }),
  store,
  kind,
  ...fields,
  chain: Type.Optional(chainSchema),
  secrets: Type.Array(secretSchema, { description: WITHOUT_PROOF }),
  tokens: Type.Array(tokenSchema, { description: TOKENS }),
  createdAt: instantSchema('When the credential was added.'),
  updatedAt: instantSchema('When it was last changed.'),
  updatedRevision: Type.Integer({ description: 'The entity tag, as a number.' }),
};

export const credentialSchema = Type.Object(viewMembers);

const lastUsedAt = (what: string) =>
  Type.Optional(
    instantSchema(
      `When ${what} let somebody in last. Absent when that is not known: not in the last 400 days, or no node answers.`,
    ),
  );

export const usedCredentialSchema = Type.Object({
  ...viewMembers,
  secrets: Type.Array(
    Type.Object({ ...secretSchema.properties, lastUsedAt: lastUsedAt('this secret') }),
    { description: WITHOUT_PROOF },
  ),
  tokens: Type.Array(Type.Object({ ...tokenMembers, lastUsedAt: lastUsedAt('this token') }), {
    description: TOKENS,
  }),
  lastUsedAt: lastUsedAt('the credential, by any secret or none,'),
});

export const writtenCredentialSchema = Type.Object({
  ...viewMembers,
  secret: Type.Optional(
    Type.String({ description: 'The generated secret. Shown once, and not to a retry.' }),
  ),
  revision: Type.Integer({ description: 'At which the change takes effect.' }),
});

export const writtenSecretSchema = Type.Object({
  ...secretSchema.properties,
  secret: Type.Optional(
    Type.String({ description: 'The generated secret. Shown once, and not to a retry.' }),
  ),
  revision: Type.Integer(),
});

export const credentialPageSchema = pageOf(credentialSchema, 'CredentialPage');

export const listQuery = Type.Object(
  {
    ...pageQuery(['name', 'createdAt', 'updatedAt']),
    store: Type.Optional(Type.Enum([...STORES])),
    role: Type.Optional(
      Type.String({
        maxLength: ROLE_ID_BYTES_MAX,
        description: 'Id of a role: only credentials that have it.',
      }),
    ),
    chain: Type.Optional(
      Type.String({
        maxLength: SCOPE_LENGTH_MAX,
        description: 'Scope of a chain: only credentials of the store `emqx` that belong to it.',
      }),
    ),
    authenticator: Type.Optional(
      Type.Unsafe<AuthenticatorId>({
        type: 'string',
        enum: [...AUTHENTICATOR_IDS],
        description: 'With `chain`: only those of this authenticator.',
      }),
    ),
  },
  closed,
);

export const emptyQuery = Type.Object({}, closed);
export const writeQuerySchema = Type.Object(writeQuery, closed);

export const idParams = Type.Object({ id: Type.String() });
export const secretParams = Type.Object({ id: Type.String(), secretId: Type.String() });
export const tokenParams = Type.Object({ id: Type.String(), tokenId: Type.String() });

/** A credential as it is told to callers: secrets without their verifiers, and only those that are live. */
export function credentialView(credential: Credential, at: number): Record<string, unknown> {
  const { id, store, kind, name, match, enabled, superuser, passwordRequired } = credential;
  const chain = memberOf(credential);
  return {
    id,
    store,
    kind,
    name,
    match,
    enabled,
    superuser,
    passwordRequired,
    attributes: credential.attributes,
    access: credential.access,
    grants: credential.grants ?? [],
    validity: validityView(credential.validity ?? {}),
    clientIds: credential.clientIds ?? {},
    ...(chain === undefined ? {} : { chain }),
    secrets: credential.secrets.filter((one) => isLive(one, at)).map(secretView),
    tokens: liveTokens(credential, at).map(tokenView),
    createdAt: instant(credential.createdAt),
    updatedAt: instant(credential.updatedAt),
    updatedRevision: credential.updatedRevision,
  };
}

export function tokenView(token: CredentialToken): Record<string, unknown> {
  const { tokenId, label, createdAt, expiresAt } = token;
  return {
    tokenId,
    label,
    createdAt: instant(createdAt),
    ...(expiresAt === undefined ? {} : { expiresAt: instant(expiresAt) }),
  };
}

export function secretView(secret: Credential['secrets'][number]): Record<string, unknown> {
  const { secretId, createdAt, expiresAt, scram = [], imported, verifier } = secret;
  return {
    secretId,
    ...(scram.length === 0 ? {} : { scram: scram.map((one) => one.mechanism) }),
    ...(verifier === undefined ? { scramOnly: true } : {}),
    ...(imported === undefined ? {} : { imported }),
    createdAt: instant(createdAt),
    ...(expiresAt === undefined ? {} : { expiresAt: instant(expiresAt) }),
  };
}
