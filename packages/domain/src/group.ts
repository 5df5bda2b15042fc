import { unreachable } from '@sallyport/errors';
import { parseTopicFilter, topicProblemText, utf8Bytes } from '@sallyport/topic';
import { accept, type Decided, type EventContext, reject, type Revision } from './commit.ts';
import type { GroupRules, GroupRulesEvent } from './group-rules.ts';
import { partRevisions } from './part-revisions.ts';
import { checkPlaceholders } from './placeholder.ts';
import { Problems } from './text.ts';

/** Most groups of the system. */
export const GROUPS_MAX = 10_000;
/** Most rows of one group. */
export const GROUP_ROWS_MAX = 1000;
/** Most bytes that the rows of one group take as JSON: a group is one event, and must fit into a commit. */
export const GROUP_ROWS_BYTES_MAX = 192 * 1024;
export const GROUP_DESCRIPTION_BYTES_MAX = 1024;

/** One row. Their order means nothing: a deny row of any group of a connection overrides every allow row. */
export interface GroupPermission {
  readonly permission: 'allow' | 'deny';
  readonly action: 'subscribe' | 'publish';
  /** An MQTT filter; a level may be `${clientid}` or `${username}`. */
  readonly topic: string;
}

/** What an administrator decides about a group. */
export interface GroupFields {
  /** Unique among groups. */
  readonly name: string;
  /** May be empty. */
  readonly description: string;
  readonly permissions: readonly GroupPermission[];
}

export interface NewGroup extends GroupFields {
  readonly id: string;
}

/** A named list of permissions; group rules say which connections have it. */
export interface Group extends NewGroup {
  /** For each of the rows, the revision that it is there since as it is. */
  readonly permissionRevisions: readonly Revision[];
  readonly createdAt: number;
  readonly createdRevision: Revision;
  readonly updatedAt: number;
  readonly updatedRevision: Revision;
}

export type GroupEvent =
  | { readonly type: 'GroupAdded'; readonly data: NewGroup }
  | { readonly type: 'GroupReplaced'; readonly data: NewGroup }
  | { readonly type: 'GroupRemoved'; readonly data: { readonly id: string } };

export function evolveGroup(
  state: Group | undefined,
  event: GroupEvent,
  context: EventContext,
): Group | undefined {
  const updated = { updatedAt: context.at, updatedRevision: context.revision };
  switch (event.type) {
    case 'GroupAdded':
      return {
        ...event.data,
        permissionRevisions: event.data.permissions.map(() => context.revision),
        createdAt: context.at,
        createdRevision: context.revision,
        ...updated,
      };
    case 'GroupReplaced':
      if (state === undefined) return undefined;
      return {
        ...state,
        ...event.data,
        permissionRevisions: partRevisions(
          event.data.permissions,
          { parts: state.permissions, revisions: state.permissionRevisions },
          rowText,
          context.revision,
        ),
        ...updated,
      };
    case 'GroupRemoved':
      return undefined;
    default:
      return unreachable(event);
  }
}

const rowText = ({ permission, action, topic }: GroupPermission): string =>
  JSON.stringify([permission, action, topic]);

/** What `decideGroup` needs to know of the world. */
export interface GroupReads {
  group(id: string): Group | undefined;
  groupIdByName(name: string): string | undefined;
  groupCount(): number;
  groupRules(): GroupRules;
}

interface Conditional {
  /** Refused with `precondition_failed` unless the group was last changed by exactly this revision. */
  readonly ifRevision?: Revision;
}

export type GroupCommand =
  | { readonly type: 'AddGroup'; readonly data: NewGroup }
  /** Always an event, even when nothing differs: a commit may ask for earlier changes to reach live sessions. */
  | { readonly type: 'ReplaceGroup'; readonly data: Conditional & NewGroup }
  /** Takes the group out of all rules in the same commit; a rule that is left without groups is kept, and gives nothing. */
  | { readonly type: 'RemoveGroup'; readonly data: Conditional & { readonly id: string } };

/** Never throws on input. */
export function decideGroup(
  reads: GroupReads,
  command: GroupCommand,
): Decided<GroupEvent | GroupRulesEvent> {
  if (command.type === 'AddGroup') return decideAdd(reads, command.data);
  const { ifRevision, ...data } = command.data;
  const current = reads.group(data.id);
  if (current === undefined) return reject('group_not_found');
  if (ifRevision !== undefined && ifRevision !== current.updatedRevision) {
    return reject('precondition_failed', {
      detail: `The group was last changed by revision ${current.updatedRevision}.`,
    });
  }
  switch (command.type) {
    case 'ReplaceGroup': {
      const { id, name, description, permissions } = command.data;
      const next = { id, name, description, permissions };
      return refusal(reads, next) ?? accept({ type: 'GroupReplaced', data: next });
    }
    case 'RemoveGroup':
      return decideRemove(reads, data.id);
    default:
      return unreachable(command);
  }
}

function decideAdd(reads: GroupReads, added: NewGroup): Decided<GroupEvent> {
  const refused = refusal(reads, added);
  if (refused !== undefined) return refused;
  if (reads.group(added.id) !== undefined) return reject('group_exists');
  if (reads.groupCount() >= GROUPS_MAX) {
    return reject('too_many_groups', { detail: `There are at most ${GROUPS_MAX} groups.` });
  }
  return accept({ type: 'GroupAdded', data: added });
}

function decideRemove(reads: GroupReads, id: string): Decided<GroupEvent | GroupRulesEvent> {
  const removed = { type: 'GroupRemoved', data: { id } } as const;
  const { rules } = reads.groupRules();
  if (!rules.some(({ groups }) => groups.includes(id))) return accept(removed);
  const without = rules.map((rule) => ({
    ...rule,
    groups: rule.groups.filter((group) => group !== id),
  }));
  return accept<GroupEvent | GroupRulesEvent>(removed, {
    type: 'GroupRulesReplaced',
    data: { rules: without },
  });
}

function refusal(reads: GroupReads, group: NewGroup): ReturnType<typeof reject> | undefined {
  const problems = new Problems();
  problems.text('/name', group.name);
  if (group.description !== '') {
    problems.text('/description', group.description, GROUP_DESCRIPTION_BYTES_MAX);
  }
  checkPermissions(problems, group.permissions);
  if (problems.found.length > 0) return reject('group_invalid', { problems: problems.found });
  const named = reads.groupIdByName(group.name);
  if (named === undefined || named === group.id) return undefined;
  return reject('group_name_taken', {
    problems: [{ pointer: '/name', detail: 'is the name of another group' }],
  });
}

function checkPermissions(problems: Problems, permissions: readonly GroupPermission[]): void {
  if (permissions.length > GROUP_ROWS_MAX) {
    problems.add('/permissions', `must have at most ${GROUP_ROWS_MAX} entries`);
    return;
  }
  for (const [index, { topic }] of permissions.entries()) {
    checkTopic(problems, `/permissions/${index}/topic`, topic);
  }
  if (utf8Bytes(JSON.stringify(permissions)) > GROUP_ROWS_BYTES_MAX) {
    problems.add('/permissions', `must be at most ${GROUP_ROWS_BYTES_MAX} bytes together`);
  }
}

function checkTopic(problems: Problems, pointer: string, topic: string): void {
  const parsed = parseTopicFilter(topic);
  if (!parsed.ok) problems.add(pointer, topicProblemText[parsed.problem]);
  checkPlaceholders(problems, pointer, topic);
}
