import { type AclTable, DEFAULT_SETTINGS } from '@sallyport/domain';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { assemblePolicy, canonicalPolicyText, type PolicySources } from './assemble.ts';
import type { PolicySpec, RuleSpec } from './policy-spec.ts';

const settings = DEFAULT_SETTINGS;

const facts = { clientId: 'pump', listener: 'tcp:default' };

const credential = (
  access: PolicySources['credential']['access'],
  id = 'c1',
): PolicySources['credential'] => ({ id, store: 'native', access, superuser: false });

const table = (target: AclTable['target'], ...rules: AclTable['rules']): AclTable => ({
  target,
  rules,
  ruleRevisions: rules.map(() => 1),
  updatedAt: 0,
  updatedRevision: 1,
});

const row = (
  ruleId: string,
  action: 'publish' | 'subscribe' | 'all',
  topicFilter: string,
): AclTable['rules'][number] => ({ ruleId, effect: 'allow', action, topicFilter });

describe('assembling', () => {
  test('a closed authority stays even without rules, because it denies', () => {
    const access = { kind: 'patterns', publish: [], subscribe: [] } as const;
    expect(assemblePolicy({ facts, credential: credential(access), tables: {}, settings })).toEqual(
      {
        superuser: false,
        authorities: [{ name: 'credential', rules: [], noMatch: 'deny' }],
        noMatch: 'deny',
        denyAction: 'disconnect',
        applyMode: 'pinned',
      },
    );
  });

  test.each([
    ['patterns', { kind: 'patterns', publish: [], subscribe: [] }, 'native', 'pinned'],
    ['mapping', { kind: 'mapping', entries: [] }, 'native', 'pinned'],
    ['groups', { kind: 'groups' }, 'clients', 'pinned'],
    ['no restriction in the store tbmq', { kind: 'unrestricted' }, 'tbmq', 'pinned'],
    ['no restriction', { kind: 'unrestricted' }, 'native', undefined],
    ['ACL tables', { kind: 'acl' }, 'emqx', undefined],
    ['roles', { kind: 'roles', roles: [], permissions: [] }, 'cybus', undefined],
    [
      'patterns that say so',
      { kind: 'patterns', publish: [], subscribe: [], apply: 'live' },
      'native',
      undefined,
    ],
    ['groups that say so', { kind: 'groups', apply: 'kick' }, 'clients', 'kick'],
    ['ACL tables that say so', { kind: 'acl', apply: 'pinned' }, 'emqx', 'pinned'],
    ['what says so in the store tbmq', { kind: 'unrestricted', apply: 'live' }, 'tbmq', undefined],
  ] as const)('C3: access by %s is bound to the session, or is not', (_, access, store, mode) => {
    const one = { ...credential(access), store };
    const assembled = assemblePolicy({ facts, credential: one, tables: {}, settings });
    expect(assembled.applyMode).toBe(mode);
  });

  test('authorities that would say nothing are left out', () => {
    const sources = { facts, credential: credential({ kind: 'acl' }), tables: {}, settings };
    expect(assemblePolicy(sources).authorities).toEqual([]);
  });

  test('patterns become one rule each, subscribe patterns for deliveries too', () => {
    const access = { kind: 'patterns', publish: ['p'], subscribe: ['s', 't'] } as const;
    const { authorities } = assemblePolicy({
      facts,
      credential: credential(access),
      tables: {},
      settings,
    });
    const rules = authorities[0]?.rules ?? [];
    expect(rules.map((one) => [one.ruleId, one.actions])).toEqual([
      ['credential:c1/publish/0', ['publish']],
      ['credential:c1/subscribe/0', ['subscribe', 'receive']],
      ['credential:c1/subscribe/1', ['subscribe', 'receive']],
    ]);
  });

  test('tables come in the order client id, username, everyone, with the object in the rule id', () => {
    const tables = {
      everyone: table({ kind: 'everyone' }, row('r3', 'all', 'e')),
      username: table({ kind: 'username', name: 'u' }, row('r2', 'publish', 'u')),
      client: table({ kind: 'client', name: 'c' }, row('r1', 'subscribe', 'c')),
    };
    const { authorities } = assemblePolicy({
      facts,
      credential: credential({ kind: 'acl' }),
      tables,
      settings,
    });
    expect(authorities).toMatchObject([{ name: 'acl', noMatch: 'abstain' }]);
    expect(authorities[0]?.rules.map((one) => [one.ruleId, one.actions])).toEqual([
      ['acl:client:c/r1', ['subscribe', 'receive']],
      ['acl:username:u/r2', ['publish']],
      ['acl:everyone/r3', ['publish', 'subscribe', 'receive']],
    ]);
  });

  test('credentials with the same rules share one policy', () => {
    const tables = { everyone: table({ kind: 'everyone' }, row('r', 'all', 'd/${clientid}')) };
    for (const access of [{ kind: 'acl' }, { kind: 'unrestricted' }] as const) {
      const texts = ['c1', 'c2'].map((id) =>
        canonicalPolicyText(
          assemblePolicy({ facts, credential: credential(access, id), tables, settings }),
        ),
      );
      expect(texts[0]).toBe(texts[1]);
    }
  });
});

describe('the canonical text', () => {
  const rule: RuleSpec = {
    ruleId: 'r',
    effect: 'allow',
    actions: ['publish', 'receive'],
    matcher: { kind: 'filter', filter: 'a' },
  };
  const spec = (
    changes: Partial<PolicySpec> = {},
    ruleChanges: Partial<RuleSpec> = {},
  ): PolicySpec => ({
    policyId: 'x',
    superuser: false,
    authorities: [{ name: 'acl', rules: [{ ...rule, ...ruleChanges }], noMatch: 'abstain' }],
    noMatch: 'deny',
    denyAction: 'ignore',
    ...changes,
  });

  test('does not depend on the policy id, the order of keys or of actions', () => {
    const { policyId: _, ...rest } = spec();
    const text = canonicalPolicyText(spec());
    expect(canonicalPolicyText({ ...rest })).toBe(text);
    expect(canonicalPolicyText(spec({ policyId: 'y' }))).toBe(text);
    expect(canonicalPolicyText(spec({}, { actions: ['receive', 'publish'] }))).toBe(text);
  });

  test('differs whenever something that decides differs', () => {
    const variants = [
      spec(),
      spec({ superuser: true }),
      spec({ noMatch: 'allow' }),
      spec({ denyAction: 'disconnect' }),
      spec({ authorities: [] }),
      spec({ authorities: [{ name: 'acl', rules: [], noMatch: 'deny' }] }),
      spec({ authorities: [{ name: 'acl', rules: [rule, rule], noMatch: 'abstain' }] }),
      spec({}, { ruleId: 's' }),
      spec({}, { effect: 'deny' }),
      spec({}, { actions: ['publish'] }),
      spec({}, { matcher: { kind: 'filter', filter: 'b' } }),
      spec({}, { matcher: { kind: 'pattern', pattern: 'a' } }),
      spec({}, { matcher: { kind: 'any' } }),
    ];
    expect(new Set(variants.map((one) => canonicalPolicyText(one))).size).toBe(variants.length);
  });

  test('is injective for texts that look like its own syntax', () => {
    const text = fc.string({ unit: fc.constantFrom('"', ',', '[', ']', 'a', '\\') });
    fc.assert(
      fc.property(text, text, text, text, (idA, filterA, idB, filterB) => {
        const of = (ruleId: string, filter: string): string =>
          canonicalPolicyText(spec({}, { ruleId, matcher: { kind: 'filter', filter } }));
        expect(of(idA, filterA) === of(idB, filterB)).toBe(idA === idB && filterA === filterB);
      }),
    );
  });
});
