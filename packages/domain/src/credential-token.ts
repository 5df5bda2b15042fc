import { accept, type Decided, reject } from './commit.ts';
import { Problems } from './text.ts';

/** Most tokens of one credential that may be live at the same time. */
export const CREDENTIAL_TOKENS_MAX = 16;

/**
 * A secret that we have made, for somebody who acts as the credential for a time: a way in where the grant `token` is one. Its text is
 * shown once.
 * @source compat cybus A8
 */
export interface CredentialToken {
  readonly tokenId: string;
  /** What it is for. */
  readonly label: string;
  /** Sealed under the deployment key. */
  readonly verifier: string;
  readonly createdAt: number;
  /** First millisecond at which it opens nothing any more; never when absent. */
  readonly expiresAt?: number;
}

export type CredentialTokenEvent =
  | {
      readonly type: 'CredentialTokenAdded';
      readonly data: { readonly id: string; readonly token: CredentialToken };
    }
  | {
      readonly type: 'CredentialTokenRemoved';
      readonly data: { readonly id: string; readonly tokenId: string };
    };

interface HasTokens {
  /** Absent: none. Those that have ended are among them until another one is added. */
  readonly tokens?: readonly CredentialToken[];
}

/** The tokens that open the credential at a time. */
export const liveTokens = ({ tokens = [] }: HasTokens, at: number): readonly CredentialToken[] =>
  tokens.filter(({ expiresAt }) => expiresAt === undefined || at < expiresAt);

export function evolveTokens(
  state: HasTokens,
  event: CredentialTokenEvent,
  at: number,
): readonly CredentialToken[] {
  return event.type === 'CredentialTokenAdded'
    ? [...liveTokens(state, at), event.data.token]
    : (state.tokens ?? []).filter(({ tokenId }) => tokenId !== event.data.tokenId);
}

/** Rejects with `credential_invalid`, `too_many_tokens`. */
export function decideAddToken(
  current: HasTokens & { readonly id: string },
  token: CredentialToken,
  at: number,
): Decided<CredentialTokenEvent> {
  const problems = new Problems();
  problems.text('/label', token.label);
  if (token.expiresAt !== undefined && !(token.expiresAt > at)) {
    problems.add('/expiresAt', 'must be later than now');
  }
  if (problems.found.length > 0) return reject('credential_invalid', { problems: problems.found });
  if (liveTokens(current, at).length >= CREDENTIAL_TOKENS_MAX) return reject('too_many_tokens');
  return accept({ type: 'CredentialTokenAdded', data: { id: current.id, token } });
}

/** Rejects with `token_not_found`. */
export function decideRemoveToken(
  { id, tokens = [] }: HasTokens & { readonly id: string },
  tokenId: string,
): Decided<CredentialTokenEvent> {
  if (!tokens.some((one) => one.tokenId === tokenId)) return reject('token_not_found');
  return accept({ type: 'CredentialTokenRemoved', data: { id, tokenId } });
}
