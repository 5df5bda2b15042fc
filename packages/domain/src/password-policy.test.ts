import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  DEFAULT_PASSWORD_POLICY,
  failedPasswordRules,
  type PasswordPolicy,
  PASSWORD_RULE_MAX,
  PASSWORD_RULES,
  passwordRulesText,
  withLengthMin,
} from './index.ts';

const OFF: PasswordPolicy = { min: 0, lower: 0, upper: 0, numeric: 0, symbol: 0 };
const failed = (rules: Partial<PasswordPolicy>, password: string) =>
  failedPasswordRules({ ...OFF, ...rules }, password);

describe('a password policy (compat A6)', () => {
  it('by default asks for five characters and nothing else', () => {
    expect(failedPasswordRules(DEFAULT_PASSWORD_POLICY, 'four')).toEqual(['min']);
    expect(failedPasswordRules(DEFAULT_PASSWORD_POLICY, '     ')).toEqual([]);
  });

  it('asks for nothing where a rule is 0', () => {
    expect(failed({}, '')).toEqual([]);
  });

  it.each([
    ['min', 'code points, not UTF-16 units', '\u{1f600}\u{1f600}', '\u{1f600}\u{1f600}\u{1f600}'],
    ['min', 'code points, not what is drawn', 'éé', 'e\u0301e\u0301'],
    ['lower', 'Ll beyond ASCII', 'öß1ÖA', 'öß1ñA'],
    ['lower', 'no title case and no modifier letters', 'ab\u01c5\u02b0', 'abc\u01c5\u02b0'],
    ['upper', 'Lu beyond ASCII', 'ÜÉü', 'ÜÉŽ'],
    ['numeric', 'Nd of every script', '1\u0662\u00bd\u2168', '1\u0662\u096b'],
    ['symbol', 'punctuation and symbols together', '-€ ', '-€\u{1f600}'],
  ] as const)('%s counts %s, one short of it and at it', (rule, _what, short, enough) => {
    expect(failed({ [rule]: 3 }, short)).toEqual([rule]);
    expect(failed({ [rule]: 3 }, enough)).toEqual([]);
  });

  it('names every rule that is failed, in one order', () => {
    const policy = { min: 8, lower: 1, upper: 1, numeric: 1, symbol: 1 };
    expect(failed(policy, '')).toEqual(PASSWORD_RULES);
    expect(failed(policy, 'lower')).toEqual(['min', 'upper', 'numeric', 'symbol']);
    expect(failed(policy, 'Lower-case 1')).toEqual([]);
  });

  it('counts the same the second time', () => {
    for (let times = 0; times < 3; times++) expect(failed({ lower: 2 }, 'aB')).toEqual(['lower']);
  });

  it('never asks for more than can be stored (4096 bytes)', () => {
    const most = Object.fromEntries(PASSWORD_RULES.map((rule) => [rule, PASSWORD_RULE_MAX]));
    const password = 'aA1-'.repeat(PASSWORD_RULE_MAX);
    expect(failed(most, password)).toEqual([]);
    expect(password.length).toBeLessThanOrEqual(4096);
  });

  it('fails nothing more when a password gets longer', () => {
    const policy = { min: 6, lower: 2, upper: 2, numeric: 1, symbol: 1 };
    const text = fc.string({ unit: 'binary' });
    fc.assert(
      fc.property(text, text, (one, more) => {
        const before = failed(policy, one);
        expect(before).toEqual(expect.arrayContaining([...failed(policy, one + more)]));
      }),
    );
  });

  it('says what is asked for', () => {
    const policy = { ...OFF, min: 8, upper: 1 };
    expect(passwordRulesText(policy, ['min', 'upper'])).toBe(
      'must have at least 8 characters (min), 1 upper-case letter (upper)',
    );
  });

  it('can be asked for no fewer characters than something else needs', () => {
    expect(withLengthMin(DEFAULT_PASSWORD_POLICY, 12).min).toBe(12);
    expect(withLengthMin({ ...OFF, min: 20 }, 12).min).toBe(20);
  });
});
