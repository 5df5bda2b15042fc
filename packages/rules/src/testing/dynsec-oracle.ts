import type { DynsecAccess, DynsecAclType, DynsecGroup, DynsecRole } from '@sallyport/domain';
import type { Action } from '../policy-spec.ts';

/** Objects of dynamic security, as they are stored. */
export interface DynsecWorld {
  readonly roles: readonly Pick<
    DynsecRole,
    'kind' | 'id' | 'name' | 'acls' | 'allowWildcardSubs'
  >[];
  readonly groups: readonly Pick<DynsecGroup, 'kind' | 'id' | 'name' | 'roles'>[];
}

/** One thing that a role says. */
export interface DynsecRow {
  readonly ruleId: string;
  readonly allow: boolean;
  readonly action: Action;
  /** `wildcards` speaks of every filter that holds one. */
  readonly kind: 'wildcards' | 'literal' | 'pattern';
  readonly topic: string;
  /** What decides the order, the first that differs: high numbers come first, and low texts. */
  readonly rank: readonly (number | string)[];
}

const actions: Readonly<Record<DynsecAclType, Action>> = {
  publishClientSend: 'publish',
  publishClientReceive: 'receive',
  subscribeLiteral: 'subscribe',
  subscribePattern: 'subscribe',
  unsubscribeLiteral: 'unsubscribe',
  unsubscribePattern: 'unsubscribe',
};

/** Everything that the roles of a client say, in the order in which the documents look at it. @source compat C3.5 */
export function dynsecRows({ roles, groups }: DynsecWorld, access: DynsecAccess): DynsecRow[] {
  const rowsOf = (id: string, rank: DynsecRow['rank']): DynsecRow[] => {
    const role = roles.find((one) => one.id === id);
    if (role === undefined) return [];
    const place = [...rank, role.name];
    const rows = role.acls.map((acl, index): DynsecRow => {
      const literal = acl.aclType.includes('Literal');
      return {
        ruleId: `dynsec-role:${id}/${index}`,
        allow: acl.allow,
        action: actions[acl.aclType],
        kind: literal ? 'literal' : 'pattern',
        topic: acl.topic,
        rank: [...place, literal ? 1 : 0, acl.priority, -index],
      };
    });
    if (role.allowWildcardSubs) return rows;
    const ruleId = `dynsec-role:${id}/allowWildcardSubs`;
    const said = { allow: false, action: 'subscribe', kind: 'wildcards', topic: '#' } as const;
    return [{ ruleId, ...said, rank: [...place, 2, 0, 0] }, ...rows];
  };
  const own = access.roles.flatMap(({ role, priority }) => rowsOf(role, [1, 0, '', priority]));
  const ofGroups = access.groups.flatMap(({ group, priority }) => {
    const found = groups.find((one) => one.id === group);
    if (found === undefined) return [];
    return found.roles.flatMap((held) =>
      rowsOf(held.role, [0, priority, found.name, held.priority]),
    );
  });
  return [...own, ...ofGroups].sort(byRank);
}

function byRank({ rank: one }: DynsecRow, { rank: other }: DynsecRow): number {
  for (const [index, value] of one.entries()) {
    const against = other[index];
    if (against === undefined || value === against) continue;
    if (typeof value === 'number') return Number(against) - value;
    return value < against ? -1 : 1;
  }
  return 0;
}
