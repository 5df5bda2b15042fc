import {
  DYNSEC_DEFAULTS,
  type DynsecAccess,
  type DynsecAcl,
  type DynsecDefaults,
} from '@sallyport/domain';
import { levelsOf, parseTopicFilter } from '@sallyport/topic';
import { describe, expect, test } from 'vitest';
import { check } from './check.ts';
import { compilePolicy } from './compile.ts';
import { checkSubscribe } from './coverage.ts';
import { dynsecAuthority, type DynsecSource, rankedDynsecRoles } from './dynsec-authority.ts';
import { explain } from './explain.ts';
import { CONNECTION_ROWS_MAX } from './groups.ts';
import type { AuthoritySpec } from './policy-spec.ts';

const role = (id: string, acls: readonly Partial<DynsecAcl>[], allowWildcardSubs = true) => ({
  ...{ kind: 'role' as const, id, name: id, allowWildcardSubs },
  acls: acls.map((one): DynsecAcl => ({
    ...{ aclType: 'subscribePattern', topic: 'a', priority: -1, allow: true },
    ...one,
  })),
});
const group = (id: string, ...roles: readonly string[]): DynsecSource => ({
  ...{ kind: 'group', id, name: id },
  roles: roles.map((one) => ({ role: one, priority: -1 })),
});
const access = (roles: readonly string[], groups: readonly string[] = []): DynsecAccess => ({
  kind: 'dynsec',
  roles: roles.map((one) => ({ role: one, priority: -1 })),
  groups: groups.map((one) => ({ group: one, priority: -1 })),
});

function policyOf(
  rows: readonly Partial<DynsecAcl>[],
  {
    defaults = {},
    others = [],
  }: {
    readonly defaults?: Partial<DynsecDefaults>;
    readonly others?: readonly AuthoritySpec[];
  } = {},
) {
  const own = dynsecAuthority(access(['r']), [role('r', rows)], {
    ...DYNSEC_DEFAULTS,
    ...defaults,
  });
  return compilePolicy({
    policyId: 'p',
    superuser: false,
    authorities: [own, ...others],
    noMatch: 'deny',
    denyAction: 'ignore',
  });
}

const facts = { clientId: 'c', listener: 'tcp:default' };

function subscribe(policy: ReturnType<typeof policyOf>, text: string, inPartToo = false) {
  const filter = parseTopicFilter(text);
  if (!filter.ok) throw new Error(filter.problem);
  return checkSubscribe(policy, facts, filter.value, 0, false, inPartToo);
}

describe('more rows than a policy has room for', () => {
  const filled = (count: number) =>
    role(
      'r',
      Array.from({ length: count }, () => ({ aclType: 'publishClientReceive' as const })),
    );

  test('deny everything, one past the limit; at the limit they are asked', () => {
    const [one, all] = [CONNECTION_ROWS_MAX, CONNECTION_ROWS_MAX - 1].map((count) =>
      dynsecAuthority(access(['r']), [filled(count)], DYNSEC_DEFAULTS),
    );
    expect(one?.rules.map(({ ruleId }) => ruleId)).toEqual(['dynsec/too-many']);
    expect(all?.rules).toHaveLength(CONNECTION_ROWS_MAX);
  });
});

describe('the order of roles', () => {
  test('one that is met again is not listed again, and one that is gone not at all', () => {
    const objects = [role('a', []), role('b', []), group('g', 'b', 'a', 'gone')];
    const ranked = rankedDynsecRoles(access(['b', 'gone'], ['g', 'nobody']), objects);
    expect(ranked.map(({ role: one, groupId }) => [one.id, groupId])).toEqual([
      ['b', undefined],
      ['a', 'g'],
    ]);
  });
});

describe('a SUBSCRIBE', () => {
  test('of several rows that no single one grants is granted where none of them denies', () => {
    const rows = [{ topic: 'a' }, { topic: 'a/+/#' }];
    expect(subscribe(policyOf(rows), 'a/#')).toMatchObject({ allowed: true });
  });

  test('is not granted behind a row that denies the whole, whatever a row behind it grants', () => {
    const rows = [
      { topic: 'a/b', priority: 2 },
      { topic: 'a/#', allow: false, priority: 1 },
      { topic: '#', priority: 0 },
    ];
    // Deliveries are not judged by these rows: to grant it in part would deliver everything.
    expect(subscribe(policyOf(rows), 'a/#')).toMatchObject({
      allowed: false,
      ruleId: 'dynsec-role:r/1',
    });
    expect(subscribe(policyOf(rows), 'a/b')).toMatchObject({ allowed: true });
  });

  test('is granted by the first row that matches the whole of it; what it delivers is for other rows', () => {
    const rows: Partial<DynsecAcl>[] = [
      { topic: 'a/x', allow: false, priority: 1 },
      { topic: 'a/#' },
    ];
    expect(subscribe(policyOf(rows), 'a/#')).toMatchObject({
      ...{ allowed: true, checkDeliveries: false, ruleId: 'dynsec-role:r/1' },
    });
    const kept = policyOf([
      ...rows,
      { aclType: 'publishClientReceive', topic: 'a/x', allow: false },
    ]);
    expect(subscribe(kept, 'a/#')).toMatchObject({ allowed: true, checkDeliveries: true });
    expect(check(kept, facts, 'receive', levelsOf('a/x'), 'a/x').allowed).toBe(false);
    expect(check(kept, facts, 'receive', levelsOf('a/y'), 'a/y').allowed).toBe(true);
  });

  test('that is wider than what is granted is refused, also where others are granted in part', () => {
    const policy = policyOf([{ topic: 'a/b' }]);
    expect(subscribe(policy, '#', true).allowed).toBe(false);
    expect(subscribe(policy, 'a/b', true).allowed).toBe(true);
    // What another authority keeps back is kept back: there is the same rule for deliveries.
    const hole: AuthoritySpec = {
      ...{ name: 'acl', noMatch: 'abstain' },
      rules: [
        {
          ...{ ruleId: 'hole', effect: 'deny', actions: ['subscribe', 'receive'] },
          matcher: { kind: 'filter', filter: 'a/x' },
        },
      ],
    };
    const both = policyOf([{ topic: 'a/#' }], { others: [hole] });
    expect(subscribe(both, 'a/#')).toMatchObject({ allowed: true, checkDeliveries: true });
    expect(check(both, facts, 'receive', levelsOf('a/x'), 'a/x').ruleId).toBe('hole');
  });

  test('is explained by the row that denies the whole of it', () => {
    const policy = policyOf([
      { topic: 'a/b', priority: 1 },
      { topic: 'a/#', allow: false },
    ]);
    expect(explain(policy, facts, 'subscribe', 'a/#')).toMatchObject({
      allowed: false,
      opinions: [{ authority: 'dynsec', verdict: 'deny', ruleId: 'dynsec-role:r/1' }],
    });
  });
});

test('a level that only looks like a placeholder is one like others', () => {
  const policy = policyOf([{ aclType: 'publishClientSend', topic: 'x/${clientid}' }]);
  const allowed = (topic: string) =>
    check(policy, facts, 'publish', levelsOf(topic), topic).allowed;
  expect(allowed('x/c')).toBe(false);
  expect(allowed('x/${clientid}')).toBe(true);
});
