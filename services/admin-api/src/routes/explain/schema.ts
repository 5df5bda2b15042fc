import { NAME_BYTES_MAX } from '@sallyport/domain';
import { TOPIC_BYTES_MAX } from '@sallyport/topic';
import { type Static, Type } from 'typebox';
import { defaulted, instantSchema } from '../../http/list-query.ts';

const name = Type.String({ minLength: 1, maxLength: NAME_BYTES_MAX });

export const explainBody = Type.Object(
  {
    credentialId: Type.String({ minLength: 1, maxLength: 64 }),
    clientId: name,
    username: Type.Optional(name),
    listener: defaulted(Type.String({ minLength: 1, maxLength: 64, default: 'tcp:default' })),
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
    action: Type.Enum(['publish', 'subscribe', 'receive']),
    topic: Type.String({
      maxLength: TOPIC_BYTES_MAX,
      description: 'A topic name, or a topic filter for `subscribe`.',
    }),
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

export const explanationSchema = Type.Object({
  allowed: Type.Boolean(),
  ruleId: Type.String({ description: 'The rule that decided.' }),
  revision: Type.Integer({ description: 'The state that the answer was made from.' }),
  checkDeliveries: Type.Optional(
    Type.Boolean({
      description:
        'Only for `subscribe`: whether a rule cuts a hole that each delivery is checked for.',
    }),
  ),
  origin: Type.Optional(
    Type.Object(
      {
        type: Type.Enum(['built_in', 'credential', 'role', 'group', 'acl', 'settings']),
        id: Type.Optional(Type.String()),
        name: Type.Optional(Type.String()),
        row: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
        position: Type.Optional(Type.Integer({ description: 'Index of the row in its list.' })),
      },
      { description: 'The object that the deciding rule belongs to.' },
    ),
  ),
  event: Type.Optional(
    Type.Object(
      {
        revision: Type.Integer(),
        commitId: Type.String(),
        at: instantSchema('When the command was taken.'),
        actor: Type.Object({ kind: Type.String(), id: Type.String() }),
        reason: Type.Optional(Type.String()),
      },
      { description: 'What made it so; absent for what is built in or was never set.' },
    ),
  ),
  credential: Type.Object(
    {
      id: Type.String(),
      name: Type.String(),
      store: Type.String(),
      enabled: Type.Boolean(),
      superuser: Type.Boolean(),
      passwordRequired: Type.Boolean(),
      secretsLive: Type.Integer({ description: 'Secrets that open it now.' }),
      updatedRevision: Type.Integer(),
    },
    { description: 'The credential at that revision.' },
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
