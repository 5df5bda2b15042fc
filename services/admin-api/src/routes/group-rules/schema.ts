import {
  type Credential,
  CONNECTION_GROUPS_MAX,
  GROUP_MATCHES,
  GROUP_RULES_MAX,
  type GroupRule,
  type GroupRules,
} from '@sallyport/domain';
import { Type } from 'typebox';
import { instant, instantSchema } from '../../http/list-query.ts';
import { writeQuery } from '../../http/write.ts';

const closed = { additionalProperties: false };

const ruleMembers = {
  matchBy: Type.Enum([...GROUP_MATCHES]),
  value: Type.String({
    maxLength: 512,
    description:
      'Of `certificate_fingerprint`: SHA-256 of the certificate in hex or base64, answered as `SHA256:AA:BB…`. Of `client_id`: the ' +
      'client id, in which `*` stands for any run of characters and `\\*` for a star. Of `credential`: its id.',
  }),
  groups: Type.Array(Type.String(), {
    maxItems: CONNECTION_GROUPS_MAX,
    description: 'Ids of groups. Empty only of a rule whose groups were removed.',
  }),
};

const inert = Type.Boolean({
  description:
    'Whether the rule gives nothing: its groups or its credential are gone. Ignored in a request.',
});

export const replaceBody = Type.Object(
  {
    rules: Type.Array(
      Type.Object(
        {
          id: Type.Optional(
            Type.String({ minLength: 1, maxLength: 64, description: 'Made up when left out.' }),
          ),
          ...ruleMembers,
          inert: Type.Optional(inert),
        },
        closed,
      ),
      {
        maxItems: GROUP_RULES_MAX,
        description:
          'The whole document. Every rule that matches a connection counts; their order means nothing.',
      },
    ),
  },
  closed,
);

const documentMembers = {
  rules: Type.Array(Type.Object({ id: Type.String(), ...ruleMembers, inert })),
  updatedAt: Type.Optional(instantSchema('When the rules were last changed.')),
  updatedRevision: Type.Integer({
    description: 'The entity tag, as a number; 0 before the first.',
  }),
};

export const documentSchema = Type.Object(documentMembers);
export const writtenDocumentSchema = Type.Object({ ...documentMembers, revision: Type.Integer() });

export const emptyQuery = Type.Object({}, closed);
export const writeQuerySchema = Type.Object(writeQuery, closed);

export function documentView(
  { rules, updatedAt, updatedRevision }: GroupRules,
  credential: (id: string) => Credential | undefined,
): Record<string, unknown> {
  const isInert = ({ matchBy, value, groups }: GroupRule): boolean =>
    groups.length === 0 || (matchBy === 'credential' && credential(value) === undefined);
  return {
    rules: rules.map((rule) => ({ ...rule, inert: isInert(rule) })),
    ...(updatedRevision === 0 ? {} : { updatedAt: instant(updatedAt) }),
    updatedRevision,
  };
}
