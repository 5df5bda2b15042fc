import type { Problems } from './text.ts';

export const GRANT_METHODS = ['password', 'certificate'] as const;

/** A way to prove a credential. A SCRAM exchange proves the password. */
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
  return password !== undefined && (password.required || certificate === undefined);
}

export function checkGrants(problems: Problems, credential: HasGrants): void {
  const { kind, grants = [], match } = credential;
  if (grants.length === 0) return;
  if (new Set(grants.map((one) => one.method)).size < grants.length) {
    problems.add('/grants', 'must name each method once');
  }
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
