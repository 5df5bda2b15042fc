import { unreachable } from '@sallyport/errors';
import { accept, type Decided, type EventContext, reject, type Revision } from '../commit.ts';
import { partRevisions } from '../part-revisions.ts';
import { Problems } from '../text.ts';
import {
  checkDynsecNamed,
  checkRolesHeld,
  dynsecKey,
  type DynsecKind,
  dynsecNamed,
  type DynsecRoleHeld,
} from './access.ts';
import { checkDynsecAcls, type DynsecAcl, dynsecAclText } from './acl.ts';

/** Most roles, and most groups, of dynamic security. */
export const DYNSEC_OBJECTS_MAX = 10_000;
export const DYNSEC_DESCRIPTION_BYTES_MAX = 1024;

interface NamedFields {
  /** Unique among those of its kind; of equal priorities the first by its name is looked at first. */
  readonly name: string;
  /** May be empty. */
  readonly description: string;
}

/** What an administrator decides about a role. */
export interface DynsecRoleFields extends NamedFields {
  readonly acls: readonly DynsecAcl[];
  /** False denies every SUBSCRIBE with a wildcard, before the rows of the role are looked at. */
  readonly allowWildcardSubs: boolean;
}

/** What an administrator decides about a group. */
export interface DynsecGroupFields extends NamedFields {
  readonly roles: readonly DynsecRoleHeld[];
}

export interface NewDynsecRole extends DynsecRoleFields {
  readonly kind: 'role';
  readonly id: string;
}

export interface NewDynsecGroup extends DynsecGroupFields {
  readonly kind: 'group';
  readonly id: string;
}

export type NewDynsecObject = NewDynsecRole | NewDynsecGroup;

interface Kept {
  /** For each of its parts, in the order of `dynsecPartsOf`, the revision that it is there since as it is. */
  readonly partRevisions: readonly Revision[];
  readonly createdAt: number;
  readonly createdRevision: Revision;
  readonly updatedAt: number;
  readonly updatedRevision: Revision;
}

export type DynsecRole = NewDynsecRole & Kept;
export type DynsecGroup = NewDynsecGroup & Kept;
export type DynsecObject = DynsecRole | DynsecGroup;

/** What tells one object from all others. */
export interface DynsecPlace {
  readonly kind: DynsecKind;
  readonly id: string;
}

export type DynsecEvent =
  | { readonly type: 'DynsecObjectAdded'; readonly data: NewDynsecObject }
  | { readonly type: 'DynsecObjectReplaced'; readonly data: NewDynsecObject }
  | { readonly type: 'DynsecObjectRemoved'; readonly data: DynsecPlace };

/** What a decision may rest on in an object, a text each: of a role its flag and its rows, of a group the roles that it has. */
export function dynsecPartsOf(object: NewDynsecObject): readonly string[] {
  return object.kind === 'role'
    ? [JSON.stringify(object.allowWildcardSubs), ...object.acls.map(dynsecAclText)]
    : object.roles.map(({ role, priority }) => JSON.stringify([role, priority]));
}

/** The revision that the part at `index` is there since as it is. */
export const dynsecPartRevision = (object: DynsecObject, index: number): Revision =>
  object.partRevisions[index] ?? object.updatedRevision;

export function evolveDynsec(
  state: DynsecObject | undefined,
  event: DynsecEvent,
  context: EventContext,
): DynsecObject | undefined {
  if (event.type === 'DynsecObjectRemoved') return undefined;
  if (event.type === 'DynsecObjectReplaced' && state === undefined) return undefined;
  const before = event.type === 'DynsecObjectAdded' ? undefined : state;
  const { at, revision } = context;
  const dated = before && { parts: dynsecPartsOf(before), revisions: before.partRevisions };
  return {
    ...event.data,
    partRevisions: partRevisions(dynsecPartsOf(event.data), dated, (text) => text, revision),
    createdAt: before?.createdAt ?? at,
    createdRevision: before?.createdRevision ?? revision,
    updatedAt: at,
    updatedRevision: revision,
  };
}

/** What `decideDynsec` needs to know of the world. */
export interface DynsecReads {
  dynsecObject(kind: DynsecKind, id: string): DynsecObject | undefined;
  dynsecIdByName(kind: DynsecKind, name: string): string | undefined;
  dynsecCount(kind: DynsecKind): number;
  /**
   * What names an object, as `credential:<id>` or `group:<id>`, at most so many, in the order of these texts. By an index: there may be
   * a million.
   */
  dynsecHolders(kind: DynsecKind, id: string, max: number): readonly string[];
}

interface Conditional {
  /** Refused with `precondition_failed` unless the object was last changed by exactly this revision. */
  readonly ifRevision?: Revision;
}

export type DynsecCommand =
  | { readonly type: 'AddDynsecObject'; readonly data: NewDynsecObject }
  /** Always an event, even when nothing differs: a commit may ask for earlier changes to reach live sessions. */
  | { readonly type: 'ReplaceDynsecObject'; readonly data: Conditional & NewDynsecObject }
  /** Refused while something names it, lest rights vanish, or a deny, by a slip. */
  | { readonly type: 'RemoveDynsecObject'; readonly data: Conditional & DynsecPlace };

/** Never throws on input. */
export function decideDynsec(reads: DynsecReads, command: DynsecCommand): Decided<DynsecEvent> {
  if (command.type === 'AddDynsecObject') return decideAdd(reads, stored(command.data));
  const { ifRevision, kind, id } = command.data;
  const current = reads.dynsecObject(kind, id);
  if (current === undefined) return reject('dynsec_not_found');
  if (ifRevision !== undefined && ifRevision !== current.updatedRevision) {
    return reject('precondition_failed', {
      detail: `The ${kind} was last changed by revision ${current.updatedRevision}.`,
    });
  }
  switch (command.type) {
    case 'ReplaceDynsecObject': {
      const data = stored(command.data);
      return refusal(reads, data) ?? accept({ type: 'DynsecObjectReplaced', data });
    }
    case 'RemoveDynsecObject':
      return decideRemove(reads, { kind, id });
    default:
      return unreachable(command);
  }
}

/** Without what only the command has. */
function stored(data: NewDynsecObject & Conditional): NewDynsecObject {
  const { ifRevision: _condition, ...object } = data;
  return object;
}

function decideAdd(reads: DynsecReads, added: NewDynsecObject): Decided<DynsecEvent> {
  const refused = refusal(reads, added);
  if (refused !== undefined) return refused;
  const { kind, id } = added;
  if (reads.dynsecObject(kind, id) !== undefined) return reject('dynsec_exists');
  if (reads.dynsecCount(kind) >= DYNSEC_OBJECTS_MAX) {
    return reject('too_many_dynsec_objects', {
      detail: `There are at most ${DYNSEC_OBJECTS_MAX} ${kind}s of dynamic security.`,
    });
  }
  return accept({ type: 'DynsecObjectAdded', data: added });
}

function decideRemove(reads: DynsecReads, { kind, id }: DynsecPlace): Decided<DynsecEvent> {
  const [holder] = reads.dynsecHolders(kind, id, 1);
  if (holder !== undefined) {
    return reject('dynsec_in_use', {
      detail: `The ${holder.replace(':', ' ')} ${kind === 'role' ? 'has the role' : 'is in the group'}.`,
    });
  }
  return accept({ type: 'DynsecObjectRemoved', data: { kind, id } });
}

function refusal(
  reads: DynsecReads,
  object: NewDynsecObject,
): ReturnType<typeof reject> | undefined {
  const { kind, id, name, description } = object;
  const problems = new Problems();
  problems.text('/name', name);
  if (description !== '') {
    problems.text('/description', description, DYNSEC_DESCRIPTION_BYTES_MAX);
  }
  if (object.kind === 'role') checkDynsecAcls(problems, '/acls', object.acls);
  else checkGroup(problems, reads, object);
  if (problems.found.length > 0) return reject('dynsec_invalid', { problems: problems.found });
  const named = reads.dynsecIdByName(kind, name);
  if (named === undefined || named === id) return undefined;
  return reject('dynsec_name_taken', {
    problems: [{ pointer: '/name', detail: `is the name of another ${kind}` }],
  });
}

function checkGroup(problems: Problems, reads: DynsecReads, group: NewDynsecGroup): void {
  const found = problems.found.length;
  checkRolesHeld(problems, '/roles', group.roles);
  // A list that is too long is not looked up.
  if (problems.found.length > found) return;
  checkDynsecNamed(problems, '', group, (kind, id) => reads.dynsecObject(kind, id) !== undefined);
}

/** Keys of what an object names: a group its roles. */
export const dynsecHeldBy = (object: DynsecObject | undefined): readonly string[] =>
  object?.kind === 'group' ? dynsecNamed(object) : [];

export const dynsecKeyOf = ({ kind, id }: DynsecPlace): string => dynsecKey(kind, id);
