import { decodeProtectedHeader, errors, jwtVerify, SignJWT } from 'jose';

/** Lifetimes of one kind of session, in seconds. */
export interface SessionLifetimes {
  readonly accessSeconds: number;
  /** How long a session lives without being refreshed. */
  readonly idleSeconds: number;
  /** How long a session lives at all, from the login on. */
  readonly absoluteSeconds: number;
}

export const NATIVE_SESSION: SessionLifetimes = {
  accessSeconds: 15 * 60,
  idleSeconds: 30 * 60,
  absoluteSeconds: 12 * 60 * 60,
};

/** Which API a token is for; a token of one opens nothing of the other. */
export type Audience = 'sallyport' | 'tbmq';

export interface Session {
  readonly operatorId: string;
  /** `Operator.sessionEpoch` at the login; the token is void as soon as the operator's is another. */
  readonly epoch: number;
  /** When the operator logged in, in seconds since 1970. */
  readonly startedAtSeconds: number;
}

export interface TokenPair {
  readonly accessToken: string;
  readonly refreshToken: string;
  readonly expiresInSeconds: number;
  readonly refreshExpiresInSeconds: number;
}

export type Verified =
  | { readonly ok: true; readonly session: Session }
  /** `malformed`: no token of any kind. `expired`: was one, or is signed by another key. */
  | { readonly ok: false; readonly reason: 'malformed' | 'expired' };

/** Longest token that is looked at; ours have about 350 characters. */
export const TOKEN_LENGTH_MAX = 4096;

/** Issues and verifies operators' tokens (JWT, HS256). Stateless: what ends a session early is its epoch. */
export class OperatorTokens {
  readonly #key: Uint8Array;
  readonly #clock: () => number;

  constructor(options: { readonly key: Uint8Array; readonly clock: () => number }) {
    this.#key = options.key;
    this.#clock = options.clock;
  }

  /** Undefined when the session has reached its absolute end. */
  async issue(
    session: Session,
    audience: Audience,
    lifetimes: SessionLifetimes,
  ): Promise<TokenPair | undefined> {
    const now = this.nowSeconds();
    const end = session.startedAtSeconds + lifetimes.absoluteSeconds;
    if (now >= end) return undefined;
    const accessEnd = Math.min(now + lifetimes.accessSeconds, end);
    const refreshEnd = Math.min(now + lifetimes.idleSeconds, end);
    return {
      accessToken: await this.#sign(session, { typ: 'access', audience, now, end: accessEnd }),
      refreshToken: await this.#sign(session, { typ: 'refresh', audience, now, end: refreshEnd }),
      expiresInSeconds: accessEnd - now,
      refreshExpiresInSeconds: refreshEnd - now,
    };
  }

  async verify(token: string, typ: 'access' | 'refresh', audience: Audience): Promise<Verified> {
    if (token.length > TOKEN_LENGTH_MAX || !isSignedToken(token)) {
      return { ok: false, reason: 'malformed' };
    }
    try {
      const { payload } = await jwtVerify(token, this.#key, {
        algorithms: ['HS256'],
        audience,
        requiredClaims: ['sub', 'epoch', 'typ', 'since', 'iat', 'exp'],
        currentDate: new Date(this.#clock()),
      });
      const { sub, epoch, since } = payload;
      if (payload['typ'] !== typ || typeof sub !== 'string') {
        return { ok: false, reason: 'malformed' };
      }
      return {
        ok: true,
        session: { operatorId: sub, epoch: Number(epoch), startedAtSeconds: Number(since) },
      };
    } catch (error) {
      return { ok: false, reason: reasonOf(error) };
    }
  }

  nowSeconds(): number {
    return Math.floor(this.#clock() / 1000);
  }

  #sign(
    session: Session,
    claims: { typ: string; audience: Audience; now: number; end: number },
  ): Promise<string> {
    const { operatorId, epoch, startedAtSeconds } = session;
    return new SignJWT({ epoch, typ: claims.typ, since: startedAtSeconds })
      .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
      .setSubject(operatorId)
      .setAudience(claims.audience)
      .setIssuedAt(claims.now)
      .setExpirationTime(claims.end)
      .sign(this.#key);
  }
}

/** Whether the text is a token that somebody signed, with whatever algorithm. */
function isSignedToken(token: string): boolean {
  try {
    const { alg } = decodeProtectedHeader(token);
    return alg !== undefined && alg.toLowerCase() !== 'none';
  } catch {
    return false;
  }
}

function reasonOf(error: unknown): 'malformed' | 'expired' {
  const foreign =
    error instanceof errors.JWTExpired ||
    error instanceof errors.JWSSignatureVerificationFailed ||
    error instanceof errors.JOSEAlgNotAllowed;
  return foreign ? 'expired' : 'malformed';
}
