import type {
  AccessSpec,
  AclTarget,
  DecisionReads,
  Overlay,
  PlannedCommand,
} from '@sallyport/domain';
import {
  followingRows,
  lintAclTable,
  lintDynsecRole,
  type LintFinding,
  lintGroup,
  type LintReport,
  lintRole,
  type LintRule,
} from '@sallyport/rules';
import { turn } from '../bulk/turn.ts';
import { lintCredential } from '../lint/lint-object.ts';
import type { Rehearsed } from './plan.ts';
import type { Change } from './section.ts';

/** Most warnings of one plan; what comes behind them is not looked at. */
export const PLAN_WARNINGS_MAX = 200;

/** Rules of all objects of a plan that are looked at, or compared with, about: an object is looked at as a whole. */
export const PLAN_LINT_ROWS_MAX = 10_000;

/** A finding about a rule that a plan adds. */
export interface PlanWarning extends Omit<LintFinding, 'position'> {
  readonly section: string;
  readonly key: string;
  /** Into the file. */
  readonly pointer: string;
}

export interface PlanWarnings {
  readonly warnings: readonly PlanWarning[];
  /** Whether everything was looked at. */
  readonly warningsComplete: boolean;
}

/** What a plan's objects become, with a text for each rule that they hold now and would hold. */
interface Changed {
  readonly report: LintReport;
  /** Rules of other objects that its own were compared with. */
  readonly compared?: number;
  readonly before: ReadonlySet<string>;
  /** Of a rule, from its finding; undefined for one that this object does not hold itself. */
  readonly placeOf: (finding: LintFinding) => { pointer: string; text: string } | undefined;
}

/** What lint says of the rules that a plan adds, as they would be with the whole plan made. */
export async function lintPlan(
  reads: DecisionReads,
  { made, overlay }: Rehearsed,
): Promise<PlanWarnings> {
  const warnings: PlanWarning[] = [];
  const after: After = { overlay, everyone: followingRows(overlay.aclTable({ kind: 'everyone' })) };
  let rows = 0;
  for (const [index, { change, command }] of made.entries()) {
    if (index % 100 === 99) await turn();
    const changed = changedBy(command, reads, after);
    if (changed === undefined) continue;
    rows += changed.report.rules + (changed.compared ?? 0);
    warnings.push(...warningsOf(change, changed));
    if (warnings.length > PLAN_WARNINGS_MAX || rows > PLAN_LINT_ROWS_MAX) {
      return { warnings: warnings.slice(0, PLAN_WARNINGS_MAX), warningsComplete: false };
    }
    if (changed.report.rules > 100) await turn();
  }
  return { warnings, warningsComplete: true };
}

/** What is there when the plan is made. */
interface After {
  readonly overlay: Overlay;
  /** The rows that follow those of each username. */
  readonly everyone: readonly LintRule[];
}

function warningsOf({ section, key, pointer }: Change, changed: Changed): readonly PlanWarning[] {
  return changed.report.findings.flatMap((finding) => {
    const place = changed.placeOf(finding);
    if (place === undefined || changed.before.has(place.text)) return [];
    const { position: _position, ...told } = finding;
    return [{ section, key, pointer: `${pointer}${place.pointer}`, ...told }];
  });
}

/** What the rules of an object are after a command; undefined for commands that make none. */
function changedBy(
  command: PlannedCommand,
  reads: DecisionReads,
  made: After,
): Changed | undefined {
  const after = made.overlay;
  switch (command.type) {
    case 'ReplaceAclRules':
      return inTable(command.data.target, reads, made);
    case 'AddGroup':
    case 'ReplaceGroup': {
      const group = after.group(command.data.id);
      if (group === undefined) return undefined;
      const before = reads.group(group.id)?.permissions;
      return inList('permissions', lintGroup(group), group.permissions, before);
    }
    case 'AddRole':
    case 'ChangeRole': {
      const role = after.role(command.data.id);
      if (role === undefined) return undefined;
      const before = reads.role(role.id)?.permissions;
      return inList('permissions', lintRole(role), role.permissions, before);
    }
    case 'AddDynsecObject':
    case 'ReplaceDynsecObject': {
      const { kind, id } = command.data;
      const object = after.dynsecObject(kind, id);
      if (object?.kind !== 'role') return undefined;
      const before = reads.dynsecObject(kind, id);
      const rows = before?.kind === 'role' ? before.acls : [];
      return inList('acls', lintDynsecRole(object), object.acls, rows);
    }
    case 'AddCredential':
    case 'ChangeCredential':
      return inCredential(command.data.id, reads, after);
    default:
      return undefined;
  }
}

/** What a row says, without what it is called. */
function textOf(row: object): string {
  const members = Object.entries(row).filter(([name]) => name !== 'id' && name !== 'ruleId');
  return JSON.stringify(members.sort(([one], [other]) => (one < other ? -1 : 1)));
}

function inList(
  member: string,
  report: LintReport,
  rows: readonly object[],
  before: readonly object[] = [],
): Changed {
  return {
    report,
    before: new Set(before.map(textOf)),
    placeOf: ({ position }) => ({
      pointer: `/${member}/${position}`,
      text: textOf(rows[position] ?? {}),
    }),
  };
}

function inTable(
  target: AclTarget,
  reads: DecisionReads,
  { overlay, everyone }: After,
): Changed | undefined {
  const table = overlay.aclTable(target);
  if (table === undefined) return undefined;
  const followed = target.kind === 'username' ? everyone : [];
  const report = lintAclTable(table, overlay.settings(), followed);
  return {
    ...inList('rules', report, table.rules, reads.aclTable(target)?.rules),
    compared: followed.length,
  };
}

/** Patterns and permissions of its own; what its roles say is theirs. */
function inCredential(id: string, reads: DecisionReads, after: Overlay): Changed | undefined {
  const credential = after.credential(id);
  if (credential === undefined || credential.access.kind === 'acl') return undefined;
  const { access } = credential;
  const old = reads.credential(id)?.access;
  const own = (finding: LintFinding): string | undefined => {
    const prefix = `credential:${id}/`;
    return finding.ruleId.startsWith(prefix) ? finding.ruleId.slice(prefix.length) : undefined;
  };
  if (access.kind === 'roles') {
    const before = new Set((old?.kind === 'roles' ? old.permissions : []).map(textOf));
    return {
      ...{ report: lintCredential(after, credential), before },
      placeOf(finding) {
        const permissionId = own(finding)?.replace(/^permission\//, '');
        const position = access.permissions.findIndex((one) => one.id === permissionId);
        const row = access.permissions[position];
        return row && { pointer: `/access/permissions/${position}`, text: textOf(row) };
      },
    };
  }
  const texts = patternTexts(access);
  return {
    ...{ report: lintCredential(after, credential), before: new Set(patternTexts(old).values()) },
    placeOf(finding) {
      const place = own(finding);
      const text = place === undefined ? undefined : texts.get(place);
      return text === undefined ? undefined : { pointer: `/access/${place}`, text };
    },
  };
}

/** What each pattern of an access says, by its place in it. */
function patternTexts(access: AccessSpec | undefined): ReadonlyMap<string, string> {
  if (access?.kind === 'patterns') return new Map(textsOf(access, '', []));
  if (access?.kind !== 'mapping') return new Map();
  const { keywordPattern = null, entries } = access;
  return new Map(
    entries.flatMap((entry, index) =>
      textsOf(entry, `entries/${index}/`, [keywordPattern, entry.key]),
    ),
  );
}

const textsOf = (
  lists: Readonly<Record<'publish' | 'subscribe', readonly string[]>>,
  prefix: string,
  of: readonly unknown[],
): readonly [string, string][] =>
  (['publish', 'subscribe'] as const).flatMap((direction) =>
    lists[direction].map((pattern, index): [string, string] => [
      `${prefix}${direction}/${index}`,
      JSON.stringify([...of, direction, pattern]),
    ]),
  );
