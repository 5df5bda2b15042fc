import { utf8Bytes } from '@sallyport/topic';
import { accept, type Decided, type EventContext, reject, type Revision } from './commit.ts';
import { Problems } from './text.ts';

/** Ways into the store `tbmq`: by a password or none, by a certificate, by SCRAM. */
export const TBMQ_PROVIDERS = ['password', 'certificate', 'scram'] as const;
export type TbmqProvider = (typeof TBMQ_PROVIDERS)[number];

/** What of a CONNECT finds its credentials for passwords: both, together and each by itself, or just one. */
export const TBMQ_STRATEGIES = ['client_id_and_username', 'client_id', 'username'] as const;
export type TbmqStrategy = (typeof TBMQ_STRATEGIES)[number];
import { DYNSEC_DEFAULTS, type DynsecDefaults } from './dynsec/defaults.ts';

/** System-wide behaviour of access decisions. */
export interface SettingValues extends DynsecDefaults {
  /** The verdict when no rule and no credential says anything. */
  readonly noMatch: 'allow' | 'deny';
  /**
   * What an MQTT 3.1 or 3.1.1 client meets when it publishes without the right to: acknowledged and dropped, or closed. With
   * `disconnect_always` so does a client of MQTT 5, and whoever subscribes without the right to.
   */
  readonly denyAction: DenyAction;
  /**
   * How the ACL tables judge a SUBSCRIBE: by the first row that matches the text of its filter as if that were a topic, or by rows that
   * allow every topic that it matches. What a row denies is delivered in neither case.
   */
  readonly aclSubscribeMatch: 'text' | 'containment';
  /** Whether the ACL tables are looked at. While they are not, their rows are kept, and neither allow nor deny anything. */
  readonly aclEnabled: boolean;
  /** What a foreign API is to give back as it was given, and which means nothing here: texts by names of its own. Absent: none. */
  readonly foreignValues?: Readonly<Record<string, string>>;
  /**
   * The ways in that are open, in the order in which they are tried. None: nobody comes in by the store, and nobody is let in instead.
   * @source compat tbmq 5.1, and 11.6 where it differs
   */
  readonly tbmqProviders: readonly TbmqProvider[];
  readonly tbmqStrategy: TbmqStrategy;
  /** Whether tokens of credentials are taken as passwords in CONNECT, where `token` is one of the grants. */
  readonly tokensAsPasswords: boolean;
}

export const DENY_ACTIONS = ['ignore', 'disconnect', 'disconnect_always'] as const;
export type DenyAction = (typeof DENY_ACTIONS)[number];

/** Most values of foreign APIs, and the longest name and text of one, in bytes of UTF-8. */
export const FOREIGN_VALUES_MAX = 256;
export const FOREIGN_VALUE_NAME_BYTES_MAX = 256;
export const FOREIGN_VALUE_BYTES_MAX = 4096;
/** Bytes of all of them together: one event holds them. */
export const FOREIGN_VALUES_BYTES_MAX = 64 * 1024;

export const DEFAULT_SETTINGS: SettingValues = {
  noMatch: 'deny',
  denyAction: 'disconnect',
  // What the systems do whose rows these are, without what they leak; who has none of their rows never meets it.
  aclSubscribeMatch: 'text',
  aclEnabled: true,
  tbmqProviders: TBMQ_PROVIDERS,
  tbmqStrategy: 'client_id_and_username',
  tokensAsPasswords: false,
  ...DYNSEC_DEFAULTS,
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
  const problems = problemsOf(changes);
  if (problems.found.length > 0) return reject('setting_invalid', { problems: problems.found });
  const changed = Object.fromEntries(
    Object.entries(changes).filter(
      ([key, value]) => !isSame(current[key as keyof SettingValues], value), // Keys of a Partial of the same type.
    ),
  );
  if (Object.keys(changed).length === 0) return accept();
  return accept({ type: 'SettingsChanged', data: { changes: changed } });
}

type Value = SettingValues[keyof SettingValues];

/** Values that are no documents are compared as they are; of documents the order of the names says nothing, that of a list does. */
function isSame(one: Value, other: Value): boolean {
  if (typeof other !== 'object') return one === other;
  const before = new Map(typeof one === 'object' ? Object.entries<string>(one) : []);
  const after = Object.entries<string>(other);
  return after.length === before.size && after.every(([name, text]) => before.get(name) === text);
}

function problemsOf({ foreignValues }: Partial<SettingValues>): Problems {
  const problems = new Problems();
  if (foreignValues === undefined) return problems;
  problems.attributes('/foreignValues', foreignValues, FOREIGN_VALUES_MAX, {
    keyBytesMax: FOREIGN_VALUE_NAME_BYTES_MAX,
    textBytesMax: FOREIGN_VALUE_BYTES_MAX,
  });
  const bytes = Object.entries(foreignValues).reduce(
    (sum, [name, text]) => sum + utf8Bytes(name) + utf8Bytes(text),
    0,
  );
  if (bytes > FOREIGN_VALUES_BYTES_MAX) {
    problems.add('/foreignValues', `must be at most ${FOREIGN_VALUES_BYTES_MAX} bytes together`);
  }
  return problems;
}

/** Whether a change concerns what decides about somebody. */
export const decidesAnything = ({ data }: SettingEvent): boolean =>
  Object.keys(data.changes).join() !== 'foreignValues';
