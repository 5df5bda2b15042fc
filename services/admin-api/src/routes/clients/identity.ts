import { type Credential, type CredentialMatch, parseFingerprint } from '@sallyport/domain';
import type { FieldProblem } from '@sallyport/errors';
import { refused } from '../../http/problems.ts';
import type { ClientBody } from './schema.ts';

/** How a client is known: by a user name, or by its certificate. */
export interface ClientIdentity {
  readonly kind: Credential['kind'];
  readonly match: CredentialMatch;
}

/** @throws RefusedError `invalid_request` for members that do not go with the authentication */
export function identityOf(body: ClientBody): ClientIdentity {
  const { authentication } = body;
  const problems = authentication === 'certificate' ? strangers(body) : missing(body);
  if (problems.length > 0) throw refused('invalid_request', { problems });
  if (authentication === 'certificate') return { kind: 'certificate', match: bindingOf(body) };
  return { kind: 'password', match: { username: body.username ?? '' } };
}

function strangers({ username, password, fingerprint, commonName }: ClientBody): FieldProblem[] {
  const detail = 'is for the authentication by credentials only';
  return [
    ...Object.entries({ username, password })
      .filter(([, value]) => value !== undefined)
      .map(([name]) => ({ pointer: `/${name}`, detail })),
    ...(fingerprint !== undefined && commonName !== undefined
      ? [{ pointer: '/commonName', detail: 'cannot be combined with a fingerprint' }]
      : []),
  ];
}

function missing({ username, fingerprint, commonName }: ClientBody): FieldProblem[] {
  const detail = 'is for the authentication by certificate only';
  return [
    ...Object.entries({ fingerprint, commonName })
      .filter(([, value]) => value !== undefined)
      .map(([name]) => ({ pointer: `/${name}`, detail })),
    ...(username === undefined ? [{ pointer: '/username', detail: 'is needed' }] : []),
  ];
}

/** @source compat B3: by the fingerprint, else the Common Name, else the Common Name is the client's name */
function bindingOf({ name, fingerprint, commonName }: ClientBody): CredentialMatch {
  if (fingerprint === undefined) return { commonName: commonName ?? name };
  // What cannot be read stays, for the domain to refuse.
  return { fingerprint: parseFingerprint(fingerprint) ?? fingerprint };
}
