import type { PlannedCommand, Revision } from '@sallyport/domain';
import type { Snapshot } from '@sallyport/read-model';
import type { TSchema } from 'typebox';
import type { ApiContext } from '../http/context.ts';
import type { CommandInputs } from '../http/write.ts';

/** One member that an update changes; secrets are named without what they are. */
export interface FieldChange {
  readonly pointer: string;
  readonly before?: unknown;
  readonly after?: unknown;
}

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
  /** Makes it so, if the object is still as it was compared. Hashes secrets, so it may take a while. */
  readonly command: (inputs: CommandInputs) => Promise<PlannedCommand>;
  /** The same at once, with secrets that open nothing: to find out whether it would be refused. */
  readonly rehearsal: (inputs: CommandInputs) => PlannedCommand;
}

export interface ComparedWith {
  readonly context: ApiContext;
  /** When, in milliseconds since 1970. */
  readonly at: number;
  /** Whether objects that the file does not name are to be deleted. */
  readonly prune: boolean;
}

/**
 * One member of the configuration file: the objects of one aggregate. A new aggregate adds one of these to `sections.ts`.
 * Objects are found again by what people call them, never by an id.
 */
export interface ConfigSection {
  /** The member of the file. */
  readonly name: string;
  readonly schema: TSchema;
  /** How what is there differs from `value`, which the schema has been checked for. Looks at nothing but the newest state. */
  compare(value: unknown, against: ComparedWith): Promise<readonly Change[]>;
  /** What the file says of all objects at the snapshot's revision, page by page; one page for a section that is no list. */
  export(snapshot: Snapshot): Iterable<unknown>;
}

/** Objects that are read at once. */
export const PAGE_OBJECTS = 200;

/** Objects in the order of their keys, a page at a time. */
export function* pages<T>(
  read: (after: string, limit: number) => readonly T[],
  keyOf: (one: T) => string,
): Generator<readonly T[]> {
  for (let after = ''; ;) {
    const page = read(after, PAGE_OBJECTS);
    const last = page.at(-1);
    if (last === undefined) return;
    yield page;
    after = keyOf(last);
  }
}

/** Members of `after` that are not as in `before`. */
export function fieldChanges(
  before: Readonly<Record<string, unknown>>,
  after: Readonly<Record<string, unknown>>,
): readonly FieldChange[] {
  return Object.keys(after)
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
