import type { DecisionReads, PlannedCommand, Revision } from '@sallyport/domain';
import type { Rejection } from '@sallyport/errors';
import type { Snapshot } from '@sallyport/read-model';
import { type TSchema, Type } from 'typebox';
import { turn } from '../bulk/turn.ts';
import { RefusedError, refused } from '../http/problems.ts';
import type { CommandInputs } from '../http/write.ts';
import { inputsOf } from './references.ts';
import type { Change, ComparedWith, ConfigSection, Names } from './section.ts';

/** What makes an object as an entry says. */
export type Wanted = Pick<
  Change,
  'fields' | 'after' | 'secretTag' | 'takes' | 'frees' | 'rehearsal' | 'command'
>;

/** How one aggregate is a list of the file. Pointers of what is thrown are into the entry. */
export interface ListSpec<E, T> extends Pick<ConfigSection, 'name' | 'naming' | 'deletedLast'> {
  /** Schema of one entry. */
  readonly entry: TSchema;
  /** The member of an entry that tells it from all others. */
  readonly keyPointer: string;
  /** What tells an entry from all others; undefined for one that asks for nothing. */
  keyOf(entry: E, against: ComparedWith): string | undefined;
  keyOfPresent(present: T): string;
  /** The key as people see it. */
  labelOf?(key: string): string;
  find(reads: DecisionReads, entry: E): T | undefined;
  pages(snapshot: Snapshot, at: number): Iterable<readonly T[]>;
  /** What the file says of an object. */
  written(present: T, names: Names): Readonly<Record<string, unknown>>;
  /** Undefined when all is as the entry says. */
  compare(
    entry: E,
    present: T | undefined,
    against: EntryComparedWith,
  ): Wanted | undefined | Promise<Wanted | undefined>;
  remove(present: T): PlannedCommand;
}

/** What one entry is compared with. */
export interface EntryComparedWith extends ComparedWith {
  /** Inputs for the command of this object. */
  readonly own: (inputs: CommandInputs) => CommandInputs;
}

/** A section whose objects the file lists, each as a whole. */
export function listSection<E, T extends { readonly updatedRevision: Revision }>(
  spec: ListSpec<E, T>,
): ConfigSection {
  const { name, naming, deletedLast } = spec;
  return {
    name,
    schema: Type.Array(spec.entry),
    ...(naming && { naming }),
    ...(deletedLast && { deletedLast }),
    async compare(value, against) {
      const entries = value as readonly E[]; // The section's schema.
      const changes: Change[] = [];
      const named = new Set<string>();
      for (const [index, entry] of entries.entries()) {
        const pointer = `/${name}/${index}`;
        const change = await locating(pointer, () =>
          changeOf(spec, { entry, pointer, named }, against),
        );
        if (change !== undefined) changes.push(change);
        if (index % 100 === 99) await turn();
      }
      if (against.prune) changes.push(...(await deletions(spec, named, against)));
      return changes;
    },
    *export(snapshot, at) {
      for (const page of spec.pages(snapshot, at)) {
        yield page.map((one) => spec.written(one, snapshot));
      }
    },
  };
}

interface Place<E> {
  readonly entry: E;
  readonly pointer: string;
  /** Keys of the entries so far. */
  readonly named: Set<string>;
}

async function changeOf<E, T extends { readonly updatedRevision: Revision }>(
  spec: ListSpec<E, T>,
  { entry, pointer, named }: Place<E>,
  against: ComparedWith,
): Promise<Change | undefined> {
  const { name: section, keyPointer } = spec;
  const key = spec.keyOf(entry, against);
  if (key === undefined) return undefined;
  if (named.has(key)) throw entryProblem('invalid_request', keyPointer, 'is there twice');
  named.add(key);
  const present = spec.find(against.context.ports.model.reads, entry);
  const own = (inputs: CommandInputs) => inputsOf(inputs, section, key);
  const wanted = await spec.compare(entry, present, { ...against, own });
  if (wanted === undefined) return undefined;
  const of = { section, key: spec.labelOf?.(key) ?? key, pointer };
  if (present === undefined) return { ...of, action: 'create', ...wanted };
  return { ...of, action: 'update', updatedRevision: present.updatedRevision, ...wanted };
}

async function deletions<E, T extends { readonly updatedRevision: Revision }>(
  spec: ListSpec<E, T>,
  named: ReadonlySet<string>,
  { context: { ports }, at }: ComparedWith,
): Promise<readonly Change[]> {
  const changes: Change[] = [];
  using snapshot = ports.model.snapshot();
  for (const page of spec.pages(snapshot, at)) {
    for (const present of page) {
      const key = spec.keyOfPresent(present);
      if (named.has(key)) continue;
      changes.push({
        section: spec.name,
        action: 'delete',
        key: spec.labelOf?.(key) ?? key,
        pointer: `/${spec.name}`,
        before: spec.written(present, snapshot),
        updatedRevision: present.updatedRevision,
        rehearsal: () => spec.remove(present),
      });
    }
    await turn();
  }
  return changes;
}

/** A refusal of one member of an entry. */
export const entryProblem = (
  code: Rejection['code'],
  pointer: string,
  detail: string,
): RefusedError => refused(code, { problems: [{ pointer, detail }] });

/** Says of a refusal where in the file it is about. */
export async function locating<R>(pointer: string, work: () => Promise<R>): Promise<R> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof RefusedError)) throw error;
    throw new RefusedError(located(error.rejection, pointer), error.headers);
  }
}

export function located(rejection: Rejection, pointer: string): Rejection {
  const { problems = [], detail = 'is refused' } = rejection;
  const here = problems.map((one) => ({ ...one, pointer: `${pointer}${one.pointer}` }));
  return { ...rejection, problems: here.length > 0 ? here : [{ pointer, detail }] };
}
