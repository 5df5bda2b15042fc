import { Type } from 'typebox';
import { YAML_MEDIA_TYPES } from '../../config-file/file-body.ts';
import { configFileSchema } from '../../config-file/sections.ts';
import { PLAN_WARNINGS_MAX } from '../../config-file/lint-plan.ts';
import { defaulted } from '../../http/list-query.ts';
import { writeQuery } from '../../http/write.ts';
import { findingMembers } from '../lint/schema.ts';

const closed = { additionalProperties: false };

const prune = defaulted(
  Type.Boolean({
    default: false,
    description:
      'Deletes what a section of the file does not name. Absent sections are left alone.',
  }),
);

export const diffQuery = Type.Object({ prune }, closed);

export const applyQuery = Type.Object(
  {
    ...writeQuery,
    prune,
    dryRun: defaulted(Type.Boolean({ default: false, description: 'Only tells the changes.' })),
    atomic: defaulted(
      Type.Boolean({
        default: false,
        description:
          'Refuses what does not fit into one commit, instead of making commits one after the other.',
      }),
    ),
    expectedRevision: Type.Optional(
      Type.Integer({
        minimum: 0,
        description: 'Refused when an object that would be changed has changed after it.',
      }),
    ),
  },
  closed,
);

export const exportQuery = Type.Object(
  { format: defaulted(Type.Enum(['yaml', 'json'], { default: 'yaml' })) },
  closed,
);

export const emptyQuery = Type.Object({}, closed);

export const fileSchema = configFileSchema();

/** The file in every form that is taken. */
export const fileBody = {
  content: Object.fromEntries(
    ['application/json', ...YAML_MEDIA_TYPES].map((type) => [type, { schema: fileSchema }]),
  ),
};

const any = Type.Unsafe<unknown>({});

const changeSchema = Type.Object({
  section: Type.String(),
  action: Type.Enum(['create', 'update', 'delete']),
  key: Type.String(),
  pointer: Type.String({ description: 'JSON pointer into the file.' }),
  fields: Type.Optional(
    Type.Array(
      Type.Object({
        pointer: Type.String(),
        before: Type.Optional(any),
        after: Type.Optional(any),
      }),
    ),
  ),
  before: Type.Optional(any),
  after: Type.Optional(any),
});

const planMembers = {
  create: Type.Integer(),
  update: Type.Integer(),
  delete: Type.Integer(),
  changes: Type.Array(changeSchema, { description: 'In the order in which they are made.' }),
  revision: Type.Integer({ description: 'At which it was compared, or takes effect.' }),
};

const warningMembers = {
  warnings: Type.Array(
    Type.Object({
      section: Type.String(),
      key: Type.String(),
      pointer: Type.String({ description: 'JSON pointer into the file.' }),
      ...findingMembers,
    }),
    {
      description: `What lint says of the rules that would be added, at most ${PLAN_WARNINGS_MAX}; they are taken all the same.`,
    },
  ),
  warningsComplete: Type.Boolean({
    description: 'Whether all rules that would be added were looked at.',
  }),
};

export const planSchema = Type.Object({ ...planMembers, ...warningMembers });
export const appliedSchema = Type.Object({
  ...planMembers,
  warnings: Type.Optional(warningMembers.warnings),
  warningsComplete: Type.Optional(warningMembers.warningsComplete),
  commits: Type.Integer({ description: 'How many commits the changes were; 0 for a dry run.' }),
});
