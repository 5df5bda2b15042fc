import {
  GRANT_METHODS,
  IMPORTED_ALGORITHMS,
  MAPPING_ENTRIES_MAX,
  MAPPING_PATTERNS_MAX,
  PATTERN_BYTES_MAX,
  type Validity,
} from '@sallyport/domain';
import {
  BYTE_ENCODINGS,
  type PasswordHash,
  PBKDF2_DIGESTS,
  PBKDF2_WORK_MAX,
  SALT_POSITIONS,
} from '@sallyport/secrets';
import { Type } from 'typebox';
import { defaulted, instant, instantSchema } from '../../http/list-query.ts';
import { applySchema } from './apply-schema.ts';
import type { ValidityView } from './stored-body.ts';

const closed = { additionalProperties: false };

export const matchSchema = Type.Object(
  {
    username: Type.Optional(Type.String()),
    clientId: Type.Optional(Type.String()),
    scramUsername: Type.Optional(
      Type.String({
        description:
          'The user name of a SCRAM exchange and of nothing else, in place of both: beside it another credential may have the same `username`.',
      }),
    ),
    fingerprint: Type.Optional(
      Type.String({
        maxLength: 128,
        description:
          'SHA-256 of the certificate: hexadecimal digits with or without colons, or base64, behind `SHA256:` or not.',
      }),
    ),
    commonName: Type.Optional(Type.String({ description: 'Of the certificate of the client.' })),
    parentCommonName: Type.Optional(
      Type.String({
        description:
          'Of the certificate or of one that vouches for it; in each store the nearest to the client decides.',
      }),
    ),
    parentCommonNamePattern: Type.Optional(
      Type.String({
        maxLength: PATTERN_BYTES_MAX,
        description:
          'The same by a regular expression that is searched in the name, in linear time. At each certificate patterns are tried ' +
          'first, in the order of the names of their credentials, and then the exact name.',
      }),
    ),
  },
  {
    ...closed,
    description:
      'What a CONNECT must carry. Kind `password`: `username`, `clientId` or both, or `scramUsername`. Kind `certificate`: one of the others.',
  },
);

export const grantsSchema = Type.Array(
  Type.Object({ method: Type.Enum([...GRANT_METHODS]), required: Type.Boolean() }, closed),
  {
    maxItems: GRANT_METHODS.length,
    description:
      'Ways in: a connection must prove one of them, and every one that is required. With `certificate` the Common Name must equal ' +
      'the user name of the match. `token`: one of the tokens of the credential, in the place of a password, while the setting ' +
      '`tokensAsPasswords` is on. Empty: as the kind and `passwordRequired` say.',
  },
);

export const clientIdsSchema = Type.Object(
  {
    exact: Type.Optional(Type.String({ description: 'The only one.' })),
    pattern: Type.Optional(
      Type.String({
        maxLength: PATTERN_BYTES_MAX,
        description: 'A regular expression that matches the whole client id, in linear time.',
      }),
    ),
  },
  {
    ...closed,
    description:
      'Client ids that the credential lets in, one of the two; without: all. Others are refused, and no other credential is asked instead.',
  },
);

export const validitySchema = Type.Object(
  {
    from: Type.Optional(instantSchema('From when on the credential opens anything.')),
    until: Type.Optional(instantSchema('From when on it does not; live sessions end then.')),
  },
  { ...closed, description: 'Without bounds: always.' },
);

const mappedPatterns = Type.Array(Type.String({ maxLength: PATTERN_BYTES_MAX }), {
  maxItems: MAPPING_PATTERNS_MAX,
});

export const mappingSchema = Type.Object(
  {
    kind: Type.Literal('mapping'),
    apply: applySchema,
    keywordPattern: Type.Optional(
      Type.String({
        maxLength: PATTERN_BYTES_MAX,
        description:
          'Searched in the Common Name of the certificate; its first group is the key of the entry that applies. Without it the key ' +
          'of every entry is a regular expression that is searched, and all that are found apply.',
      }),
    ),
    entries: Type.Array(
      Type.Object(
        {
          key: Type.String({ minLength: 1, maxLength: PATTERN_BYTES_MAX }),
          publish: mappedPatterns,
          subscribe: mappedPatterns,
        },
        closed,
      ),
      { maxItems: MAPPING_ENTRIES_MAX },
    ),
  },
  {
    ...closed,
    description:
      'Topics by what the Common Name of the certificate says; whoever matches no entry is not let in. `${cn}` in a pattern is the ' +
      'Common Name and `${clientId}` the client id; one with `+`, `#` or `/` is not let in then.',
  },
);

export const passwordHashSchema = Type.Unsafe<PasswordHash>({
  type: 'object',
  required: ['algorithm', 'hash'],
  additionalProperties: false,
  description:
    'A password as somebody else has kept it. It is checked in its own form, and kept in ours once it has opened a session.',
  properties: {
    algorithm: { type: 'string', enum: [...IMPORTED_ALGORITHMS] },
    hash: {
      type: 'string',
      minLength: 1,
      maxLength: 4096,
      description:
        '`plain`: the password. `bcrypt`, `mosquitto` ($7$, $6$): the whole text. Else the digest or the derived key.',
    },
    hashEncoding: { type: 'string', enum: ['hex', 'base64'], description: 'hex when absent.' },
    salt: { type: 'string', maxLength: 1024, description: 'Empty when absent.' },
    saltEncoding: {
      type: 'string',
      enum: [...BYTE_ENCODINGS],
      description: 'text when absent: its UTF-8 is the salt, also where it is hexadecimal digits.',
    },
    saltPosition: { type: 'string', enum: [...SALT_POSITIONS], description: 'prefix when absent.' },
    digest: { type: 'string', enum: [...PBKDF2_DIGESTS], description: 'Of pbkdf2.' },
    iterations: {
      type: 'integer',
      minimum: 1,
      maximum: PBKDF2_WORK_MAX,
      description: 'Of pbkdf2.',
    },
  },
});

export const scramOnlySchema = defaulted(
  Type.Boolean({
    default: false,
    description: 'The secret opens nothing but SCRAM, and is not kept in any other form.',
  }),
);

export function validityView({ from, until }: Validity): ValidityView {
  return {
    ...(from !== undefined && { from: instant(from) }),
    ...(until !== undefined && { until: instant(until) }),
  };
}
