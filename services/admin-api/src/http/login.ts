import { randomBytes } from 'node:crypto';
import type { Operator } from '@sallyport/domain';
import { sealingContext } from '@sallyport/secrets';
import type { AdminApiPorts } from '../ports.ts';
import type { Lockout } from './lockout.ts';
import { refused } from './problems.ts';

export interface LoginRequest {
  /** Name or e-mail address. */
  readonly login: string;
  readonly password: string;
  /** Address of the peer, without its port. */
  readonly source: string;
}

type LoginPorts = Pick<AdminApiPorts, 'model' | 'hasher' | 'secretBox'>;

/** Checks operators' passwords. Names that nobody has cost as much as names that somebody has. */
export class OperatorLogin {
  readonly #ports: LoginPorts;
  readonly #lockout: Lockout;
  readonly #nobody: string;

  private constructor(ports: LoginPorts, lockout: Lockout, nobody: string) {
    this.#ports = ports;
    this.#lockout = lockout;
    this.#nobody = nobody;
  }

  static async create(ports: LoginPorts, lockout: Lockout): Promise<OperatorLogin> {
    // The verifier of a password that nobody knows, for names that nobody has.
    const nobody = await ports.hasher.hashPassword(randomBytes(32).toString('base64url'));
    return new OperatorLogin(ports, lockout, nobody);
  }

  /**
   * The operator with this login and password, enabled or not: whether a disabled one is told so is the caller's affair.
   * @throws RefusedError `login_failed`, `login_locked`
   */
  async login({ login, password, source }: LoginRequest): Promise<Operator> {
    const attempt = await this.#lockout.attempt(lockKey(login, source), () =>
      this.#check(login, password),
    );
    if (!attempt.ok) throw lockedOut(attempt.retryAfterMs);
    if (attempt.value === undefined) throw refused('login_failed');
    return attempt.value;
  }

  async #check(login: string, password: string): Promise<Operator | undefined> {
    const { model, hasher, secretBox } = this.#ports;
    const operator = model.reads.operatorByLogin(login);
    const verifier =
      operator === undefined
        ? this.#nobody
        : secretBox.open(
            operator.passwordVerifier,
            sealingContext({ kind: 'operator', id: operator.id }),
          );
    const right = await hasher.verify(verifier, Buffer.from(password));
    return right ? operator : undefined;
  }
}

/** Injective: a login cannot be chosen so that it counts against another source. */
export const lockKey = (account: string, source: string): string =>
  JSON.stringify([source, account]);

export function lockedOut(retryAfterMs: number): Error {
  return refused('login_locked', {
    headers: { 'retry-after': String(Math.ceil(retryAfterMs / 1000)) },
  });
}
