import { ACL_RULES_MAX, type AclTable, type AclTarget, PLACEHOLDERS } from '@sallyport/domain';
import { PATTERN_LENGTH_MAX, TOPIC_BYTES_MAX } from '@sallyport/topic';
import { type Static, Type } from 'typebox';
import { instant, instantSchema, pageOf, pageQuery } from '../../http/list-query.ts';
import { refused } from '../../http/problems.ts';
import { writeQuery } from '../../http/write.ts';

const closed = { additionalProperties: false };

const pattern = (what: string) =>
  Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: PATTERN_LENGTH_MAX,
      description: `A regular expression that is searched in the ${what}, in linear time: no look-around, no back-references.`,
    }),
  );

const ruleMembers = {
  effect: Type.Enum(['allow', 'deny']),
  action: Type.Enum(['publish', 'subscribe', 'unsubscribe', 'all'], {
    description:
      '`all` is publishing and subscribing. UNSUBSCRIBE is allowed unless a rule for it denies it.',
  }),
  topicFilter: Type.String({
    maxLength: TOPIC_BYTES_MAX,
    description: `An MQTT filter; may hold ${PLACEHOLDERS.join(', ')}, which stand for one level or a part of it.`,
  }),
  literal: Type.Optional(
    Type.Literal(true, {
      description:
        'The filter is a text that a topic, or the filter of a SUBSCRIBE, must be equal to; nothing in it is interpreted.',
    }),
  ),
  any: Type.Optional(
    Type.Literal(true, { description: 'Beside `#`: topics that start with `$` too.' }),
  ),
  qos: Type.Optional(
    Type.Array(Type.Enum([0, 1, 2]), {
      minItems: 1,
      maxItems: 3,
      description: 'Of the message, or asked for by the SUBSCRIBE; every QoS when left out.',
    }),
  ),
  retain: Type.Optional(
    Type.Boolean({ description: 'Of the message that is published; both when left out.' }),
  ),
  shared: Type.Optional(
    Type.Boolean({
      description:
        'Whether the filter is one of `$share/…`; both when left out. Not for publishing.',
    }),
  ),
  wildcard: Type.Optional(
    Type.Boolean({
      description: 'Whether the filter holds `+` or `#`; both when left out. Not for publishing.',
    }),
  ),
  clientIdPattern: pattern('client id'),
  usernamePattern: pattern('username; it fits nobody who has none'),
  source: Type.Optional(
    Type.String({
      maxLength: 64,
      description: 'An address, or `address/prefix`, that the connection comes from.',
    }),
  ),
  listener: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 64,
      description: 'Name of the listener that the connection came in by, such as `tcp:default`.',
    }),
  ),
  listenerPattern: pattern('name of the listener'),
  zone: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 64,
      description: 'Zone of the listener; `default` is that of listeners that name none.',
    }),
  ),
  zonePattern: pattern('zone of the listener'),
};

const ruleId = Type.String({ minLength: 1, maxLength: 64 });

/** For whom a rule of a file is. */
export const targetBody = Type.Object(
  {
    kind: Type.Enum(['client', 'username', 'everyone']),
    name: Type.Optional(Type.String({ description: 'Of the client id or username.' })),
  },
  closed,
);

/** One rule of a file: a row of an import, and of an export. */
export const aclRow = Type.Object(
  { target: targetBody, ruleId: Type.Optional(ruleId), ...ruleMembers },
  closed,
);

/** @throws RefusedError `invalid_request` for a name that is missing, or too much */
export function sentTarget({ kind, name }: Static<typeof targetBody>): AclTarget {
  if (kind === 'everyone') {
    if (name === undefined) return { kind };
    throw nameProblem('is not known for everyone');
  }
  if (name !== undefined) return { kind, name };
  throw nameProblem('is required');
}

const nameProblem = (detail: string): Error =>
  refused('invalid_request', { problems: [{ pointer: '/target/name', detail }] });

export const ruleBody = Type.Object(
  {
    ruleId: Type.Optional(ruleId),
    ...ruleMembers,
    position: Type.Optional(
      Type.Integer({ minimum: 0, description: 'Index to insert at; the end when left out.' }),
    ),
  },
  closed,
);

export const replaceBody = Type.Object(
  {
    rules: Type.Array(Type.Object({ ruleId: Type.Optional(ruleId), ...ruleMembers }, closed), {
      maxItems: ACL_RULES_MAX,
      description:
        'The whole list, in order; the first rule that matches decides. One without an id keeps that of a rule that said the same.',
    }),
    keepEmpty: Type.Optional(
      Type.Boolean({
        description:
          'Whether a list without rules is kept: then there is one that says nothing, until it is removed, or its last rule is.',
      }),
    ),
  },
  closed,
);

const ruleSchema = Type.Object({ ruleId: Type.String(), ...ruleMembers });

const tableMembers = {
  target: Type.Object({
    kind: Type.Enum(['client', 'username', 'everyone']),
    name: Type.Optional(Type.String()),
  }),
  rules: Type.Array(ruleSchema),
  updatedAt: instantSchema('When the list was last changed.'),
  updatedRevision: Type.Integer({ description: 'The entity tag, as a number.' }),
};

export const tableSchema = Type.Object(tableMembers);
export const writtenTableSchema = Type.Object({
  ...tableMembers,
  updatedAt: Type.Optional(tableMembers.updatedAt),
  revision: Type.Integer(),
});
export const writtenRuleSchema = Type.Object({
  ...ruleSchema.properties,
  position: Type.Integer(),
  revision: Type.Integer(),
});
export const tablePageSchema = pageOf(tableSchema, 'AclPage');

export const listQuery = Type.Object(
  {
    ...pageQuery(['target']),
    kind: Type.Optional(
      Type.Enum(['client', 'username', 'everyone'], {
        description: 'Only lists of this kind of target; `search` is of their names then.',
      }),
    ),
  },
  closed,
);
export const emptyQuery = Type.Object({}, closed);
export const writeQuerySchema = Type.Object(writeQuery, closed);

/** The two kinds of list that have a name, and the one that has none. */
export const TARGETS = [
  { address: '/acl/clients/:name', kind: 'client', noun: 'Client' },
  { address: '/acl/usernames/:name', kind: 'username', noun: 'Username' },
  { address: '/acl/everyone', kind: 'everyone', noun: 'Everyone' },
] as const;
export type TargetRoute = (typeof TARGETS)[number];

export const paramsOf = (
  { kind }: TargetRoute,
  more: Record<string, ReturnType<typeof Type.String>> = {},
) => Type.Object({ ...(kind === 'everyone' ? {} : { name: Type.String() }), ...more });

export function targetOf({ kind }: TargetRoute, params: unknown): AclTarget {
  if (kind === 'everyone') return { kind };
  const { name } = params as { readonly name: string }; // `paramsOf`
  return { kind, name };
}

export const tableView = ({ target, rules, updatedAt, updatedRevision }: AclTable) => ({
  target,
  rules,
  updatedAt: instant(updatedAt),
  updatedRevision,
});
