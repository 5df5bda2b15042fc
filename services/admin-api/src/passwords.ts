import { failedPasswordRules, type PasswordPolicy, passwordRulesText } from '@sallyport/domain';
import type { ErrorCode } from '@sallyport/errors';
import { SECRET_BYTES_MAX } from '@sallyport/secrets';
import { refused } from './http/problems.ts';

/** What is wrong with a password that somebody has chosen; of a policy that it fails every rule is named. */
export function passwordProblem(policy: PasswordPolicy, password: string): string | undefined {
  if (Buffer.byteLength(password) > SECRET_BYTES_MAX) {
    return `must be at most ${SECRET_BYTES_MAX} bytes of UTF-8`;
  }
  const rules = failedPasswordRules(policy, password);
  return rules.length === 0 ? undefined : passwordRulesText(policy, rules);
}

/** @throws RefusedError with the code, for the member `password` */
export function checkChosenPassword(
  policy: PasswordPolicy,
  password: string,
  code: ErrorCode,
): void {
  const detail = passwordProblem(policy, password);
  if (detail !== undefined) throw refused(code, { problems: [{ pointer: '/password', detail }] });
}
