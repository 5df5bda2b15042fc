import type { SessionLifetimes } from '../../http/tokens.ts';

/** TBMQ's `JWT_TOKEN_EXPIRATION_TIME`, 2.5 hours: scripts log in once and run that long. */
export const JWT_TOKEN_EXPIRATION_SECONDS = 9_000;
/** TBMQ's `JWT_REFRESH_TOKEN_EXPIRATION_TIME` is a week; ours ends where every session of an operator does. */
export const JWT_REFRESH_TOKEN_EXPIRATION_SECONDS = 12 * 60 * 60;

export const TBMQ_SESSION: SessionLifetimes = {
  accessSeconds: JWT_TOKEN_EXPIRATION_SECONDS,
  idleSeconds: JWT_REFRESH_TOKEN_EXPIRATION_SECONDS,
  absoluteSeconds: JWT_REFRESH_TOKEN_EXPIRATION_SECONDS,
};

/** Length of `Bearer `, which TBMQ cuts off without looking at it. */
export const SCHEME_LENGTH = 7;

/** The token of a request: from `X-Authorization`, else from `Authorization`. Undefined when there is none. */
export function tokenOf(headers: Readonly<Record<string, unknown>>): string | undefined {
  const given = [headers['x-authorization'], headers['authorization']].find(
    (header) => typeof header === 'string' && header.trim() !== '',
  );
  if (typeof given !== 'string' || given.length < SCHEME_LENGTH) return undefined;
  return given.slice(SCHEME_LENGTH);
}
