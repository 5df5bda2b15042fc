import { isOperational } from '@sallyport/errors';
import { levelsOf, type TopicFilter } from '@sallyport/topic';
import { describe, expect, test } from 'vitest';
import { check } from './check.ts';
import { type CompiledPolicy, compilePolicy, POLICY_RULES_MAX } from './compile.ts';
import { checkSubscribe, COVERAGE_STEPS_MAX } from './coverage.ts';
import { explain } from './explain.ts';
import type {
  Action,
  AuthoritySpec,
  Facts,
  Matcher,
  PolicySpec,
  RuleSpec,
  Terms,
} from './policy-spec.ts';

const facts: Facts = { clientId: 'c', listener: 'tcp:default' };
const PART: Terms = { qos: 0, retain: false, inPart: true };
const ALL: readonly Action[] = ['publish', 'subscribe', 'receive'];

const rule = (
  effect: RuleSpec['effect'],
  matcher: Matcher | string,
  actions: readonly Action[] = ALL,
): Omit<RuleSpec, 'ruleId'> => ({
  effect,
  actions,
  matcher: typeof matcher === 'string' ? { kind: 'filter', filter: matcher } : matcher,
});

const authority = (
  noMatch: AuthoritySpec['noMatch'],
  ...rules: Omit<RuleSpec, 'ruleId'>[]
): AuthoritySpec => ({
  name: 'one',
  rules: rules.map((one, index) => ({ ...one, ruleId: `r${index}` })),
  noMatch,
});

const policyOf = (...authorities: AuthoritySpec[]): PolicySpec => ({
  policyId: 'p',
  superuser: false,
  authorities,
  noMatch: 'deny',
  denyAction: 'ignore',
});

const receive = (policy: CompiledPolicy, topic: string): string => {
  const { allowed, ruleId } = check(policy, facts, 'receive', levelsOf(topic), topic);
  return `${allowed ? 'allow' : 'deny'} ${ruleId}`;
};

const subscribe = (policy: CompiledPolicy, filter: string): ReturnType<typeof checkSubscribe> =>
  checkSubscribe(policy, facts, filter as TopicFilter); // Literals of this file, all valid.

describe('what cannot be understood', () => {
  test.each([
    ['a filter with # inside', 'a/#/b'],
    ['a filter with + beside a character', 'a+'],
    ['an empty filter', ''],
    ['a pattern that is none', { kind: 'pattern', pattern: '(' }],
    ['a pattern with look-ahead', { kind: 'pattern', pattern: '(?=a)' }],
  ] as const)(
    '%s makes the whole policy invalid, as a deny rule and as an allow rule',
    (_, matcher) => {
      for (const effect of ['allow', 'deny'] as const) {
        let caught: unknown;
        try {
          compilePolicy(policyOf(authority('allow', rule(effect, matcher))));
        } catch (error) {
          caught = error;
        }
        expect(isOperational(caught, 'policy_invalid')).toBe(true);
      }
    },
  );

  test('a policy of the most rules compiles, one more does not', () => {
    const rules = Array.from({ length: POLICY_RULES_MAX }, (_, index) =>
      rule('allow', `t/${index}`),
    );
    const half = POLICY_RULES_MAX / 2;
    const full = policyOf(
      authority('deny', ...rules.slice(0, half)),
      authority('abstain', ...rules.slice(half)),
    );
    expect(receive(compilePolicy(full), `t/${half - 1}`)).toBe(`allow r${half - 1}`);
    const over = policyOf(authority('deny', ...rules, rule('allow', 'x')));
    expect(() => compilePolicy(over)).toThrow(String(POLICY_RULES_MAX));
  });
});

test('an explanation of an invalid filter denies', () => {
  const policy = compilePolicy(policyOf(authority('allow', rule('allow', '#'))));
  expect(explain(policy, facts, 'subscribe', 'a+')).toMatchObject({ allowed: false });
});

describe('authorities together', () => {
  test('any deny denies, whatever the others allow and in whatever order', () => {
    const allowing = authority('abstain', rule('allow', '#'));
    const denying = authority('abstain', rule('deny', 'a'));
    for (const order of [
      [allowing, denying],
      [denying, allowing],
    ]) {
      const policy = compilePolicy(policyOf(...order));
      expect(receive(policy, 'a')).toBe('deny r0');
      expect(receive(policy, 'b')).toBe('allow r0');
      expect(subscribe(policy, '#')).toEqual({
        allowed: true,
        ruleId: 'r0',
        checkDeliveries: true,
      });
    }
  });

  test('explain names every opinion', () => {
    const policy = compilePolicy(
      policyOf(
        authority('deny', rule('allow', 'a/#')),
        authority('abstain', rule('deny', 'a/x')),
        authority('allow'),
      ),
    );
    const verdicts = (action: Action, topic: string): string[] =>
      explain(policy, facts, action, topic).opinions.map((one) => `${one.verdict} ${one.ruleId}`);
    expect(verdicts('publish', 'a/x')).toEqual(['allow r0', 'deny r0', 'allow default']);
    expect(verdicts('publish', 'b')).toEqual(['deny default', 'abstain default', 'allow default']);
    expect(verdicts('subscribe', 'a/+')).toEqual(['allow r0', 'partial r0', 'allow default']);
    expect(verdicts('publish', '$SYS/a')).toEqual([]);
  });
});

describe('a filter that is wider than the rules (C5)', () => {
  const policy = compilePolicy(
    policyOf(
      authority(
        'deny',
        rule('deny', 'a/secret/#'),
        rule('allow', 'a/+'),
        rule('allow', 'b/c'),
        rule('allow', { kind: 'pattern', pattern: 'p/.' }),
      ),
    ),
  );
  const inPart = (filter: string) =>
    checkSubscribe(policy, facts, filter as TopicFilter, 0, false, true); // Literals of this file, all valid.

  test.each(['a/#', 'b/#', 'b/+', '+/c', '#'])('%s is refused, or granted in part', (filter) => {
    expect(subscribe(policy, filter).allowed).toBe(false);
    expect(inPart(filter)).toMatchObject({ allowed: true, checkDeliveries: true });
    const told = explain(policy, facts, 'subscribe', filter, PART);
    expect(told).toMatchObject({ allowed: true, checkDeliveries: true });
  });

  test.each(['c', 'c/#', 'a/secret/#', 'a/secret/x', 'b/c/d', '$SYS/#', 'p/x/#'])(
    'of %s nothing is allowed that the rules tell of a filter: it is refused in both cases',
    (filter) => {
      expect(inPart(filter)).toEqual(subscribe(policy, filter));
      expect(inPart(filter).allowed).toBe(false);
    },
  );

  test.each(['a/x', 'a/+', 'b/c', 'p/+'])('%s is granted as it is in any case', (filter) => {
    expect(inPart(filter)).toEqual(subscribe(policy, filter));
    expect(inPart(filter).allowed).toBe(true);
  });
});

describe('rules for subscribing that differ from those for deliveries', () => {
  test('the subscription is judged by its own, deliveries are checked unless all may be received', () => {
    const narrow = compilePolicy(
      policyOf(
        authority('deny', rule('allow', '#', ['subscribe']), rule('allow', 'a', ['receive'])),
      ),
    );
    expect(subscribe(narrow, 'a/#')).toEqual({
      allowed: true,
      ruleId: 'r0',
      checkDeliveries: true,
    });
    expect(subscribe(narrow, 'a').checkDeliveries).toBe(false);
    expect(receive(narrow, 'a/b')).toBe('deny default');
  });
});

describe('patterns beside filters', () => {
  const text = (pattern: string): Matcher => ({ kind: 'pattern', pattern });

  test('the lowest rank decides among both', () => {
    const policy = compilePolicy(
      policyOf(
        authority('deny', rule('deny', 'a/b'), rule('allow', text('a/.*')), rule('deny', '#')),
      ),
    );
    expect(receive(policy, 'a/b')).toBe('deny r0');
    expect(receive(policy, 'a/c')).toBe('allow r1');
    expect(receive(policy, 'b')).toBe('deny r2');
    expect(subscribe(policy, 'a/#')).toEqual({
      allowed: true,
      ruleId: 'r1',
      checkDeliveries: true,
    });
    expect(subscribe(policy, 'b/#')).toMatchObject({ allowed: false, ruleId: 'r2' });
  });

  test('a deny pattern for filter texts refuses these texts and hides no topic', () => {
    const policy = compilePolicy(
      policyOf(authority('deny', rule('deny', text('a/#')), rule('allow', text('a/.*')))),
    );
    expect(subscribe(policy, 'a/#')).toMatchObject({ allowed: false, ruleId: 'r0' });
    expect(subscribe(policy, 'a/+')).toMatchObject({ allowed: true, ruleId: 'r1' });
    expect(receive(policy, 'a/b')).toBe('allow r1');
  });

  test('a pattern for filter texts does not widen what may be published', () => {
    const policy = compilePolicy(policyOf(authority('deny', rule('allow', text('a/#')))));
    expect(check(policy, facts, 'publish', ['a', 'b'], 'a/b').allowed).toBe(false);
  });

  test('a deny of everything reaches reserved topics, an allow of everything does not', () => {
    const open = authority('abstain', rule('allow', '$SYS/#'));
    const policy = compilePolicy(policyOf(open, authority('allow', rule('deny', { kind: 'any' }))));
    expect(receive(policy, '$SYS/a')).toBe('deny r0');
    const allowAny = compilePolicy(policyOf(authority('allow', rule('allow', { kind: 'any' }))));
    expect(receive(allowAny, '$SYS/a')).toBe('deny guard');
    const denied = compilePolicy(policyOf(open, authority('allow', rule('deny', text('.*')))));
    expect(receive(denied, '$SYS/a')).toBe('deny r0');
  });
});

describe('the work limit of coverage', () => {
  // Each + of the filter must try every literal of its level; alternating effects leave nothing to skip.
  const wide = (literals: number): PolicySpec =>
    policyOf(
      authority(
        'deny',
        ...Array.from({ length: literals }, (_, index) => [
          rule('allow', `t/${index}/x`),
          rule('deny', `t/${index}/y`),
        ]).flat(),
        rule('allow', 't/+/+'),
      ),
    );

  test('a question that costs too much is refused as such', () => {
    const count = COVERAGE_STEPS_MAX / 4;
    const many = Array.from({ length: count }, (_, index) => rule('allow', `t/${index}/x`));
    // No one of the last three is as wide as the filter, so that all the others have to be looked at.
    const wider = ['t', 't/+', 't/+/+/#'].map((filter) => rule('allow', filter));
    const policy = compilePolicy(policyOf(authority('deny', ...many, ...wider)));
    expect(subscribe(policy, 't/#')).toEqual({
      allowed: false,
      ruleId: 'coverage_limit',
      checkDeliveries: false,
    });
    // The limit is per question: topics themselves are still decided.
    expect(receive(policy, 't/7/x')).toBe('allow r7');
  });

  test('a grant whose holes cost too much to look for is checked at every delivery', () => {
    const policy = compilePolicy(wide(COVERAGE_STEPS_MAX / 4));
    expect(subscribe(policy, 't/+/x')).toMatchObject({ allowed: true, checkDeliveries: true });
  });

  test('a question of the same shape below the limit is answered', () => {
    const policy = compilePolicy(wide(COVERAGE_STEPS_MAX / 10));
    expect(subscribe(policy, 't/+/x')).toMatchObject({ allowed: true, checkDeliveries: false });
    expect(subscribe(policy, 't/+/+')).toMatchObject({ allowed: true, checkDeliveries: true });
  });

  test('rules that a wider rule of the same effect makes superfluous cost nothing', () => {
    const rules = Array.from({ length: 5000 }, (_, index) => rule('allow', `t/${index}/+/x`));
    const policy = compilePolicy(policyOf(authority('deny', ...rules, rule('allow', 't/#'))));
    expect(subscribe(policy, 't/#')).toEqual({
      allowed: true,
      ruleId: 'r5000',
      checkDeliveries: false,
    });
  });

  test('filters of many wildcards against rules of many wildcards end', () => {
    const filters = Array.from({ length: 256 }, (_, bits) =>
      Array.from({ length: 8 }, (__, level) => ((bits >> level) & 1 ? '+' : 'a')).join('/'),
    );
    const policy = compilePolicy(
      policyOf(
        authority('deny', ...filters.map((one, index) => rule(index % 2 ? 'deny' : 'allow', one))),
      ),
    );
    const before = process.cpuUsage().user;
    for (const filter of ['#', '+/+/+/+/+/+/+/+', 'a/#', '+/#']) subscribe(policy, filter);
    // A bound for slow machines, of processor time; the work limit keeps it at a few milliseconds.
    expect(process.cpuUsage().user - before).toBeLessThan(2_000_000);
  });
});

describe('literals', () => {
  const literal = (text: string): Matcher => ({ kind: 'literal', text });

  test('without wildcards are one topic, and a placeholder in them is none', () => {
    const policy = compilePolicy(
      policyOf(authority('deny', rule('allow', literal('own/${clientid}')))),
    );
    expect(receive(policy, 'own/c')).toBe('deny default');
    expect(receive(policy, 'own/${clientid}')).toBe('allow r0');
    expect(subscribe(policy, 'own/${clientid}')).toMatchObject({ allowed: true });
    expect(subscribe(policy, 'own/+')).toMatchObject({ allowed: false });
  });

  test('with wildcards are for who subscribes to just that text, and to what it is granted then', () => {
    const policy = compilePolicy(policyOf(authority('deny', rule('allow', literal('a/#')))));
    expect(subscribe(policy, 'a/#')).toMatchObject({ allowed: true, checkDeliveries: false });
    expect(subscribe(policy, 'a/b')).toMatchObject({ allowed: false });
    expect(subscribe(policy, 'a/+')).toMatchObject({ allowed: false });
    expect(receive(policy, 'a/b')).toBe('allow r0');
    expect(check(policy, facts, 'publish', ['a', 'b'], 'a/b').allowed).toBe(false);
  });

  test('denied with wildcards refuse just that text, and no topic', () => {
    const rules = [rule('deny', literal('#')), rule('allow', '#')];
    const policy = compilePolicy(policyOf(authority('deny', ...rules)));
    expect(subscribe(policy, '#')).toMatchObject({ allowed: false, ruleId: 'r0' });
    expect(subscribe(policy, '+/#')).toMatchObject({ allowed: true, checkDeliveries: false });
    expect(receive(policy, 'a')).toBe('allow r1');
  });

  test('that start with $ open what they say, also with wildcards', () => {
    const policy = compilePolicy(policyOf(authority('allow', rule('allow', literal('$SYS/#')))));
    expect(subscribe(policy, '$SYS/#')).toMatchObject({ allowed: true });
    expect(subscribe(policy, '$SYS/a')).toMatchObject({ allowed: false });
    expect(receive(policy, '$SYS/a')).toBe('allow r0');
    expect(check(policy, facts, 'publish', ['$SYS', 'a'], '$SYS/a').ruleId).toBe('guard');
  });
});

describe('conditions', () => {
  const only = (when: RuleSpec['when'], effect: RuleSpec['effect'] = 'allow') => ({
    ...rule(effect, 'a/#'),
    ...(when && { when }),
  });
  const publishes = (policy: CompiledPolicy, qos: 0 | 1 | 2, retain: boolean): boolean =>
    check(policy, facts, 'publish', ['a', 'b'], 'a/b', { qos, retain }).allowed;

  test('that nothing can meet make the policy invalid', () => {
    expect(() => compilePolicy(policyOf(authority('deny', only({ qos: [] }))))).toThrow(/r0/);
  });

  test('on QoS and retain must both hold for a publish', () => {
    const policy = compilePolicy(policyOf(authority('deny', only({ qos: [1], retain: true }))));
    const found = ([0, 1, 2] as const).flatMap((qos) =>
      [false, true].map((retain) => publishes(policy, qos, retain)),
    );
    expect(found).toEqual([false, false, false, true, false, false]);
  });

  test('on the QoS are held against the one that a SUBSCRIBE asks for, those on retain are not', () => {
    const policy = compilePolicy(policyOf(authority('deny', only({ qos: [1], retain: true }))));
    const filter = 'a/b' as TopicFilter; // A valid one.
    const granted = ([0, 1, 2] as const).map((qos) => checkSubscribe(policy, facts, filter, qos));
    expect(granted.map((one) => one.allowed)).toEqual([false, true, false]);
    expect(receive(policy, 'a/b')).toBe('allow r0');
  });

  test('of a deny rule withhold nothing that another QoS may read', () => {
    const rules = [only({ qos: [2] }, 'deny'), only(undefined)];
    const policy = compilePolicy(policyOf(authority('deny', ...rules)));
    expect(receive(policy, 'a/b')).toBe('allow r1');
    expect([publishes(policy, 1, false), publishes(policy, 2, false)]).toEqual([true, false]);
  });
});

describe('placeholders of certificate and attributes', () => {
  const policy = compilePolicy(
    policyOf(
      authority(
        'deny',
        rule('deny', 'closed/${client_attrs.site}'),
        rule('allow', 'open/${client_attrs.site}/${cert_common_name}'),
        rule('allow', 'closed/#'),
      ),
    ),
  );
  const certificateOf = (commonName: string) => ({
    fingerprintSha256: '00'.repeat(32),
    chainCommonNames: [commonName],
    commonName,
  });
  const asked = (more: Partial<Facts>, topic: string): boolean =>
    check(policy, { ...facts, ...more }, 'publish', levelsOf(topic), topic).allowed;

  test('that are a part of a level are compared with all of it', () => {
    const parts = compilePolicy(
      policyOf(
        authority(
          'deny',
          rule('deny', 'closed/d-${client_attrs.site}'),
          rule('allow', 'open/${client_attrs.site}-${cert_common_name}/${$}x'),
          rule('allow', 'closed/#'),
          rule('allow', '${$}SYS/#'),
        ),
      ),
    );
    const allowed = (more: Partial<Facts>, topic: string): boolean =>
      check(parts, { ...facts, ...more }, 'receive', levelsOf(topic), topic).allowed;
    const known = { certificate: certificateOf('cn'), attributes: { site: 'north' } };
    expect(allowed(known, 'open/north-cn/$x')).toBe(true);
    for (const topic of ['open/north-c/$x', 'open/north-/$x', 'open/north-cn/x', '$SYS/a']) {
      expect(allowed(known, topic), topic).toBe(false);
    }
    expect([allowed(known, 'closed/d-north'), allowed(known, 'closed/d-')]).toEqual([false, true]);
    for (const site of ['', '+', 'a/b', '#']) {
      const strange = { ...known, attributes: { site } };
      for (const topic of [`open/${site}-cn/$x`, 'open/-cn/$x', 'closed/d-', 'closed/x']) {
        expect(allowed(strange, topic), topic).toBe(false);
      }
    }
  });

  test('are compared with a whole level', () => {
    const known = { certificate: certificateOf('cn'), attributes: { site: 'north' } };
    expect(asked(known, 'open/north/cn')).toBe(true);
    expect(asked(known, 'open/north/cm')).toBe(false);
    expect([asked(known, 'closed/north'), asked(known, 'closed/south')]).toEqual([false, true]);
  });

  test.each([
    ['nothing', {}],
    ['empty texts', { certificate: { commonName: '' }, attributes: { site: '' } }],
    ['several levels', { certificate: { commonName: 'a/b' }, attributes: { site: 'a/b' } }],
    ['wildcards', { certificate: { commonName: '+' }, attributes: { site: '#' } }],
    ['an inherited name', { certificate: {}, attributes: Object.create({ site: 'north' }) }],
  ] as const)('allow nothing and deny every level for %s', (_, more) => {
    for (const topic of ['open/north/cn', 'open/+/+', 'open//', 'open/a/b']) {
      expect(asked(more as Partial<Facts>, topic), topic).toBe(false);
    }
    for (const site of ['north', 'x', ''])
      expect(asked(more as Partial<Facts>, `closed/${site}`)).toBe(false);
  });
});
