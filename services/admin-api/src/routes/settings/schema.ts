import type { Settings } from '@sallyport/domain';
import { Type } from 'typebox';
import { writeQuery } from '../../http/write.ts';

const closed = { additionalProperties: false };

const noMatch = Type.Enum(['allow', 'deny'], {
  description: 'The verdict when no rule and no credential says anything.',
});
const denyAction = Type.Enum(['ignore', 'disconnect'], {
  description: 'What an MQTT 3 client meets when it publishes without the right to.',
});

export const patchBody = Type.Object(
  { noMatch: Type.Optional(noMatch), denyAction: Type.Optional(denyAction) },
  { ...closed, minProperties: 1 },
);

const members = { noMatch, denyAction, updatedRevision: Type.Integer() };
export const settingsSchema = Type.Object(members);
export const writtenSettingsSchema = Type.Object({ ...members, revision: Type.Integer() });

export const emptyQuery = Type.Object({}, closed);
export const writeQuerySchema = Type.Object(writeQuery, closed);

export const settingsView = ({ noMatch, denyAction, updatedRevision }: Settings) => ({
  noMatch,
  denyAction,
  updatedRevision,
});
