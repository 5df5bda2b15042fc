import {
  ACL_RULES_MAX,
  CREDENTIAL_ROLES_MAX,
  DEFAULT_SETTINGS,
  type Permission,
  PERMISSIONS_MAX,
  type RolesAccess,
} from '@sallyport/domain';
import { levelsOf, parseTopicFilter } from '@sallyport/topic';
import { describe, expect, test } from 'vitest';
import { assemblePolicy, canonicalPolicyText, type PolicySources } from './assemble.ts';
import { check } from './check.ts';
import { type CompiledPolicy, compilePolicy, POLICY_RULES_MAX } from './compile.ts';
import { checkSubscribe } from './coverage.ts';
import type { Action, Decision } from './policy-spec.ts';
import { publishedTopic } from './published-topic.ts';
import type { RoleSource } from './roles-authority.ts';

const permission = (
  id: string,
  operation: Permission['operation'],
  resource: string,
  context: Permission['context'] = 'mqtt',
): Permission => ({ id, context, resource, operation });

const role = (id: string, ...permissions: readonly Permission[]): RoleSource => ({
  id,
  permissions,
});

interface Holder {
  readonly id?: string;
  readonly access?: Partial<RolesAccess>;
  readonly roles?: readonly RoleSource[];
  readonly superuser?: boolean;
  readonly noMatch?: 'allow' | 'deny';
}

const assembled = ({
  id = 'c1',
  access,
  roles = [],
  superuser = false,
  noMatch = 'deny',
}: Holder) => {
  const sources: PolicySources = {
    facts: { clientId: 'c', listener: 'tcp:default' },
    credential: {
      id,
      store: 'cybus',
      superuser,
      access: { kind: 'roles', roles: roles.map((one) => one.id), permissions: [], ...access },
    },
    tables: {},
    settings: { ...DEFAULT_SETTINGS, noMatch },
    roles,
  };
  return assemblePolicy(sources);
};

const compiled = (holder: Holder): CompiledPolicy =>
  compilePolicy({ policyId: 'test', ...assembled(holder) });

const facts = { clientId: 'c', username: 'u', listener: 'tcp:default' };

type Asked = Exclude<Action, 'unsubscribe'>;

function ask(policy: CompiledPolicy, action: Asked, topic: string): Decision {
  if (action !== 'subscribe') return check(policy, facts, action, levelsOf(topic), topic);
  const filter = parseTopicFilter(topic);
  if (!filter.ok) throw new Error(`${topic}: ${filter.problem}`);
  return checkSubscribe(policy, facts, filter.value);
}

const allows = (holder: Holder, action: Asked, topic: string): boolean =>
  ask(compiled(holder), action, topic).allowed;

describe('operations', () => {
  test.each([
    ['read', false, true, true],
    ['write', true, false, false],
    ['readWrite', true, true, true],
  ] as const)(
    '%s: publish %s, subscribe %s, receive %s',
    (operation, publish, subscribe, receive) => {
      for (const holder of [
        { roles: [role('r', permission('p', operation, 'a/+'))] },
        { access: { permissions: [permission('p', operation, 'a/+')] } },
      ]) {
        expect(allows(holder, 'publish', 'a/b')).toBe(publish);
        expect(allows(holder, 'subscribe', 'a/b')).toBe(subscribe);
        expect(allows(holder, 'receive', 'a/b')).toBe(receive);
      }
    },
  );

  test.each(['publish', 'subscribe', 'receive'] as const)(
    'http says nothing about %s',
    (action) => {
      const roles = [role('r', permission('p', 'readWrite', '/#', 'http'))];
      expect(allows({ roles }, action, '/a')).toBe(false);
    },
  );
});

// The table of Cybus' documents: read permissions, what is subscribed to, and whether it is granted.
const reads: readonly (readonly [readonly string[], readonly string[], boolean])[] = [
  [['a/b'], ['a/b'], true],
  [['a/b'], ['a/#', 'a/+', '#'], false],
  [['a/+'], ['a/b', 'a/+'], true],
  [['a/+'], ['a/#', 'a/b/c'], false],
  [['a/#'], ['a', 'a/b', 'a/+/c', 'a/#'], true],
  [['#'], ['a', '+', '#', 'a/#', '/', '+/b'], true],
  [['#'], ['$SYS/#', '$SYS/x'], false],
  [['a/b', 'a/c'], ['a/+'], false],
  [['a', 'a/+/#'], ['a/#'], true],
];

describe.each(reads)('read on %j', (resources, filters, granted) => {
  const permissions = resources.map((resource, index) => permission(`p${index}`, 'read', resource));

  test.each(filters)(`SUBSCRIBE %s: ${granted}`, (filter) => {
    expect(allows({ roles: [role('r', ...permissions)] }, 'subscribe', filter)).toBe(granted);
    expect(allows({ access: { permissions } }, 'subscribe', filter)).toBe(granted);
    // One permission a role: what roles grant is added up.
    const roles = permissions.map((one, index) => role(`r${index}`, one));
    expect(allows({ roles }, 'subscribe', filter)).toBe(granted);
  });

  test('a subscription that is granted needs no check at delivery', () => {
    const policy = compiled({ roles: [role('r', ...permissions)] });
    for (const filter of granted ? filters : []) {
      expect(ask(policy, 'subscribe', filter)).toMatchObject({ checkDeliveries: false });
    }
  });
});

describe('the authority', () => {
  test('names the role and the permission that decided, or the credential and its own', () => {
    const policy = compiled({
      roles: [role('r1', permission('p1', 'write', 'a'), permission('p2', 'write', 'b'))],
      access: { permissions: [permission('p3', 'read', 'c')], roles: ['r1'] },
    });
    expect(ask(policy, 'publish', 'b').ruleId).toBe('role:r1/p2');
    expect(ask(policy, 'subscribe', 'c').ruleId).toBe('credential:c1/permission/p3');
    expect(ask(policy, 'publish', 'c').ruleId).toBe('default');
  });

  test('is closed: without a permission nothing is granted, whatever the default', () => {
    for (const action of ['publish', 'subscribe', 'receive'] as const) {
      expect(allows({ noMatch: 'allow' }, action, 'a')).toBe(false);
    }
  });

  test('a role that is not given, or not named, grants nothing', () => {
    const wide = role('r', permission('p', 'readWrite', '#'));
    expect(allows({ access: { roles: ['r'] } }, 'publish', 'a')).toBe(false);
    expect(allows({ access: { roles: ['other'] }, roles: [wide] }, 'publish', 'a')).toBe(false);
  });

  test('reserved topics need a permission that says $, and are never published to', () => {
    const roles = [role('r', permission('p', 'readWrite', '$SYS/#'))];
    expect(allows({ roles }, 'subscribe', '$SYS/#')).toBe(true);
    expect(allows({ roles }, 'publish', '$SYS/x')).toBe(false);
  });
});

describe('sharing', () => {
  const [one, two] = [
    role('r1', permission('p', 'read', 'a')),
    role('r2', permission('p', 'read', 'b')),
  ] as const;
  const text = (holder: Holder): string => canonicalPolicyText(assembled(holder));

  test('the same roles in any order are one policy, whoever has them', () => {
    expect(text({ id: 'c1', roles: [one, two] })).toBe(text({ id: 'c2', roles: [two, one] }));
    expect(text({ roles: [one] })).not.toBe(text({ roles: [two] }));
  });

  test('permissions of their own, and another prefix, are another policy; an empty prefix is none', () => {
    const own = { access: { permissions: [permission('p', 'read', 'a')] } };
    expect(text({ id: 'c1', ...own })).not.toBe(text({ id: 'c2', ...own }));
    const plain = text({ roles: [one] });
    const prefixed = (publishPrefix: string) =>
      text({ roles: [one], access: { roles: ['r1'], publishPrefix } });
    expect(prefixed('')).toBe(plain);
    expect(prefixed('p/')).not.toBe(plain);
    expect(prefixed('p/')).not.toBe(prefixed('q/'));
  });
});

test('as many rules as a credential with roles can have are a policy', () => {
  const rules = (CREDENTIAL_ROLES_MAX + 1) * PERMISSIONS_MAX + 3 * ACL_RULES_MAX;
  expect(rules).toBeLessThanOrEqual(POLICY_RULES_MAX);
});

describe('the publish prefix', () => {
  const published = (publishPrefix: string, topic: string): string | undefined =>
    publishedTopic(compiled({ access: { publishPrefix } }), topic);

  test.each([
    ['', 'a/b', 'a/b'],
    ['topicA/', 'some/values', 'topicA/some/values'],
    ['topicA', 'some/values', 'topicAsome/values'],
    ['p/', '$SYS/x', 'p/$SYS/x'],
    ['p/', '/', 'p//'],
    ['p/', '__proto__', 'p/__proto__'],
  ])('%j before %s is %s', (prefix, topic, expected) => {
    expect(published(prefix, topic)).toBe(expected);
  });

  test('what becomes longer or deeper than a topic may be is no topic; at the limit it is one', () => {
    expect(published('ü'.repeat(511), 'xx')).toHaveLength(513);
    expect(published('ü'.repeat(511), 'xxx')).toBeUndefined();
    expect(published('/'.repeat(16), '/'.repeat(15))).toHaveLength(31);
    expect(published('/'.repeat(16), '/'.repeat(16))).toBeUndefined();
  });

  test('permissions judge what is published, not what the client named', () => {
    const policy = compiled({
      roles: [role('r', permission('p', 'write', '+/some/values'))],
      access: { roles: ['r'], publishPrefix: 'topicA/' },
    });
    expect(ask(policy, 'publish', publishedTopic(policy, 'some/values') ?? '').allowed).toBe(true);
    expect(ask(policy, 'publish', publishedTopic(policy, 'x/some/values') ?? '').allowed).toBe(
      false,
    );
  });

  test('a superuser has one too', () => {
    const policy = compiled({ superuser: true, access: { publishPrefix: 'p/' } });
    expect(publishedTopic(policy, 'x')).toBe('p/x');
  });
});
