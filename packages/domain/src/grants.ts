import type { Problems } from './text.ts';

export const GRANT_METHODS = ['password', 'certificate', 'token'] as const;

/** A way to prove a credential. A SCRAM exchange proves the password; a token is sent in its place. */
export type GrantMethod = (typeof GRANT_METHODS)[number];

/** One way in. A connection must prove one of them, and every one that is required. */
export interface Grant {
  readonly method: GrantMethod;
  readonly required: boolean;
}

interface HasGrants {
  readonly kind: 'password' | 'certificate';
  readonly match: { readonly username?: string };
  readonly passwordRequired: boolean;
  /** Absent or empty: as the kind has it. */
  readonly grants?: readonly Grant[];
}

/** The ways in, also of a credential that names none. Empty: the match alone opens it. */
export function grantsOf(credential: HasGrants): readonly Grant[] {
  const { kind, grants = [], passwordRequired } = credential;
  if (grants.length > 0) return grants;
  if (kind === 'certificate') return [{ method: 'certificate', required: true }];
  return passwordRequired ? [{ method: 'password', required: true }] : [];
}

/** Whether nobody gets in without a secret. */
export function needsSecret(credential: HasGrants): boolean {
  const grants = grantsOf(credential);
  const certificate = grants.find((one) => one.method === 'certificate');
  const password = grants.find((one) => one.method === 'password');
  const token = grants.find((one) => one.method === 'token');
  const others = certificate !== undefined || token !== undefined;
  return password !== undefined && (password.required || !others);
}

export function checkGrants(problems: Problems, credential: HasGrants): void {
  const { kind, grants = [], match } = credential;
  if (grants.length === 0) return;
  if (new Set(grants.map((one) => one.method)).size < grants.length) {
    problems.add('/grants', 'must name each method once');
  }
  checkToken(problems, { kind, grants, match });
  const withCertificate = grants.some((one) => one.method === 'certificate');
  if (kind === 'password' && withCertificate && match.username === undefined) {
    const detail = 'is needed, because the Common Name of the certificate must equal it';
    problems.add('/match/username', detail);
  }
  if (kind === 'certificate') {
    const certificate = grants.find((one) => one.method === 'certificate');
    // A certificate is what finds it: nobody comes as far as a password without one.
    if (certificate?.required !== true) {
      problems.add('/grants', 'must require the certificate, because the kind is certificate');
    }
  }
}

function checkToken(
  problems: Problems,
  { kind, grants = [], match }: Pick<HasGrants, 'kind' | 'grants' | 'match'>,
): void {
  const token = grants.find((one) => one.method === 'token');
  if (token === undefined) return;
  if (kind === 'password' && match.username === undefined) {
    problems.add('/match/username', 'is needed, because a token is shown with the user name');
  }
  const password = grants.find((one) => one.method === 'password');
  if (token.required && password?.required === true) {
    const detail = 'must not require both password and token, because CONNECT has room for one';
    problems.add('/grants', detail);
  }
}
