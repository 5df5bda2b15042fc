import { type Ban, BAN_KINDS, BAN_REASON_BYTES_MAX } from '@sallyport/domain';
import { Type } from 'typebox';
import { instant, instantSchema, pageOf, pageQuery } from '../../http/list-query.ts';
import { writeQuery } from '../../http/write.ts';

const closed = { additionalProperties: false };

const kind = Type.Enum(BAN_KINDS);
const reason = Type.Optional(
  Type.String({ maxLength: BAN_REASON_BYTES_MAX, description: 'For people.' }),
);
const until = Type.Optional(
  instantSchema('When the ban ends by itself; left out, it stays until it is removed.'),
);

const bannedAt = Type.Optional(
  instantSchema(
    'When it was made, where that is not now: of a ban from elsewhere. It holds all the same.',
  ),
);

/** What a caller may set of a ban that is there. */
export const replaceBody = Type.Object({ reason, until, bannedAt }, closed);

export const createBody = Type.Object(
  {
    kind,
    value: Type.String({
      maxLength: 256,
      description:
        'A client id, a user name, an IP address, a network such as 192.0.2.0/24, or a regular expression that is searched in the name or the address, in linear time.',
    }),
    reason,
    until,
    bannedAt,
  },
  closed,
);

const members = {
  id: Type.String(),
  kind,
  value: Type.String({ description: 'Addresses and networks in their shortest form.' }),
  reason,
  by: Type.String({ description: 'Who banned: kind and name of the caller.' }),
  until,
  bannedAt,
  active: Type.Boolean({ description: 'False once it has ended; it is removed some time later.' }),
  createdAt: instantSchema('When it was made.'),
  updatedAt: instantSchema('When it was last changed.'),
  updatedRevision: Type.Integer({ description: 'The entity tag, as a number.' }),
};

export const banSchema = Type.Object(members);
export const writtenBanSchema = Type.Object({ ...members, revision: Type.Integer() });
export const banPageSchema = pageOf(banSchema, 'BanPage');

export const listQuery = Type.Object(
  {
    ...pageQuery(['value', 'until', 'createdAt', 'updatedAt']),
    kind: Type.Optional(kind),
  },
  closed,
);
export const emptyQuery = Type.Object({}, closed);
export const writeQuerySchema = Type.Object(writeQuery, closed);
export const idParams = Type.Object({ id: Type.String() });

/** The times that a body may hold, as they are stored. */
export const timesOf = ({
  until,
  bannedAt,
}: {
  readonly until?: string | undefined;
  readonly bannedAt?: string | undefined;
}): Pick<Ban, 'until' | 'bannedAt'> => ({
  ...(until === undefined ? {} : { until: Date.parse(until) }),
  ...(bannedAt === undefined ? {} : { bannedAt: Date.parse(bannedAt) }),
});

/** The same as they are shown. */
export const timeTexts = ({ until, bannedAt }: Pick<Ban, 'until' | 'bannedAt'>) => ({
  ...(until === undefined ? {} : { until: instant(until) }),
  ...(bannedAt === undefined ? {} : { bannedAt: instant(bannedAt) }),
});

export const banView = ({ createdRevision: _, createdAt, updatedAt, ...ban }: Ban, at: number) => ({
  ...ban,
  ...timeTexts(ban),
  active: ban.until === undefined || ban.until > at,
  createdAt: instant(createdAt),
  updatedAt: instant(updatedAt),
});
