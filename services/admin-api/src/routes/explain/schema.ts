import { NAME_BYTES_MAX, STORES } from '@sallyport/domain';
import { LOGIN_SKIPS } from '@sallyport/policy-client';
import { TOPIC_BYTES_MAX } from '@sallyport/topic';
import { type Static, Type } from 'typebox';
import { defaulted, instantSchema } from '../../http/list-query.ts';

/** Longest path of a request that is asked about, in characters. */
export const PATH_LENGTH_MAX = 8192;

const name = Type.String({ minLength: 1, maxLength: NAME_BYTES_MAX });

export const explainBody = Type.Object(
  {
    connection: Type.Optional(
      Type.Union(
        [
          name,
          Type.Object(
            {
              clientId: name,
              node: Type.Optional(
                Type.String({
                  minLength: 1,
                  maxLength: 64,
                  description: 'Only this node is asked.',
                }),
              ),
            },
            { additionalProperties: false },
          ),
        ],
        {
          description:
            'The client id of a live session: what it is, and what it may do, is then told by its node. Without it ' +
            '`clientId` is needed.',
        },
      ),
    ),
    credentialId: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 128,
        description:
          'Also `cert:` and 64 hex digits: a certificate that is bound to no credential. Without it `login` tells whom the facts ' +
          'would log in as, and the question is put for that one.',
      }),
    ),
    clientId: Type.Optional(name),
    username: Type.Optional(name),
    listener: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 64,
        description: '`tcp:default` when left out.',
      }),
    ),
    zone: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 64,
        description: 'Of the listener; `default` when left out.',
      }),
    ),
    open: Type.Optional(
      Type.Literal(true, {
        description: 'That the listener asks nobody who they are (`authentication` is `none`).',
      }),
    ),
    peer: Type.Optional(Type.String({ minLength: 1, maxLength: 128 })),
    certificate: Type.Optional(
      Type.Object(
        {
          fingerprint: Type.Optional(
            Type.String({ maxLength: 128, description: 'SHA-256, hexadecimal or base64.' }),
          ),
          commonName: Type.Optional(Type.String({ maxLength: NAME_BYTES_MAX })),
          chainCommonNames: Type.Optional(
            Type.Array(Type.String({ maxLength: NAME_BYTES_MAX }), {
              maxItems: 16,
              description: 'From the certificate itself to the root.',
            }),
          ),
        },
        { additionalProperties: false, description: 'What the client shows on a listener of TLS.' },
      ),
    ),
    stores: Type.Optional(
      Type.Array(Type.Enum(STORES), {
        uniqueItems: true,
        minItems: 1,
        description:
          'Without `credentialId`: those that the listener looks in, in order; all of them when left out, as a listener without a setting.',
      }),
    ),
    proof: Type.Optional(
      Type.Enum(['password', 'scram'], {
        description:
          'Without `credentialId`: how the client would prove itself; `password` when left out.',
      }),
    ),
    action: Type.Enum(['connect', 'publish', 'subscribe', 'receive', 'unsubscribe', 'http'], {
      description:
        '`connect` asks for `login` only. `http`: what `credentialId` may ask of an HTTP API, which its roles and permissions say; ' +
        'with `method` and `path`, and nothing else.',
    }),
    method: Type.Optional(
      Type.Enum(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'], { description: 'Of `http`.' }),
    ),
    path: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: PATH_LENGTH_MAX,
        description: 'Of `http`: that of the request as it is sent, without its query.',
      }),
    ),
    topic: Type.Optional(
      Type.String({
        maxLength: TOPIC_BYTES_MAX,
        description:
          'A topic name, for `publish` as the client names it, or for `subscribe` and `unsubscribe` a topic filter, perhaps of `$share`.',
      }),
    ),
    qos: defaulted(
      Type.Enum([0, 1, 2], {
        default: 0,
        description: 'Of the message, or asked for by the SUBSCRIBE.',
      }),
    ),
    retain: defaulted(Type.Boolean({ default: false, description: 'Of the message.' })),
  },
  { additionalProperties: false },
);

export type ExplainBody = Static<typeof explainBody>;

const chainMemberSchema = Type.Object(
  { scope: Type.String(), authenticator: Type.String() },
  { description: 'Of the store `emqx`: the authenticator that it belongs to.' },
);

const eventFields = {
  revision: Type.Integer(),
  commitId: Type.String(),
  at: instantSchema('When the command was taken.'),
  actor: Type.Object({ kind: Type.String(), id: Type.String() }),
  reason: Type.Optional(Type.String()),
};
const eventSchema = Type.Object(eventFields);

const originFields = {
  type: Type.Enum([
    'built_in',
    'credential',
    'role',
    'group',
    'group_rules',
    'dynsec_role',
    'dynsec_group',
    'acl',
    'settings',
    'auth_chain',
    'ban',
    'listener',
  ]),
  id: Type.Optional(Type.String()),
  name: Type.Optional(Type.String()),
  row: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
  position: Type.Optional(Type.Integer({ description: 'Index of the row in its list.' })),
  revision: Type.Optional(
    Type.Integer({ description: 'That the row, or else the object, is there since as it is.' }),
  ),
};

const viaText =
  'What gives the object to the connection: the assignment of a role, or of the rules that give a group the one that does it for longest. ' +
  'Of a group of dynamic security it has a `via` of its own: the assignment of the group.';

/** What said otherwise before. */
const pastAnswerSchema = (revision: string, description: string) =>
  Type.Object(
    {
      ruleId: Type.String(),
      origin: Type.Optional(
        Type.Object({
          ...originFields,
          via: Type.Optional(
            Type.Object(
              { ...originFields, via: Type.Optional(Type.Object(originFields)) },
              { description: viaText },
            ),
          ),
        }),
      ),
      revision: Type.Integer({ description: revision }),
    },
    { description },
  );

export const explanationSchema = Type.Object({
  allowed: Type.Boolean(),
  ruleId: Type.String({ description: 'The rule that decided.' }),
  revision: Type.Integer({
    description:
      'The state that the answer was made from; of a live session the one that its policy is of.',
  }),
  publishedTopic: Type.Optional(
    Type.String({ description: 'What was judged, where a prefix is put in front of the topic.' }),
  ),
  checkDeliveries: Type.Optional(
    Type.Boolean({
      description:
        'Only for `subscribe`: whether a rule cuts a hole that each delivery is checked for.',
    }),
  ),
  origin: Type.Optional(
    Type.Object(
      {
        ...originFields,
        via: Type.Optional(
          Type.Object(
            {
              ...originFields,
              event: Type.Optional(eventSchema),
              via: Type.Optional(
                Type.Object({ ...originFields, event: Type.Optional(eventSchema) }),
              ),
            },
            { description: viaText },
          ),
        ),
      },
      {
        description:
          'The object that the deciding rule belongs to, as it was at `revision`. Absent when that was changed since, and so much ' +
          'was written before that it is not looked for.',
      },
    ),
  ),
  admittedBy: Type.Optional(
    Type.Object(
      {
        type: Type.Literal('auth_chain'),
        scope: Type.String({ description: 'Also of a listener that has no chain of its own.' }),
        anonymous: Type.Boolean(),
        admitsUnknown: Type.Optional(Type.Boolean()),
        authenticators: Type.Array(Type.Object({ id: Type.String(), enabled: Type.Boolean() }), {
          description: 'None of them is enabled, or nobody would be let in unproven.',
        }),
        event: Type.Optional(Type.Object(eventFields, { description: 'What made the chain so.' })),
      },
      {
        description:
          'Only for a live session that no credential opens: the chain of authenticators that lets it in, as it was at `revision`.',
      },
    ),
  ),
  taken: Type.Optional(
    pastAnswerSchema(
      'It is gone since; that of `event`.',
      'Only of what no rule allows: the rule that allowed it before, as it was. Absent when there was none, or when it was so ' +
        'long ago that it is not looked for.',
    ),
  ),
  gained: Type.Optional(
    pastAnswerSchema(
      'It denies no more since; that of `event`.',
      'Only of what is allowed: what denied it last, as it was, since what allows it now is there. Absent when nothing did, or when ' +
        'it was so long ago that it is not looked for.',
    ),
  ),
  event: Type.Optional(
    Type.Object(eventFields, {
      description:
        'What made just that part so, took the right, or took what was in its way; absent for what is built in or was never set.',
    }),
  ),
  login: Type.Optional(
    Type.Object(
      {
        secret: Type.Enum(['not_checked', 'not_needed'], {
          description: 'Of whoever lets the client in: no secret is asked for here.',
        }),
        credentialId: Type.Optional(
          Type.String({
            description: 'Whom the client is taken for; `anonymous` without a proof.',
          }),
        ),
        store: Type.Optional(Type.String()),
        chain: Type.Optional(chainMemberSchema),
        username: Type.Optional(Type.String({ description: 'By which the rules know it.' })),
        reason: Type.Optional(Type.String({ description: 'Why it is refused.' })),
        banId: Type.Optional(Type.String({ description: 'Nothing else is looked at then.' })),
        steps: Type.Array(
          Type.Object({
            credentialId: Type.String(),
            name: Type.Optional(Type.String()),
            store: Type.String(),
            chain: Type.Optional(chainMemberSchema),
            secret: Type.Boolean({ description: 'Whether it asks for a secret.' }),
            refusal: Type.Optional(Type.String()),
            skipped: Type.Optional(
              Type.Enum(LOGIN_SKIPS, { description: 'Why it is not asked at all.' }),
            ),
          }),
          {
            description:
              'The credentials that the facts lead to, in the order in which they are asked.',
          },
        ),
      },
      {
        description:
          'Only for facts without a credential: whom they would log in as, supposed that each secret that is asked for is proven. ' +
          'Rates and flapping, which each node counts, are not looked at.',
      },
    ),
  ),
  connection: Type.Optional(
    Type.Object(
      {
        clientId: Type.String(),
        nodeId: Type.String(),
        connectedAt: instantSchema('When the CONNECT was accepted.'),
        listener: Type.String(),
        zone: Type.String(),
        username: Type.Optional(Type.String()),
        peer: Type.Optional(Type.String()),
        certificate: Type.Optional(
          Type.Object({
            fingerprint: Type.String(),
            commonName: Type.Optional(Type.String()),
            chainCommonNames: Type.Array(Type.String()),
          }),
        ),
        attributes: Type.Optional(Type.Record(Type.String(), Type.String())),
        groups: Type.Optional(Type.Array(Type.String())),
        secretId: Type.Optional(Type.String({ description: 'The secret that let it in.' })),
        applyMode: Type.Enum(['pinned', 'live', 'kick']),
        enforcedRevision: Type.Integer({
          description: 'What its node has enforced; no change in between was for this session.',
        }),
      },
      { description: 'Only for a live session: what it is judged by.' },
    ),
  ),
  credential: Type.Optional(
    Type.Object(
      {
        id: Type.String(),
        name: Type.String(),
        store: Type.String(),
        enabled: Type.Boolean(),
        superuser: Type.Boolean(),
        passwordRequired: Type.Boolean(),
        authenticator: Type.Optional(
          Type.Object(
            {
              scope: Type.String(),
              id: Type.String(),
              enabled: Type.Boolean({
                description:
                  'Whether it is in its chain, and enabled there; true before any chain is set.',
              }),
              inForce: Type.Boolean({ description: 'Whether its chain is that of the listener.' }),
            },
            { description: 'Of the store `emqx`: whom the credential is asked by now.' },
          ),
        ),
        secretsLive: Type.Integer({ description: 'Secrets that open it now.' }),
        updatedRevision: Type.Integer(),
      },
      { description: 'The credential at that revision; absent as `origin`.' },
    ),
  ),
  opinions: Type.Array(
    Type.Object({
      authority: Type.String(),
      verdict: Type.Enum(['allow', 'deny', 'abstain', 'partial'], {
        description: '`partial`: some of the topics that the filter matches are allowed.',
      }),
      ruleId: Type.String(),
    }),
  ),
});

export const emptyQuery = Type.Object({}, { additionalProperties: false });
