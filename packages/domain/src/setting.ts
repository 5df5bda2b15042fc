import { accept, type Decided, type EventContext, reject, type Revision } from './commit.ts';

/** System-wide behaviour of access decisions. */
export interface SettingValues {
  /** The verdict when no rule and no credential says anything. */
  readonly noMatch: 'allow' | 'deny';
  /** What an MQTT 3.1 or 3.1.1 client meets when it publishes without the right to: acknowledged and dropped, or closed. */
  readonly denyAction: 'ignore' | 'disconnect';
  /**
   * How the ACL tables judge a SUBSCRIBE: by the first row that matches the text of its filter as if that were a topic, or by rows that
   * allow every topic that it matches. What a row denies is delivered in neither case.
   */
  readonly aclSubscribeMatch: 'text' | 'containment';
  /** Whether the ACL tables are looked at. While they are not, their rows are kept, and neither allow nor deny anything. */
  readonly aclEnabled: boolean;
}

export const DEFAULT_SETTINGS: SettingValues = {
  noMatch: 'deny',
  denyAction: 'disconnect',
  // What the systems do whose rows these are, without what they leak; who has none of their rows never meets it.
  aclSubscribeMatch: 'text',
  aclEnabled: true,
};

export interface Settings extends SettingValues {
  /** The revision that a value is what it is since; without one it was never set. */
  readonly valueRevisions: Readonly<Partial<Record<keyof SettingValues, Revision>>>;
  readonly updatedRevision: Revision;
}

export const UNSET_SETTINGS: Settings = {
  ...DEFAULT_SETTINGS,
  valueRevisions: {},
  updatedRevision: 0,
};

export interface SettingEvent {
  readonly type: 'SettingsChanged';
  readonly data: { readonly changes: Partial<SettingValues> };
}

export interface SettingReads {
  settings(): Settings;
}

export interface SettingCommand {
  readonly type: 'ChangeSettings';
  readonly data: { readonly changes: Partial<SettingValues>; readonly ifRevision?: Revision };
}

export function evolveSettings(
  state: Settings,
  event: SettingEvent,
  context: EventContext,
): Settings {
  const { changes } = event.data;
  const { revision } = context;
  const dated = Object.fromEntries(Object.keys(changes).map((name) => [name, revision]));
  return {
    ...state,
    ...changes,
    valueRevisions: { ...state.valueRevisions, ...dated },
    updatedRevision: revision,
  };
}

/** Never throws on input. */
export function decideSetting(reads: SettingReads, command: SettingCommand): Decided<SettingEvent> {
  const current = reads.settings();
  const { ifRevision, changes } = command.data;
  if (ifRevision !== undefined && ifRevision !== current.updatedRevision) {
    return reject('precondition_failed', {
      detail: `The settings were last changed by revision ${current.updatedRevision}.`,
    });
  }
  const changed = Object.fromEntries(
    Object.entries(changes).filter(([key, value]) => current[key as keyof SettingValues] !== value), // Keys of a Partial of the same type.
  );
  if (Object.keys(changed).length === 0) return accept();
  return accept({ type: 'SettingsChanged', data: { changes: changed } });
}
