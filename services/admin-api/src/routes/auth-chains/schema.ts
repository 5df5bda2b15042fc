import {
  type AuthChain,
  type AuthChainFields,
  type Authenticator,
  AUTHENTICATOR_MATCHES,
  authenticatorId,
  AUTHENTICATORS_MAX,
  BCRYPT_ROUNDS_MAX,
  DEFAULT_HASH,
  type HashAlgorithm,
  PBKDF2_DIGESTS,
  type Pbkdf2Digest,
  SALT_POSITIONS,
  type SaltPosition,
  SCRAM_MECHANISMS,
  type ScramMechanism,
  SIMPLE_DIGESTS,
} from '@sallyport/domain';
import { type Static, Type } from 'typebox';
import { defaulted, instant, instantSchema } from '../../http/list-query.ts';
import { refused } from '../../http/problems.ts';
import { writeQuery } from '../../http/write.ts';

const closed = { additionalProperties: false };

/** As the API writes it; what its name gives no meaning to is refused. */
interface HashView {
  readonly name: HashAlgorithm['name'];
  readonly saltPosition?: SaltPosition;
  readonly saltRounds?: number;
  readonly digest?: Pbkdf2Digest;
  readonly iterations?: number;
  readonly keyBytes?: number;
}

interface AuthenticatorView {
  readonly id?: string;
  readonly mechanism: string;
  readonly backend: string;
  readonly enabled: boolean;
  readonly matchBy: (typeof AUTHENTICATOR_MATCHES)[number];
  readonly hash?: HashView;
  readonly scram?: ScramMechanism;
}

const hashSchema = Type.Unsafe<HashView>({
  type: 'object',
  required: ['name'],
  additionalProperties: false,
  properties: {
    name: { type: 'string', enum: ['argon2id', 'plain', ...SIMPLE_DIGESTS, 'bcrypt', 'pbkdf2'] },
    saltPosition: {
      type: 'string',
      enum: [...SALT_POSITIONS],
      description: 'Of `plain` and the digests; `prefix` when left out.',
    },
    saltRounds: {
      type: 'integer',
      description: `Of bcrypt; ${BCRYPT_ROUNDS_MAX} when left out.`,
    },
    digest: { type: 'string', enum: [...PBKDF2_DIGESTS], description: 'Of pbkdf2, needed.' },
    iterations: { type: 'integer', description: 'Of pbkdf2, needed.' },
    keyBytes: {
      type: 'integer',
      description: 'Of pbkdf2: length of the derived key; that of the digest when left out.',
    },
  },
  description:
    'Of `password_based`: how passwords are hashed that are set from now on; what is stored keeps its form. argon2id when left out.',
});

const authenticatorSchema = Type.Unsafe<AuthenticatorView>({
  type: 'object',
  required: ['mechanism'],
  additionalProperties: false,
  properties: {
    id: { type: 'string', description: '`mechanism:backend`. Need not be sent.' },
    mechanism: { type: 'string', maxLength: 64, description: '`password_based` or `scram`.' },
    backend: {
      type: 'string',
      maxLength: 64,
      default: 'built_in_database',
      description: 'The only one that is run here; others are refused.',
    },
    enabled: {
      type: 'boolean',
      default: true,
      description: 'One that is not is passed over, and keeps its users.',
    },
    matchBy: {
      type: 'string',
      enum: [...AUTHENTICATOR_MATCHES],
      default: 'username',
      description:
        'What of a CONNECT is compared with the users: `either` has users of a username and users of a client id, and whoever proves ' +
        'one of them is let in. Cannot be changed while there are some, unless to `either`.',
    },
    hash: hashSchema,
    scram: {
      type: 'string',
      enum: [...SCRAM_MECHANISMS],
      description: 'Of `scram`: what new users get keys for. SCRAM-SHA-256 when left out.',
    },
  },
});

const chainMembers = {
  authenticators: Type.Array(authenticatorSchema, {
    maxItems: AUTHENTICATORS_MAX,
    description:
      'In the order in which they are asked; at most one of each id. The first that knows the client decides. An authenticator that is ' +
      'left out of a document is removed, and its users with it.',
  }),
  anonymous: defaulted(
    Type.Boolean({
      default: false,
      description:
        'Whether whoever comes is let in while no authenticator is enabled: without proof and without a user name, and only to what ' +
        'a rule allows.',
    }),
  ),
  admitsUnknown: Type.Optional(
    Type.Boolean({
      description:
        'Whether also whoever no enabled authenticator knows is let in like that; a wrong password is refused all the same.',
    }),
  ),
};

export const replaceBody = Type.Object(chainMembers, closed);

/** What a document says of those who have proven nothing, as it is stored. */
export const unprovenOf = ({
  anonymous,
  admitsUnknown,
}: Omit<Static<typeof replaceBody>, 'authenticators'>): Omit<
  AuthChainFields,
  'authenticators'
> => ({
  anonymous,
  ...(admitsUnknown === true && { admitsUnknown }),
});

const documentMembers = {
  scope: Type.String({
    description:
      '`global`, `listener:<type>:<name>`, `gateway:<name>` or `gateway:<name>:<type>:<listener>`.',
  }),
  ...chainMembers,
  removing: Type.Array(Type.String(), {
    description:
      'Authenticators that are gone and some of whose users are still being removed; those open nothing any more.',
  }),
  updatedAt: Type.Optional(instantSchema('When the chain was last changed.')),
  updatedRevision: Type.Integer({
    description: 'The entity tag, as a number; 0 of a scope that says nothing.',
  }),
};

export const chainSchema = Type.Object(documentMembers);
export const writtenChainSchema = Type.Object({ ...documentMembers, revision: Type.Integer() });
export const chainListSchema = Type.Object({
  items: Type.Array(chainSchema),
  total: Type.Integer(),
});
export const scopeParams = Type.Object({ scope: Type.String() });
export const emptyQuery = Type.Object({}, closed);
export const writeQuerySchema = Type.Object(writeQuery, closed);

/** The chain of a scope; one that says nothing has no authenticators. */
export function chainView(scope: string, chain: AuthChain | undefined): Record<string, unknown> {
  return {
    scope,
    authenticators: (chain?.authenticators ?? []).map(authenticatorView),
    anonymous: chain?.anonymous ?? false,
    ...(chain?.admitsUnknown === true && { admitsUnknown: true }),
    removing: chain?.removing ?? [],
    ...(chain === undefined ? {} : { updatedAt: instant(chain.updatedAt) }),
    updatedRevision: chain?.updatedRevision ?? 0,
  };
}

export function authenticatorView(one: Authenticator): Record<string, unknown> {
  return { id: authenticatorId(one), ...one };
}

/** @throws RefusedError `auth_chain_invalid` for members that contradict each other */
export function authenticatorsOf(views: readonly AuthenticatorView[]): readonly Authenticator[] {
  return views.map((view, index) => storedAuthenticator(view, `/authenticators/${index}`));
}

const refuse = (pointer: string, detail: string): Error =>
  refused('auth_chain_invalid', { problems: [{ pointer, detail }] });

function storedAuthenticator(view: AuthenticatorView, pointer: string): Authenticator {
  const { id, mechanism, backend, enabled, matchBy, hash, scram } = view;
  if (id !== undefined && id !== `${mechanism}:${backend}`) {
    throw refuse(`${pointer}/id`, `must be ${mechanism}:${backend}`);
  }
  if (hash !== undefined && mechanism === 'scram') {
    throw refuse(`${pointer}/hash`, 'is of password_based only');
  }
  if (scram !== undefined && mechanism === 'password_based') {
    throw refuse(`${pointer}/scram`, 'is of scram only');
  }
  const proof =
    mechanism === 'scram'
      ? { scram: scram ?? 'SCRAM-SHA-256' }
      : { hash: hash === undefined ? DEFAULT_HASH : storedHash(hash, `${pointer}/hash`) };
  return { mechanism, backend, enabled, matchBy, ...proof } as Authenticator; // The domain checks the names.
}

const membersOf: Readonly<Record<HashAlgorithm['name'], readonly string[]>> = {
  argon2id: [],
  plain: ['saltPosition'],
  md5: ['saltPosition'],
  sha1: ['saltPosition'],
  sha256: ['saltPosition'],
  sha512: ['saltPosition'],
  bcrypt: ['saltRounds'],
  pbkdf2: ['digest', 'iterations', 'keyBytes'],
};

function storedHash(view: HashView, pointer: string): HashAlgorithm {
  const { name, ...given } = view;
  const foreign = Object.keys(given).find((key) => !membersOf[name].includes(key));
  if (foreign !== undefined) throw refuse(`${pointer}/${foreign}`, `means nothing with ${name}`);
  switch (name) {
    case 'argon2id':
      return { name };
    case 'bcrypt':
      return { name, saltRounds: given.saltRounds ?? BCRYPT_ROUNDS_MAX };
    case 'pbkdf2': {
      const { digest, iterations, keyBytes } = given;
      if (digest === undefined) throw refuse(`${pointer}/digest`, 'is needed by pbkdf2');
      if (iterations === undefined) throw refuse(`${pointer}/iterations`, 'is needed by pbkdf2');
      return { name, digest, iterations, ...(keyBytes === undefined ? {} : { keyBytes }) };
    }
    default:
      return { name, saltPosition: given.saltPosition ?? 'prefix' };
  }
}
