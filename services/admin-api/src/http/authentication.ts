import type { Operator } from '@sallyport/domain';
import { sealingContext } from '@sallyport/secrets';
import type { AdminApiPorts } from '../ports.ts';
import type { Lockout } from './lockout.ts';
import { lockedOut, lockKey } from './login.ts';
import type { Caller } from './permissions.ts';
import { refused } from './problems.ts';
import type { ReadBarrier } from './read-barrier.ts';
import type { Audience, OperatorTokens, Session, Verified } from './tokens.ts';

/** Longest `Authorization` header that is looked at. */
export const AUTHORIZATION_LENGTH_MAX = 8192;

interface Parts {
  readonly ports: Pick<AdminApiPorts, 'model' | 'hasher' | 'secretBox' | 'clock'>;
  readonly tokens: OperatorTokens;
  readonly lockout: Lockout;
  readonly barrier: ReadBarrier;
}

/** Finds out who sends a request. Every answer is made from the newest state: nothing about callers is cached. */
export class Authenticator {
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** By `Authorization: Bearer <token>` or `Basic <id:secret>`. @throws RefusedError `unauthenticated`, `token_expired`, `login_locked` */
  async caller(header: string | undefined, source: string): Promise<Caller> {
    if (header === undefined || header.length > AUTHORIZATION_LENGTH_MAX) {
      throw refused('unauthenticated');
    }
    const [, scheme = '', proof = ''] = /^([A-Za-z]+) +([^\s]+)$/.exec(header) ?? [];
    switch (scheme.toLowerCase()) {
      case 'bearer':
        return this.#byToken(proof);
      case 'basic':
        return this.#byKey(proof, source);
      default:
        throw refused('unauthenticated');
    }
  }

  /** The operator whose session it is. Undefined when it has been ended or the operator may not log in any more. */
  async operatorOf(
    token: string,
    typ: 'access' | 'refresh',
    audience: Audience,
  ): Promise<
    | { readonly ok: true; readonly operator: Operator; readonly session: Session }
    | Extract<Verified, { ok: false }>
  > {
    const { tokens, barrier, ports } = this.#parts;
    const verified = await tokens.verify(token, typ, audience);
    if (!verified.ok) return verified;
    await barrier.pass();
    const operator = ports.model.reads.operator(verified.session.operatorId);
    if (!operator?.enabled || operator.sessionEpoch !== verified.session.epoch) {
      return { ok: false, reason: 'expired' };
    }
    return { ok: true, operator, session: verified.session };
  }

  async #byToken(token: string): Promise<Caller> {
    const found = await this.operatorOf(token, 'access', 'sallyport');
    if (!found.ok) {
      throw refused(found.reason === 'expired' ? 'token_expired' : 'unauthenticated');
    }
    return operatorCaller(found.operator);
  }

  async #byKey(encoded: string, source: string): Promise<Caller> {
    const decoded = Buffer.from(encoded, 'base64').toString('utf8');
    const colon = decoded.indexOf(':');
    if (colon < 1) throw refused('unauthenticated');
    const id = decoded.slice(0, colon);
    const secret = decoded.slice(colon + 1);
    await this.#parts.barrier.pass();
    const account = lockKey(`api_key:${id}`, source);
    const attempt = await this.#parts.lockout.attempt(account, () => this.#checkKey(id, secret));
    if (!attempt.ok) throw lockedOut(attempt.retryAfterMs);
    if (attempt.value === undefined) throw refused('unauthenticated');
    return attempt.value;
  }

  async #checkKey(id: string, secret: string): Promise<Caller | undefined> {
    const { model, hasher, secretBox, clock } = this.#parts.ports;
    const key = model.reads.apiKey(id);
    if (key === undefined) return undefined;
    const verifier = secretBox.open(key.secretVerifier, sealingContext({ kind: 'api_key', id }));
    if (!(await hasher.verify(verifier, Buffer.from(secret)))) return undefined;
    const live = key.enabled && (key.expiresAt === undefined || clock() < key.expiresAt);
    return live ? { kind: 'api_key', id, name: key.name, role: key.role } : undefined;
  }
}

export const operatorCaller = ({ id, name, role }: Operator): Caller => ({
  kind: 'operator',
  id,
  name,
  role,
});
