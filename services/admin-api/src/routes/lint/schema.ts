import { NAME_BYTES_MAX } from '@sallyport/domain';
import { LINT_NAMES_MAX, LINT_ROWS_MAX, type LintCode } from '@sallyport/rules';
import { type Static, Type } from 'typebox';
import { defaulted } from '../../http/list-query.ts';

/** Objects of one page: each may have a thousand rules, which are compared with each other. */
export const LINT_OBJECTS_MAX = 20;

/** What has rules of its own that others share, in the order of the walk. */
export const SHARED_TYPES = ['acl', 'group', 'role', 'dynsecRole'] as const;

const CODES: Readonly<Record<LintCode, string>> = {
  duplicate: 'an earlier rule is the same',
  shadowed: 'earlier rules decide all that it is about',
  redundant: 'it decides, and later rules would decide the same',
  in_part:
    'earlier rules deny all that it allows, and yet it counts: for whether a wider subscription is granted in part',
  needless:
    'it denies nothing that its list allows, or another one that it is judged beside, and that allows nothing by itself',
  overruled: 'another list allows or denies all that it allows, so that it decides nothing',
  guarded:
    'it is about topics that start with `$`, which nobody publishes to and no such rule opens',
  unfillable:
    'a placeholder has no value for anybody whom it is for: an allow rule never matches, a deny rule takes any level',
  no_topic: 'a literal with wildcards, which no topic is equal to',
};

const name = Type.String({ minLength: 1, maxLength: NAME_BYTES_MAX });

export const lintQuery = Type.Object(
  {
    type: Type.Optional(
      Type.Enum([...SHARED_TYPES, 'credential'], {
        description: 'Required with `id`. Without, only objects of this type; no credentials then.',
      }),
    ),
    id: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: NAME_BYTES_MAX + 16,
        description:
          'One object. Of an ACL table `everyone`, `client:<client id>` or `username:<username>`. Without it the tables, groups and roles of both kinds are walked.',
      }),
    ),
    clientId: Type.Optional({
      ...name,
      description:
        'Of a credential: looks at all that a connection with this client id would be judged by, each authority by itself and beside the others.',
    }),
    username: Type.Optional({ ...name, description: 'Beside `clientId`.' }),
    listener: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 64,
        description: 'Beside `clientId`; `tcp:default` when left out.',
      }),
    ),
    page: defaulted(
      Type.Integer({ minimum: 0, maximum: 1_000_000, default: 0, description: 'Zero-based.' }),
    ),
    pageSize: defaulted(
      Type.Integer({
        minimum: 1,
        maximum: LINT_OBJECTS_MAX,
        default: LINT_OBJECTS_MAX,
        description: 'Objects that are looked at.',
      }),
    ),
  },
  { additionalProperties: false },
);

export type LintQuery = Static<typeof lintQuery>;

const action = Type.Enum(['publish', 'subscribe', 'receive', 'unsubscribe']);

const codeSchema = Type.Enum(Object.keys(CODES), {
  description: Object.entries(CODES)
    .map(([code, meaning]) => `\`${code}\`: ${meaning}`)
    .join('; '),
});

export const findingMembers = {
  code: codeSchema,
  ruleId: Type.String({ description: 'As decisions name it.' }),
  effect: Type.Enum(['allow', 'deny']),
  topic: Type.String({ description: 'Its filter, text or pattern; empty for everything.' }),
  actions: Type.Array(action, { description: 'What of the rule the finding is about.' }),
  removable: Type.Boolean({
    description:
      'No decision changes without the rule, nor without all rules together of which this is said.',
  }),
  by: Type.Array(Type.String(), {
    description: `The rules that are in its way or say the same, by their ids; the first ${LINT_NAMES_MAX}.`,
  }),
};

const objectSchema = Type.Object({
  type: Type.Enum([...SHARED_TYPES, 'credential']),
  id: Type.String(),
  name: Type.Optional(Type.String()),
  updatedRevision: Type.Integer(),
  rules: Type.Integer(),
  examined: Type.Integer({
    description: `Less than \`rules\` past ${LINT_ROWS_MAX} of one list: later ones are not looked at.`,
  }),
  findings: Type.Array(
    Type.Object({
      ...findingMembers,
      position: Type.Integer({
        description:
          'Index in the list of the object; of a credential in that of the authority that it is judged by.',
      }),
    }),
    { description: 'At most one for each rule.' },
  ),
});

export const lintSchema = Type.Object({
  items: Type.Array(objectSchema, {
    description: 'Objects with findings, and one that was asked for.',
  }),
  total: Type.Integer({ description: 'Objects that can be looked at, on all pages.' }),
  page: Type.Integer(),
  pageSize: Type.Integer(),
  revision: Type.Integer(),
});
