import { NAME_BYTES_MAX } from '@sallyport/domain';
import { TOPIC_BYTES_MAX } from '@sallyport/topic';
import { Type } from 'typebox';
import { defaulted } from '../../http/list-query.ts';

const name = Type.String({ minLength: 1, maxLength: NAME_BYTES_MAX });

export const explainBody = Type.Object(
  {
    credentialId: Type.String({ minLength: 1, maxLength: 64 }),
    clientId: name,
    username: Type.Optional(name),
    listener: defaulted(Type.String({ minLength: 1, maxLength: 64, default: 'tcp:default' })),
    action: Type.Enum(['publish', 'subscribe', 'receive']),
    topic: Type.String({
      maxLength: TOPIC_BYTES_MAX,
      description: 'A topic name, or a topic filter for `subscribe`.',
    }),
  },
  { additionalProperties: false },
);

export const explanationSchema = Type.Object({
  allowed: Type.Boolean(),
  ruleId: Type.String({ description: 'The rule that decided.' }),
  revision: Type.Integer(),
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
