import type { SettingValues } from '@sallyport/domain';
import { patchBody } from '../routes/settings/schema.ts';
import { type ConfigSection, fieldChanges } from './section.ts';

/** Settings that the file does not name stay as they are. */
export const settingsSection: ConfigSection = {
  name: 'settings',
  schema: patchBody,

  async compare(value, { context }) {
    const changes = value as Partial<SettingValues>; // `patchBody`
    const current = context.ports.model.reads.settings();
    const { noMatch, denyAction, updatedRevision } = current;
    const fields = fieldChanges({ noMatch, denyAction }, { ...changes });
    if (fields.length === 0) return [];
    const rehearsal = () =>
      ({ type: 'ChangeSettings', data: { changes, ifRevision: updatedRevision } }) as const;
    return [
      {
        section: 'settings',
        action: 'update',
        key: 'settings',
        pointer: '/settings',
        fields,
        updatedRevision,
        command: async () => rehearsal(),
        rehearsal,
      },
    ];
  },

  *export(snapshot) {
    const { noMatch, denyAction } = snapshot.settings();
    yield { noMatch, denyAction };
  },
};
