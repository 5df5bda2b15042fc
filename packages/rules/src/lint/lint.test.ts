import type { AclRule, AclTarget, DynsecAcl, DynsecAclType } from '@sallyport/domain';
import { DEFAULT_SETTINGS } from '@sallyport/domain';
import { describe, expect, test } from 'vitest';
import type { Action, Matcher, RuleSpec } from '../policy-spec.ts';
import { dynsecAuthority } from '../dynsec-authority.ts';
import {
  compareRandomConnectionLint,
  compareRandomLint,
  compareRandomWorldLint,
} from '../testing/compare-lint.ts';
import type { LintAuthority } from './authorities.ts';
import { LINT_NAMES_MAX, LINT_ROWS_MAX, type LintCode, type LintList, lintRules } from './lint.ts';
import {
  followingRows,
  lintAclTable,
  lintDynsecRole,
  lintGroup,
  lintPolicy,
  lintRole,
} from './lists.ts';
import { mappingRules } from './mapping.ts';
import type { KnownFacts } from './rows.ts';

/** `npm run bench -- rules --random 100000` asks as many. */
const RANDOM_POLICIES = 2000;
const RANDOM_WORLDS = 700;

const ALL: readonly Action[] = ['publish', 'subscribe', 'receive'];
const READ: readonly Action[] = ['subscribe', 'receive'];

/** `allow a/#`; a text in quotes is a literal, one between slashes a pattern, `*` is everything. */
function ruleOf(text: string, index: number, more: Partial<RuleSpec> = {}): RuleSpec {
  const [effect = '', topic = ''] = text.split(' ');
  const quoted = /^'(.*)'$/.exec(topic)?.[1];
  const pattern = /^~(.*)$/.exec(topic)?.[1];
  const matcher: Matcher =
    topic === '*'
      ? { kind: 'any' }
      : quoted !== undefined
        ? { kind: 'literal', text: quoted }
        : pattern !== undefined
          ? { kind: 'pattern', pattern }
          : { kind: 'filter', filter: topic };
  return {
    ...{
      ruleId: String(index),
      effect: effect === 'deny' ? 'deny' : 'allow',
      actions: ALL,
      matcher,
    },
    ...more,
  };
}

type Written = string | readonly [string, Partial<RuleSpec>];

function listOf(rows: readonly Written[], more: Partial<LintList> = {}): LintList {
  const rules = rows.map((row, index) =>
    typeof row === 'string' ? ruleOf(row, index) : ruleOf(row[0], index, row[1]),
  );
  return { rules, noMatch: 'abstain', subscribeByText: true, ...more };
}

/** `<position> <code> <by>`, with a question mark where the rule may not be removed. */
const found = (rows: readonly Written[], more?: Partial<LintList>, known?: KnownFacts) =>
  lintRules(listOf(rows, more), known).findings.map(({ position, code, removable, by }) =>
    [position, removable ? code : `${code}?`, ...by].join(' '),
  );

describe('what is left alone', () => {
  test.each<readonly Written[]>([
    [],
    ['allow a', 'allow b'],
    ['allow a/b', 'deny a/#'],
    ['deny a/+', 'allow a/+/c', 'allow a'],
    // A wildcard at the front does not match what starts with `$`.
    ['allow #', ['allow $SYS/#', { actions: READ }]],
    ['deny +/x', ['deny $s/x', { actions: READ }]],
    ['allow *', 'deny *'],
    // The client may be called `$s`, or nothing that a level can be.
    ['deny +/x', 'deny ${clientid}/x'],
    ['allow ${clientid}/x', 'deny ${clientid}/x'],
    ['allow a/${clientid}', 'allow a/${username}'],
    ['deny a/b', 'allow a/${clientid}'],
    ['allow a/${clientid}', 'allow a/b'],
    // Patterns are compared as texts.
    ['allow ~.*', 'allow a/b'],
    ['allow ~a/.*', 'allow ~a/[b]'],
    ['allow a/#', 'allow ~a/b'],
    ['deny ~a/#', ['allow ~a/#', { actions: ['receive'] }]],
    ['allow ~a', 'deny ~a'],
    // Each of them is about something else.
    [
      ['allow a', { actions: ['publish'] }],
      ['deny a', { actions: READ }],
    ],
    [['allow a', { actions: ['publish'] }], 'deny a'],
    [['allow a', { when: { qos: [0, 1] } }], 'deny a'],
    [
      ['allow a', { when: { retain: false } }],
      ['deny a', { actions: ['publish'] }],
    ],
    [
      ['allow a/#', { actions: ['unsubscribe'], when: { shared: true } }],
      ['deny a/#', { actions: ['unsubscribe'] }],
    ],
    // The parent level is no part of `a/+/#`.
    ['allow a/+/#', 'deny a/#'],
    // An UNSUBSCRIBE asks each rule alone.
    [
      ['allow a', { actions: ['unsubscribe'] }],
      ['allow a/+/#', { actions: ['unsubscribe'] }],
      ['deny a/#', { actions: ['unsubscribe'] }],
    ],
    // A literal with wildcards is a text that is subscribed to, not its topics.
    ["allow 'a/#'", 'deny a/b'],
    ["allow 'a/${clientid}'", 'allow a/${clientid}'],
    [
      ["allow 'a/#'", { actions: ['subscribe'] }],
      ["deny 'b/#'", { actions: ['subscribe'] }],
    ],
    // Beyond the longest of them there are more topics.
    ['allow a', 'allow a/+', 'deny a/#'],
    // Of one level, or of no level that begins with `$`.
    ['allow +', 'allow ~x'],
    ['allow #', ['deny ~.*', { actions: READ }]],
    // What is said in between is said otherwise.
    ['allow a/b', 'deny a/+', 'allow a/#'],
    ['allow a/b', 'deny a/#', 'allow #'],
    [['allow a/#', { when: { qos: [0] } }], 'deny a/b', 'allow #'],
    ['allow a/b', 'deny ~a/.*', 'allow a/#'],
    // A line may end in one of them.
    ['allow ~a/.*', 'allow ~a/\\n.*'],
    ['deny ~a/.*', ['allow ~a/#', { actions: ['receive'] }]],
    ['allow ~a/.*', ['allow ~a/#', { actions: ['receive'] }]],
    ['allow ~a/.*', 'allow ~[ab]'],
  ])('%j', (...rows) => {
    expect(found(rows)).toEqual([]);
  });
});

describe('what never decides', () => {
  test.each<readonly [string, ...Written[]]>([
    ['1 duplicate 0', 'allow a/#', 'allow a/#'],
    ['1 shadowed 0', 'deny a/#', 'allow a/#'],
    ['1 shadowed 0', 'allow a/#', 'deny a'],
    ['1 shadowed 0', 'allow #', 'deny a/b'],
    ['1 shadowed 0', 'allow +/#', 'deny #'],
    ['1 shadowed 0', 'deny *', ['allow $SYS/#', { actions: READ }]],
    ['1 shadowed 0', 'deny *', 'allow ~a/.*'],
    ['1 shadowed 0', 'allow #', 'allow ~a/.*'],
    ['1 shadowed 0', 'deny #', 'allow *'],
    ['1 shadowed 0', ['allow #', { actions: ['publish'] }], ['deny *', { actions: ['publish'] }]],
    ['1 duplicate 0', 'allow ~a/.*', 'allow ~a/.*'],
    ['1 shadowed 0', 'deny ~a', 'allow ~a'],
    ['1 shadowed 0', 'allow ~a/.*', 'allow ~a/b'],
    ['1 shadowed 0', 'allow ~a/.*', 'allow ~a/b/.*'],
    ['1 shadowed 0', 'allow ~.*', 'allow ~\\Qa.b\\E'],
    ['1 shadowed 0', 'allow /+/#', 'deny /#'],
    ['1 shadowed 0', 'allow a', ['allow a', { when: { qos: [1] } }]],
    [
      '1 shadowed 0',
      ["allow 'a/#'", { actions: ['receive'] }],
      ['deny a/b', { actions: ['receive'] }],
    ],
    [
      '1 shadowed 0',
      ['allow a', { actions: ['unsubscribe'], when: { qos: [0] } }],
      ['deny a', { actions: ['unsubscribe'], when: { qos: [1] } }],
    ],
    ['1 shadowed 0', 'allow $s/#', ['deny $s/+', { actions: READ }]],
    ['1 shadowed 0', 'deny a/${clientid}', 'allow a/${clientid}'],
    ['1 shadowed 0', 'allow a/+', 'deny a/${clientid}'],
    ['1 shadowed 0', 'allow +/x', 'allow ${clientid}/x'],
    ['1 shadowed 0', "allow 'a/b'", 'deny a/b'],
    ['1 shadowed 0', 'allow a/#', ["deny 'a/+'", { actions: ['subscribe'] }]],
    ['1 duplicate 0', "allow 'a/#'", "allow 'a/#'"],
    ['1 shadowed 0', ['allow a', { when: { qos: [0, 1] } }], ['deny a', { when: { qos: [1] } }]],
    [
      '2 shadowed 0 1',
      ['allow a', { actions: ['publish'] }],
      ['deny a', { actions: READ }],
      'deny a',
    ],
    [
      '2 shadowed 0 1',
      ['allow a', { when: { qos: [0] } }],
      ['allow +', { when: { qos: [1, 2] } }],
      'deny a',
    ],
    // Nothing but the parent level and what is below it.
    ['2 shadowed 0 1', 'allow a', 'allow a/+/#', 'deny a/#'],
    ['2 shadowed 0', 'allow #', 'allow $s/#', 'deny a/b'],
    [
      '1 shadowed 0',
      ['allow a/#', { actions: ['unsubscribe'] }],
      ['deny a/+', { actions: ['unsubscribe'] }],
    ],
  ])('%s', (finding, ...rows) => {
    const findings = found(rows);
    expect(findings).toContain(finding);
  });

  test('names what is in the way, the first of them', () => {
    const rows = Array.from({ length: LINT_NAMES_MAX + 1 }, (_, index) => {
      const levels = Array.from({ length: index + 1 }, () => '+').join('/');
      return `allow ${levels}`;
    });
    const [last] = lintRules(
      listOf([...rows, `allow ${'+/'.repeat(LINT_NAMES_MAX)}+/#`, 'deny #']),
    ).findings.slice(-1);
    expect(last).toMatchObject({ code: 'shadowed', position: LINT_NAMES_MAX + 2 });
    expect(last?.by).toHaveLength(LINT_NAMES_MAX);
  });
});

describe('what decides and could as well not', () => {
  test.each<readonly [string, ...Written[]]>([
    ['0 redundant 1', 'allow a/b', 'allow a/#'],
    ['0 redundant 2', 'deny a/b', 'allow x/#', 'deny a/+'],
    ['0 redundant 2', 'deny a/b', ['allow $s/#', { actions: READ }], 'deny #'],
    [
      '0 redundant 1 2',
      'allow a/b',
      ['allow a/#', { actions: ['publish'] }],
      ['allow #', { actions: READ }],
    ],
    [
      '0 redundant 2',
      ['deny a/b', { actions: ['publish'] }],
      ['allow a/+', { actions: READ }],
      'deny a/#',
    ],
    ['0 redundant 1', 'allow ~a/b', 'allow ~a/b.*'],
    // Both that are reserved, and others that are not.
    [
      '0 redundant 2',
      ['deny +/b', { actions: READ }],
      ['allow $s/#', { actions: READ }],
      ['deny +/#', { actions: READ }],
    ],
    [
      '0 redundant 2',
      ['allow $s/b', { actions: READ }],
      ['deny +/#', { actions: READ }],
      ['allow $s/#', { actions: READ }],
    ],
    ['0 redundant 2', 'allow a/b', 'deny a/b/c', 'allow a/#'],
    [
      '0 redundant 2',
      ["allow 'a/+'", { actions: ['subscribe'] }],
      ["deny 'a/#'", { actions: ['subscribe'] }],
      ['allow a/#', { actions: ['subscribe'] }],
    ],
    [
      '0 redundant 2',
      ['allow a/b', { when: { qos: [0] } }],
      ['deny a/+', { when: { qos: [1] } }],
      ['allow a/#', { when: { qos: [0] } }],
    ],
    // The last goes, and does not stand in for what it needs.
    ['2 shadowed 0 1', 'allow a', 'allow a/+/#', 'allow a/#'],
  ])('%s', (finding, ...rows) => {
    expect(found(rows)).toEqual([finding]);
  });

  test('a deny rule of a list that allows nothing of it anyway', () => {
    expect(found(['deny a', 'deny a'], { noMatch: 'deny' })).toEqual([
      '0 needless',
      '1 duplicate 0',
    ]);
    const rows = ['deny a/#', 'deny b/c', 'allow b/+'];
    expect(found(rows, { noMatch: 'deny' })).toEqual(['0 needless']);
    expect(found(rows)).toEqual([]);
    const ended: Written = ['deny a/#', { actions: ['unsubscribe'] }];
    expect(found([ended], { noMatch: 'deny' })).toEqual([]);
  });
});

describe('what counts although it never decides', () => {
  const containment = { subscribeByText: undefined } as unknown as Partial<LintList>;

  test('an allow rule behind a deny rule, where a subscription can be granted in part', () => {
    const rows = ['deny a', 'allow a', 'allow a/+/#'];
    expect(found(rows)).toEqual(['1 shadowed 0']);
    expect(found(rows, containment)).toEqual(['1 in_part? 0']);
    expect(found(['deny a/#', 'allow a/b'], containment)).toEqual(['1 shadowed 0']);
    expect(found(['deny a/#', 'allow a/b'], { ...containment, preceded: true })).toEqual([
      '1 in_part? 0',
    ]);
    expect(found(['allow a/b', 'deny a/+', 'allow a/+'], containment)).toEqual(['2 in_part? 1']);
    expect(found(['allow a/c', 'deny a/#', 'allow a/+'], containment)).toEqual(['2 in_part? 1']);
    const text: Written = ["allow 'a/+'", { actions: ['subscribe'] }];
    expect(found(['deny a/+', text], containment)).toEqual(['1 shadowed 0']);
    expect(found(['deny a/+', 'allow a/+', 'allow #'], containment)).toEqual(['1 shadowed 0']);
    expect(found(['deny $s/#', ['allow $s/b', { actions: READ }]], containment)).toEqual([
      '1 in_part? 0',
    ]);
  });
});

describe('what matches nothing, or less than it says', () => {
  test('topics that start with `$`', () => {
    const publish = { actions: ['publish'] } as const;
    expect(
      found([
        ['allow $SYS/#', publish],
        ['deny $SYS/#', publish],
      ]),
    ).toEqual(['0 guarded', '1 guarded']);
    expect(found(['allow $SYS/#'])).toEqual(['0 guarded?']);
    expect(found(['deny $SYS/#', 'deny ${$}SYS/#', 'deny ~\\$x/.*'])).toEqual([]);
    expect(found(['allow ~\\$?a', 'allow ~\\$b|a'])).toEqual([]);
    expect(found(['allow ${$}SYS/#', 'allow ~\\$SYS/.*', 'allow ~\\$?a|b'])).toEqual([
      '0 guarded',
      '1 guarded',
    ]);
  });

  test('placeholders that have no value for anybody', () => {
    const rows = ['allow a/${clientid}', 'deny b/${username}', 'allow c/${client_attrs.site}'];
    expect(found(rows)).toEqual([]);
    expect(found(rows, {}, { clientId: 'a/b', username: null, attributes: { Site: 'x' } })).toEqual(
      ['0 unfillable', '1 unfillable?', '2 unfillable'],
    );
    const filled = { clientId: 'a', username: 'b', attributes: { site: 'x' } };
    expect(found(rows, {}, filled)).toEqual([]);
    expect(found(['allow ${cert_common_name}'], {}, { commonName: null })).toEqual([
      '0 unfillable',
    ]);
    expect(found(['allow x-${client_attrs.__proto__}'], {}, { attributes: {} })).toEqual([
      '0 unfillable',
    ]);
  });

  test('literals with wildcards, for topics', () => {
    expect(found([["allow 'a/#'", { actions: ['publish'] }]])).toEqual(['0 no_topic']);
    expect(found([["deny 'a/#'", { actions: ['publish', 'receive'] }]])).toEqual(['0 no_topic']);
    expect(found([["allow 'a/#'", { actions: ['receive'] }], "deny 'a/#'"])).toEqual([]);
  });
});

describe('limits', () => {
  test('as many rules as are looked at, and one more that is not', () => {
    const rows = Array.from({ length: LINT_ROWS_MAX - 1 }, (_, index) => `allow a/${index}`);
    expect(lintRules(listOf([...rows, 'deny a/0']))).toMatchObject({
      examined: LINT_ROWS_MAX,
      findings: [{ position: LINT_ROWS_MAX - 1, code: 'shadowed', by: ['0'] }],
    });
    expect(lintRules(listOf([...rows, 'allow b', 'deny a/0']))).toEqual({
      rules: LINT_ROWS_MAX + 1,
      examined: LINT_ROWS_MAX,
      findings: [],
    });
  });

  test('a deny rule is needed where not all that may allow it is looked at', () => {
    const rows = ['deny a', ...Array.from({ length: LINT_ROWS_MAX - 1 }, () => 'allow b')];
    const first = (list: readonly Written[]) => found(list, { noMatch: 'deny' })[0];
    expect(first(rows)).toBe('0 needless');
    expect(first([...rows, 'allow a'])).toBe('2 duplicate 1');
  });

  test('a rule that cannot be understood is an error', () => {
    expect(() => lintRules(listOf(['allow a#']))).toThrow('rule 0');
  });
});

describe('objects', () => {
  const row = (members: Partial<AclRule>, index: number): AclRule => ({
    ...{ ruleId: `r${index}`, effect: 'allow', action: 'all', topicFilter: 'a' },
    ...members,
  });
  const tableFindings = (target: AclTarget, rows: readonly Partial<AclRule>[], match = 'text') =>
    lintAclTable(
      { target, rules: rows.map(row) },
      { aclSubscribeMatch: match === 'text' ? 'text' : 'containment' },
    ).findings.map(({ ruleId, code, by }) => [ruleId, code, ...by].join(' '));
  const everyone = { kind: 'everyone' } as const;

  test('rows of a table are compared with what they ask of the connection', () => {
    const deny = 'deny' as const;
    const left: readonly (readonly [Partial<AclRule>, Partial<AclRule>])[] = [
      [{ listener: 'a' }, { effect: deny }],
      [{ listener: 'a' }, { effect: deny, listener: 'b' }],
      [{ source: '10.0.0.0/8' }, { effect: deny, source: '0.0.0.0/0' }],
      [{ source: '10.0.0.0/8' }, { source: '::/0' }],
      [{ source: '::/0' }, { source: '10.0.0.0/8' }],
      [{ source: '10.0.0.0/16' }, { source: '10.0.0.0/8' }],
      [{ source: '10.0.0.0/8' }, { source: '11.1.0.0/16' }],
      [{ source: '10.0.0.0/8' }, {}],
      // Of an address that is not known the one holds and the other does not.
      [{ source: '10.0.0.0/8' }, { effect: deny, source: '10.1.0.0/16' }],
      [{ clientIdPattern: '^a' }, { clientIdPattern: '^ab' }],
      [{ usernamePattern: '^a' }, {}],
      [{ zone: 'a' }, { effect: deny }],
      [{ zonePattern: '^a' }, { effect: deny, zone: 'a' }],
      [{ listenerPattern: '^a' }, { effect: deny, listener: 'a' }],
    ];
    for (const pair of left) {
      expect(tableFindings(everyone, pair).filter((one) => one.includes('/r1 '))).toEqual([]);
    }
    const taken: readonly (readonly [Partial<AclRule>, Partial<AclRule>])[] = [
      [{}, { effect: deny, listener: 'a' }],
      [{ listener: 'a' }, { effect: deny, listener: 'a' }],
      [{ source: '10.0.0.0/8' }, { source: '10.1.0.0/16' }],
      [{ effect: deny, source: '10.0.0.0/8' }, { source: '10.1.2.3' }],
      [{ clientIdPattern: '^a' }, { effect: deny, clientIdPattern: '^a', listener: 'x' }],
      [{ zone: 'a' }, { effect: deny, zone: 'a', zonePattern: '^a' }],
    ];
    for (const pair of taken) {
      expect(tableFindings(everyone, pair)).toEqual(['acl:everyone/r1 shadowed acl:everyone/r0']);
    }
  });

  test('a table knows the name that it is for', () => {
    const rows = [{ topicFilter: 'a/${clientid}' }, { topicFilter: 'b/${username}' }];
    expect(tableFindings({ kind: 'client', name: 'a/b' }, rows)).toEqual([
      'acl:client:a/b/r0 unfillable',
    ]);
    expect(tableFindings({ kind: 'username', name: 'a+' }, rows)).toEqual([
      'acl:username:a+/r1 unfillable',
    ]);
    expect(tableFindings(everyone, rows)).toEqual([]);
  });

  test('only the table of a client id is sure to have nothing before it', () => {
    const rows = [{ effect: 'deny', topicFilter: 'a/#' }, { topicFilter: 'a/b' }] as const;
    const client = { kind: 'client', name: 'c' } as const;
    expect(tableFindings(client, rows, 'containment')).toEqual([
      'acl:client:c/r1 shadowed acl:client:c/r0',
    ]);
    expect(tableFindings(everyone, rows, 'containment')).toEqual([
      'acl:everyone/r1 in_part acl:everyone/r0',
    ]);
    expect(DEFAULT_SETTINGS.aclSubscribeMatch).toBe('text');
    expect(tableFindings(everyone, rows)).toEqual(['acl:everyone/r1 shadowed acl:everyone/r0']);
  });

  test('rows of a username are followed by those for everyone, and by nothing else', () => {
    const behind = (target: AclTarget, own: readonly Partial<AclRule>[]) => {
      const table = { target: everyone, rules: EVERYONE.map(row) };
      const settings = { aclSubscribeMatch: 'text' } as const;
      const { findings, rules, examined } = lintAclTable(
        { target, rules: own.map(row) },
        settings,
        followingRows(table),
      );
      expect([rules, examined]).toEqual([own.length, own.length]);
      return findings.map(({ position, code, by }) => [position, code, ...by].join(' '));
    };
    const EVERYONE: readonly Partial<AclRule>[] = [
      { topicFilter: 'a/#' },
      { topicFilter: 'b/c', effect: 'deny' },
      { topicFilter: 'b/#' },
    ];
    const user = { kind: 'username', name: 'u' } as const;
    const rows = [{ topicFilter: 'a/b' }, { topicFilter: 'b/+' }, { topicFilter: 'b/d' }];
    expect(behind(user, rows)).toEqual([
      '0 redundant acl:everyone/r0',
      '2 shadowed acl:username:u/r1',
    ]);
    // Between a table of a client id and that for everyone there may be one of a username.
    expect(behind({ kind: 'client', name: 'c' }, rows)).toEqual(['2 shadowed acl:client:c/r1']);
  });

  test('of a group deny rows come first, and of a role everything grants', () => {
    const group = {
      id: 'g',
      permissions: [
        { permission: 'allow', action: 'publish', topic: 'a/b' },
        { permission: 'deny', action: 'publish', topic: 'a/#' },
        { permission: 'allow', action: 'subscribe', topic: 'a/b' },
      ],
    } as const;
    expect(lintGroup(group).findings).toMatchObject([
      { code: 'shadowed', ruleId: 'group:g/0', by: ['group:g/1'] },
    ]);
    const permission = (id: string, operation: 'read' | 'readWrite', resource: string) =>
      ({ id, context: 'mqtt', operation, resource }) as const;
    const permissions = [
      permission('1', 'read', 'a/b'),
      permission('2', 'readWrite', 'a/+'),
      permission('3', 'readWrite', 'a/c'),
    ];
    expect(lintRole({ id: 'r', permissions }).findings).toMatchObject([
      { code: 'redundant', ruleId: 'role:r/1', by: ['role:r/2'] },
      { code: 'shadowed', ruleId: 'role:r/3', by: ['role:r/2'] },
    ]);
  });
});

describe('where one rule decides about a whole subscription', () => {
  const byRule = {
    subscribeByText: undefined,
    subscribeByRule: true,
  } as unknown as Partial<LintList>;
  const subscribe = { actions: ['subscribe'] } as const;

  test('several rules are not in the way together, and nothing is granted in part', () => {
    const pieces = ['allow a', 'allow a/+/#', 'deny a/#'];
    const asking = (actions: Partial<RuleSpec>, rows: readonly string[]): readonly Written[] =>
      rows.map((text) => [text, actions]);
    expect(found(pieces, byRule)).toEqual([]);
    expect(found(asking({ actions: ['publish'] }, pieces), byRule)).toEqual(['2 shadowed 0 1']);
    const same = asking(subscribe, ['allow a', 'allow a/+/#', 'allow a/#']);
    expect(found(same, byRule)).toEqual(['0 redundant 2', '1 redundant 2']);
    expect(found(['deny a/+', 'allow a/b', 'allow #'], byRule)).toEqual(['1 shadowed 0']);
    expect(found(['deny a', 'allow a', 'allow a/+/#'], byRule)).toEqual(['1 shadowed 0']);
  });

  test('rows of a role of dynamic security, by what is looked at first', () => {
    const acl = (aclType: DynsecAclType, topic: string, allow = true, priority = 0): DynsecAcl => ({
      ...{ aclType, topic, allow, priority },
    });
    const told = (acls: readonly DynsecAcl[], allowWildcardSubs = true) => {
      const report = lintDynsecRole({ kind: 'role', id: 'd', name: 'd', acls, allowWildcardSubs });
      expect([report.rules, report.examined]).toEqual([acls.length, acls.length]);
      return report.findings.map(({ position, code, topic, by }) =>
        [position, code, topic, ...by].join(' '),
      );
    };
    expect(
      told([
        acl('publishClientSend', 'a/%c'),
        acl('publishClientSend', 'a/+', false, 5),
        acl('publishClientReceive', 'a/+'),
      ]),
    ).toEqual(['0 shadowed a/%c dynsec-role:d/1']);
    // Literals come first, whatever their priority; each event has its own rows.
    const literal = acl('subscribeLiteral', 'a/#', false);
    expect(told([acl('subscribePattern', 'a/#', true, 9), literal])).toEqual([]);
    expect(told([acl('subscribePattern', 'a/#'), acl('unsubscribePattern', 'a/#')])).toEqual([]);
    // What the role says of wildcards is in the way of rows, and is none itself.
    expect(told([acl('subscribePattern', '#', false)], false)).toEqual([]);
    expect(told([acl('subscribeLiteral', 'a/#'), acl('subscribeLiteral', 'a/b')], false)).toEqual([
      '0 shadowed a/# dynsec-role:d/allowWildcardSubs',
    ]);
    expect(told([acl('subscribeLiteral', 'a/#')])).toEqual([]);
  });

  test('defaults of dynamic security are in the way of rows, and are none', () => {
    const role = { kind: 'role', id: 'd', name: 'd', allowWildcardSubs: false } as const;
    const send = { aclType: 'publishClientSend', topic: 'a', priority: 0, allow: true } as const;
    const access = { kind: 'dynsec', roles: [{ role: 'd', priority: 0 }], groups: [] } as const;
    const defaults = { ...DEFAULT_SETTINGS, dynsecPublishClientSend: 'allow' } as const;
    const authority = (acls: readonly DynsecAcl[]) => ({
      superuser: false,
      authorities: [dynsecAuthority(access, [{ ...role, acls }], defaults)],
    });
    const told = (acls: readonly DynsecAcl[]) =>
      lintPolicy(authority(acls), {}).findings.map(({ ruleId, code, by }) =>
        [ruleId, code, ...by].join(' '),
      );
    expect(told([send])).toEqual([
      'dynsec-role:d/0 redundant dynsec/default/dynsecPublishClientSend',
    ]);
    expect(told([{ ...send, topic: '#', allow: false }])).toEqual([]);
  });
});

describe('a mapping', () => {
  const told = (
    entries: readonly (readonly [key: string, ...subscribe: string[]])[],
    keywordPattern?: string,
  ) => {
    const rules = mappingRules('c', {
      ...(keywordPattern !== undefined && { keywordPattern }),
      entries: entries.map(([key, ...subscribe]) => ({ key, publish: ['p'], subscribe })),
    });
    return lintRules({ rules, noMatch: 'deny' })
      .findings.filter(({ actions }) => actions.includes('subscribe'))
      .map(({ ruleId, code, topic }) =>
        [ruleId.replace('credential:c/entries/', ''), code, topic].join(' '),
      );
  };

  test('patterns of an entry, as they are written', () => {
    expect(told([['x', 'a/.*', 'a/b', '${cn}/.*', '${cn}/.*', 'x/.*', '${clientId}/.*']])).toEqual([
      '0/subscribe/1 shadowed a/b',
      '0/subscribe/3 duplicate ${cn}/.*',
    ]);
    // A name may hold the end of a line, and what stands for it may be too long for the wider one.
    expect(told([['x', '.*', '${cn}']])).toEqual([]);
    expect(told([['x', '${cn}/.*', '${cn}/a']])).toEqual([]);
  });

  test('of two entries where one is found wherever the other is', () => {
    expect(
      told([
        ['ab', 'a/b'],
        ['b', 'a/.*'],
      ]),
    ).toEqual(['0/subscribe/0 redundant a/b']);
    expect(
      told([
        ['b', 'a/b'],
        ['ab', 'a/.*'],
      ]),
    ).toEqual([]);
    expect(
      told([
        ['ab', 'a/b'],
        ['.*', 'a/.*'],
      ]),
    ).toEqual(['0/subscribe/0 redundant a/b']);
    // Of expressions it is not known.
    expect(
      told([
        ['ab', 'a'],
        ['b$', 'a'],
      ]),
    ).toEqual([]);
    expect(
      told([
        ['a[b]', 'a'],
        ['b', 'a'],
      ]),
    ).toEqual([]);
    // One keyword selects one entry.
    expect(
      told(
        [
          ['ab', 'a'],
          ['b', 'a'],
        ],
        '(.*)',
      ),
    ).toEqual([]);
    expect(
      told(
        [
          ['ab', 'a', 'a'],
          ['b', 'a'],
        ],
        '(.*)',
      ),
    ).toEqual(['0/subscribe/1 duplicate a']);
  });
});

describe('beside another authority', () => {
  const closed = (...rows: Written[]): LintAuthority => ({
    ...listOf(rows, { noMatch: 'deny' }),
    name: 'closed',
  });
  const told = (
    one: LintAuthority,
    rows: readonly Written[],
    more: Partial<LintAuthority> & { readonly superuser?: boolean } = {},
  ) => {
    const { superuser = false, ...list } = more;
    const open = { ...listOf(rows), name: 'open', ...list };
    return lintPolicy({ superuser, authorities: [one, open] }, {})
      .findings.filter(({ code }) => code === 'needless' || code === 'overruled')
      .map(({ position, code, removable }) => `${position} ${code} ${removable}`);
  };

  test('that never abstains, what is allowed says nothing, unless it keeps a denial away', () => {
    const rows = ['allow a/b', 'deny a/#', 'allow b', 'allow x'];
    expect(told(closed('allow #'), rows)).toEqual(['2 overruled true', '3 overruled true']);
    expect(told(closed(), ['allow b', 'allow b'])).toEqual(['0 overruled true']);
    // Even beside one that there is more of.
    expect(told({ ...closed(), incomplete: true }, ['allow b'])).toEqual(['0 overruled true']);
    expect(told({ ...closed(), noMatch: 'abstain' }, ['allow b'])).toEqual([]);
    // It allows nothing else itself.
    expect(told(closed('allow #'), ['allow b'], { noMatch: 'deny' })).toEqual([]);
    // To a superuser some rule must open what begins with `$`, and nobody else's denial counts.
    const open: Written = ['allow $s/#', { actions: READ }];
    expect(told(closed(), [open])).toEqual(['0 overruled true']);
    expect(told(closed(), [open], { superuser: true })).toEqual([]);
    expect(told(closed(), [['deny $s/a', { actions: READ }], open], { superuser: true })).toEqual(
      [],
    );
    const past = Array.from({ length: LINT_ROWS_MAX }, () => 'allow b');
    expect(told(closed(), [...past, 'deny b'])).toEqual([]);
  });

  test('what is denied is needed only where the other allows some of it', () => {
    const one = closed('allow a/b', ['allow c', { actions: ['publish'] }]);
    expect(told(one, ['deny a/+', 'deny c', 'deny b'])).toEqual(['2 needless true']);
    expect(told(one, [['deny c', { actions: READ }]])).toEqual(['0 needless true']);
    expect(told({ ...one, incomplete: true }, ['deny b'])).toEqual([]);
    expect(told({ ...one, noMatch: 'abstain' }, ['deny b'])).toEqual([]);
    expect(told(closed('deny b'), ['deny b'])).toEqual(['0 needless true', '0 needless true']);
    // An UNSUBSCRIBE is allowed where nobody denies it.
    expect(told(one, [['deny b', { actions: ['unsubscribe'] }]])).toEqual([]);
  });
});

describe('against random policies', () => {
  const of = (kind: string, ...codes: LintCode[]) => codes.map((code) => `${kind} ${code}`);
  const IN_LIST = ['duplicate', 'shadowed', 'redundant', 'guarded'] as const;
  const MADE = {
    'rules of policies': of(
      'authority-',
      ...IN_LIST,
      'in_part',
      'no_topic',
      'needless',
      'overruled',
    ),
    'rows of tables, groups, roles and mappings': [
      ...of('acl', ...IN_LIST, 'in_part', 'no_topic'),
      ...['group', 'role', 'dynsec-role'].flatMap((kind) => of(kind, ...IN_LIST)),
      ...of('credential', 'duplicate', 'shadowed', 'redundant'),
    ],
    'what a connection is judged by': [
      ...of('acl', ...IN_LIST, 'needless', 'overruled'),
      ...of('dynsec-role', 'duplicate', 'shadowed', 'redundant', 'needless'),
    ],
  };

  test.each([
    ['rules of policies', RANDOM_POLICIES, compareRandomLint],
    ['rows of tables, groups, roles and mappings', RANDOM_WORLDS, compareRandomWorldLint],
    ['what a connection is judged by', RANDOM_WORLDS, compareRandomConnectionLint],
  ] as const)(
    '%s that may be removed change no decision, one by one and all together',
    (what, count, compare) => {
      const first = Math.floor(Math.random() * 2 ** 31);
      console.log(`lint of ${what} from seed ${first}`);
      const codes = new Set<string>();
      for (let index = 0; index < count; index++) {
        const outcome = compare(first + index);
        if (outcome.difference !== undefined) expect.fail(JSON.stringify(outcome.difference));
        for (const code of outcome.codes) codes.add(code);
      }
      // A generator that never makes what is looked for would prove nothing.
      expect([...codes]).toEqual(expect.arrayContaining([...MADE[what]]));
    },
    120_000,
  );
});
