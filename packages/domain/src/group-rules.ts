import { utf8Bytes } from '@sallyport/topic';
import { accept, type Decided, type EventContext, reject, type Revision } from './commit.ts';
import type { Credential } from './credential.ts';
import { fingerprintText, parseFingerprint } from './fingerprint.ts';
import type { GroupReads } from './group.ts';
import { partRevisions } from './part-revisions.ts';
import { Problems } from './text.ts';

/** Most rules of the document. */
export const GROUP_RULES_MAX = 1000;
/** Most bytes that the rules take as JSON: the document is one event, and must fit into a commit. */
export const GROUP_RULES_BYTES_MAX = 192 * 1024;
/** Most groups that one rule names, and that one connection may have. */
export const CONNECTION_GROUPS_MAX = 64;
const RULE_ID_BYTES_MAX = 64;

export const GROUP_MATCHES = ['certificate_fingerprint', 'client_id', 'credential'] as const;

/** Gives groups to the connections that it matches. All rules that match count; their order means nothing. */
export interface GroupRule {
  readonly id: string;
  readonly matchBy: (typeof GROUP_MATCHES)[number];
  /**
   * `certificate_fingerprint`: SHA-256 of the client's certificate, kept as `SHA256:AA:BB…`. `client_id`: the client id, in which `*`
   * stands for any run of characters and `\*` for a star. `credential`: the id of a credential, which need not exist any more.
   */
  readonly value: string;
  /** Ids of groups, each once; without any the rule gives nothing. */
  readonly groups: readonly string[];
}

/** The one document of rules. */
export interface GroupRules {
  readonly rules: readonly GroupRule[];
  /** For each of the rules, and each of the groups that it names, the revision that it gives it to those whom it matches since. */
  readonly givenRevisions: readonly (readonly Revision[])[];
  /** 0 before the first change. */
  readonly updatedAt: number;
  /** 0 before the first change. */
  readonly updatedRevision: Revision;
}

export const NO_GROUP_RULES: GroupRules = {
  rules: [],
  givenRevisions: [],
  updatedAt: 0,
  updatedRevision: 0,
};

export interface GroupRulesEvent {
  readonly type: 'GroupRulesReplaced';
  readonly data: { readonly rules: readonly GroupRule[] };
}

export function evolveGroupRules(
  state: GroupRules,
  event: GroupRulesEvent,
  context: EventContext,
): GroupRules {
  const { rules } = event.data;
  const given = rules.flatMap(giftsOf);
  const before = { parts: state.rules.flatMap(giftsOf), revisions: state.givenRevisions.flat() };
  const revisions = partRevisions(given, before, (text) => text, context.revision);
  let next = 0;
  return {
    rules,
    givenRevisions: rules.map(({ groups }) => revisions.slice(next, (next += groups.length))),
    updatedAt: context.at,
    updatedRevision: context.revision,
  };
}

/** What a rule gives to whom, a text for each of its groups; whatever it is called, and beside what. */
const giftsOf = ({ matchBy, value, groups }: GroupRule): readonly string[] =>
  groups.map((group) => JSON.stringify([matchBy, value, group]));

/** What `decideGroupRules` needs to know of the world. */
export interface GroupRulesReads extends Pick<GroupReads, 'group' | 'groupRules'> {
  credential(id: string): Credential | undefined;
}

export interface GroupRulesCommand {
  /** Always an event, even when nothing differs: a commit may ask for earlier changes to reach live sessions. */
  readonly type: 'ReplaceGroupRules';
  readonly data: {
    /** Fingerprints in any form that `parseFingerprint` reads. */
    readonly rules: readonly GroupRule[];
    /** Refused with `precondition_failed` unless the document was last changed by this revision; 0 = never. */
    readonly ifRevision?: Revision;
  };
}

/** Never throws on input. */
export function decideGroupRules(
  reads: GroupRulesReads,
  command: GroupRulesCommand,
): Decided<GroupRulesEvent> {
  const current = reads.groupRules();
  const { rules, ifRevision } = command.data;
  if (ifRevision !== undefined && ifRevision !== current.updatedRevision) {
    return reject('precondition_failed', {
      detail: `The group rules were last changed by revision ${current.updatedRevision}.`,
    });
  }
  if (rules.length > GROUP_RULES_MAX) return tooMany();
  const problems = new Problems();
  const known = new Map(current.rules.map((rule) => [rule.id, rule]));
  const seen = new Set<string>();
  const canonical = rules.map((rule, index) => {
    const pointer = `/rules/${index}`;
    problems.text(`${pointer}/id`, rule.id, RULE_ID_BYTES_MAX);
    if (seen.has(rule.id)) problems.add(`${pointer}/id`, 'is used twice');
    seen.add(rule.id);
    checkGroups(problems, `${pointer}/groups`, rule, { reads, before: known.get(rule.id) });
    return { ...rule, value: checkedValue(problems, `${pointer}/value`, rule, reads, known) };
  });
  if (utf8Bytes(JSON.stringify(canonical)) > GROUP_RULES_BYTES_MAX) {
    problems.add('/rules', `must be at most ${GROUP_RULES_BYTES_MAX} bytes together`);
  }
  if (problems.found.length > 0) return reject('group_rule_invalid', { problems: problems.found });
  return accept({ type: 'GroupRulesReplaced', data: { rules: canonical } });
}

const tooMany = (): ReturnType<typeof reject> =>
  reject('too_many_group_rules', { detail: `There are at most ${GROUP_RULES_MAX} group rules.` });

/** A rule may be without groups when it was so already: a group that was removed has left it behind. */
function checkGroups(
  problems: Problems,
  pointer: string,
  { groups }: GroupRule,
  { reads, before }: { readonly reads: GroupRulesReads; readonly before: GroupRule | undefined },
): void {
  if (groups.length === 0 && before?.groups.length !== 0) {
    problems.add(pointer, 'must name at least one group');
  }
  if (groups.length > CONNECTION_GROUPS_MAX) {
    problems.add(pointer, `must have at most ${CONNECTION_GROUPS_MAX} entries`);
    return;
  }
  for (const [index, id] of groups.entries()) {
    if (reads.group(id) === undefined) problems.add(`${pointer}/${index}`, 'is no group');
    if (groups.indexOf(id) !== index) problems.add(`${pointer}/${index}`, 'is named twice');
  }
}

/** The value as it is kept; as it came, with a problem, when it is not valid. */
function checkedValue(
  problems: Problems,
  pointer: string,
  { id, matchBy, value }: GroupRule,
  reads: GroupRulesReads,
  known: ReadonlyMap<string, GroupRule>,
): string {
  if (matchBy === 'certificate_fingerprint') {
    const hex = parseFingerprint(value);
    if (hex !== undefined) return fingerprintText(hex);
    problems.add(pointer, 'must be a SHA-256 fingerprint in hex or base64');
    return value;
  }
  problems.text(pointer, value);
  if (matchBy === 'credential' && reads.credential(value) === undefined) {
    // One that was there when the rule was made may be gone: the rule stays, and gives nothing.
    const before = known.get(id);
    const kept = before?.matchBy === 'credential' && before.value === value;
    if (!kept) problems.add(pointer, 'is no credential');
  }
  return value;
}
