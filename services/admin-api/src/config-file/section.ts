import type { DecisionReads, PlannedCommand, Revision } from '@sallyport/domain';
import type { Snapshot } from '@sallyport/read-model';
import type { TSchema } from 'typebox';
import type { ApiContext } from '../http/context.ts';
import type { CommandInputs } from '../http/write.ts';
import type { Naming, References } from './references.ts';

/** One member that an update changes; secrets are named without what they are. */
export interface FieldChange {
  readonly pointer: string;
  readonly before?: unknown;
  readonly after?: unknown;
}

/** What is told of a secret that changes. */
export const HIDDEN = '(secret)';

/** One object that is not as the file says. */
export interface Change {
  readonly section: string;
  readonly action: 'create' | 'update' | 'delete';
  /** What tells the object from others of its section, for people. */
  readonly key: string;
  /** Where the file says so; the section for an object that it does not name. */
  readonly pointer: string;
  /** Of an update. */
  readonly fields?: readonly FieldChange[];
  /** The whole object, where there is none on the other side. */
  readonly before?: unknown;
  readonly after?: unknown;
  /** Revision that last changed the object; none when it is created. */
  readonly updatedRevision?: Revision;
  /** Keyed digest of what the change holds and does not tell. */
  readonly secretTag?: string;
  /** Of an update: what only one object may have, and this one has from then on, or no more. */
  readonly takes?: string;
  readonly frees?: string;
  /** Makes it so, if the object is still as it was compared. At once, so with secrets that open nothing where there is `command`. */
  readonly rehearsal: (inputs: CommandInputs) => PlannedCommand;
  /** The same with secrets that are hashed, which takes a while. */
  readonly command?: (inputs: CommandInputs) => Promise<PlannedCommand>;
}

export interface ComparedWith {
  readonly context: ApiContext;
  /** When, in milliseconds since 1970. */
  readonly at: number;
  /** Whether objects that the file does not name are to be deleted. */
  readonly prune: boolean;
  /** Who sends the file, as a text for people. */
  readonly by: string;
  /** How objects of other sections are found by what the file calls them. */
  readonly references: References;
}

/** What the file calls objects that others refer to by their ids. */
export type Names = Pick<DecisionReads, 'credential' | 'role' | 'group' | 'dynsecObject'>;

/**
 * One member of the configuration file: the objects of one aggregate. A new aggregate adds one of these to `sections.ts`.
 * Objects are found again by what people call them, never by an id.
 */
export interface ConfigSection {
  /** The member of the file. */
  readonly name: string;
  readonly schema: TSchema;
  /** Of objects that others refer to. */
  readonly naming?: Naming;
  /** Whether an object may not be deleted before those that refer to it let go of it. */
  readonly deletedLast?: true;
  /** How what is there differs from `value`, which the schema has been checked for. Looks at nothing but the newest state. */
  compare(value: unknown, against: ComparedWith): Promise<readonly Change[]>;
  /**
   * What the file says of all objects at the snapshot's revision, page by page; one page for a section that is no list. `at` is the
   * time, in milliseconds since 1970.
   */
  export(snapshot: Snapshot, at: number): Iterable<unknown>;
}

/** Members that are not the same on both sides. */
export function fieldChanges(
  before: Readonly<Record<string, unknown>>,
  after: Readonly<Record<string, unknown>>,
): readonly FieldChange[] {
  return [...new Set([...Object.keys(after), ...Object.keys(before)])]
    .filter((key) => !sameValue(before[key], after[key]))
    .map((key) => ({ pointer: `/${key}`, before: before[key], after: after[key] }));
}

/** Whether two values of JSON say the same; the order of members does not count. */
export function sameValue(one: unknown, other: unknown): boolean {
  if (one === other) return true;
  if (typeof one !== 'object' || typeof other !== 'object' || one === null || other === null) {
    return false;
  }
  if (Array.isArray(one) !== Array.isArray(other)) return false;
  const [left, right] = [new Map(Object.entries(one)), new Map(Object.entries(other))];
  if (left.size !== right.size) return false;
  return [...left].every(([key, value]) => right.has(key) && sameValue(value, right.get(key)));
}

/** Gives entries that name no id that of one that is there and says the same, so that they count as what they were. */
export function withKeptIds<S extends { readonly id?: string }, T extends { readonly id: string }>(
  sent: readonly S[],
  present: readonly T[],
  same: (one: S, other: T) => boolean,
): readonly S[] {
  const taken = new Set(sent.map(({ id }) => id));
  return sent.map((one) => {
    if (one.id !== undefined) return one;
    const kept = present.find((other) => !taken.has(other.id) && same(one, other));
    if (kept === undefined) return one;
    taken.add(kept.id);
    return { ...one, id: kept.id };
  });
}
