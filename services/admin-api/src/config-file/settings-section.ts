import type { SettingValues } from '@sallyport/domain';
import { patchBody, settingValues } from '../routes/settings/schema.ts';
import { type ConfigSection, fieldChanges } from './section.ts';

/** Settings that the file does not name stay as they are. */
export const settingsSection: ConfigSection = {
  name: 'settings',
  schema: patchBody,

  async compare(value, { context }) {
    const changes = value as Partial<SettingValues>; // `patchBody`
    const current = context.ports.model.reads.settings();
    const { updatedRevision } = current;
    const named = Object.entries(current).filter(([name]) => name in changes);
    const fields = fieldChanges(Object.fromEntries(named), { ...changes });
    if (fields.length === 0) return [];
    return [
      {
        section: 'settings',
        action: 'update',
        key: 'settings',
        pointer: '/settings',
        fields,
        updatedRevision,
        rehearsal: () => ({
          type: 'ChangeSettings',
          data: { changes, ifRevision: updatedRevision },
        }),
      },
    ];
  },

  *export(snapshot) {
    yield settingValues(snapshot.settings());
  },
};
