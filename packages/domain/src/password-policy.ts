/** What a password can be asked for, in the order in which it is told. */
export const PASSWORD_RULES = ['min', 'lower', 'upper', 'numeric', 'symbol'] as const;

export type PasswordRule = (typeof PASSWORD_RULES)[number];

/**
 * Fewest code points in all (`min`) and of each class; 0 asks for none. Classes are Unicode's: Ll, Lu, Nd, and P* or S* together.
 * @source compat A6
 */
export type PasswordPolicy = Readonly<Record<PasswordRule, number>>;

export const DEFAULT_PASSWORD_POLICY: PasswordPolicy = {
  min: 5,
  lower: 0,
  upper: 0,
  numeric: 0,
  symbol: 0,
};

/** Most that one rule may ask for: a password that keeps all of them is still short enough to be stored. */
export const PASSWORD_RULE_MAX = 256;

const NOUNS: Readonly<Record<PasswordRule, string>> = {
  min: 'character',
  lower: 'lower-case letter',
  upper: 'upper-case letter',
  numeric: 'digit',
  symbol: 'symbol',
};

const CLASSES: Readonly<Record<Exclude<PasswordRule, 'min'>, RegExp>> = {
  lower: /\p{Ll}/gu,
  upper: /\p{Lu}/gu,
  numeric: /\p{Nd}/gu,
  symbol: /[\p{P}\p{S}]/gu,
};

/** The policy with no fewer characters than `least`: for passwords that need so many whatever else is asked. */
export const withLengthMin = (policy: PasswordPolicy, least: number): PasswordPolicy => ({
  ...policy,
  min: Math.max(policy.min, least),
});

/** Every rule that a password fails, in the order of `PASSWORD_RULES`; none when it is taken. O(length). */
export function failedPasswordRules(
  policy: PasswordPolicy,
  password: string,
): readonly PasswordRule[] {
  return PASSWORD_RULES.filter(
    (rule) => policy[rule] > 0 && countOf(rule, password) < policy[rule],
  );
}

function countOf(rule: PasswordRule, password: string): number {
  if (rule === 'min') return [...password].length;
  return password.match(CLASSES[rule])?.length ?? 0;
}

/**
 * What failed rules ask for, for people; every rule is named.
 * @example passwordRulesText(policy, ['min', 'upper']) // must have at least 8 characters (min), 1 upper-case letter (upper)
 */
export function passwordRulesText(policy: PasswordPolicy, rules: readonly PasswordRule[]): string {
  const asked = rules.map((rule) => {
    const least = policy[rule];
    return `${least} ${NOUNS[rule]}${least === 1 ? '' : 's'} (${rule})`;
  });
  return `must have at least ${asked.join(', ')}`;
}
