import { unreachable } from '@sallyport/errors';
import { accept, type Decided, type EventContext, reject, type Revision } from './commit.ts';
import type { Credential } from './credential.ts';
import type { TlsListener, TrustEvent, TrustReads } from './trust.ts';
import { decideTrust } from './trust.ts';
import { Problems } from './text.ts';

/** Longest reason of a revocation, in bytes of UTF-8. */
export const REVOCATION_REASON_BYTES_MAX = 256;

/** Most certificates that take the place of one: an answer may be lost, and a device must not go on for ever. */
export const RENEWALS_MAX = 4;

/** What is recorded of a certificate that was made here; nothing of it is secret. */
export interface IssuedFields {
  /** SHA-256 of its DER, 64 lower-case hexadecimal digits. */
  readonly fingerprint: string;
  /** Hexadecimal, upper case. */
  readonly serial: string;
  /** The Common Name. */
  readonly subject: string;
  /** SHA-256 of the certificate of the authority that signed it. */
  readonly authority: string;
  readonly credentialId: string;
  /** First and last millisecond, of whole seconds. */
  readonly notBefore: number;
  readonly notAfter: number;
  /** Who had it made, as a text for people. */
  readonly by: string;
  /** Fingerprint of the one whose place it takes. */
  readonly renews?: string;
  readonly certificate: string;
}

export interface IssuedCertificate extends IssuedFields {
  readonly issuedAt: number;
  readonly issuedRevision: Revision;
  readonly revoked?: {
    readonly at: number;
    readonly revision: Revision;
    readonly by: string;
    readonly reason?: string;
  };
  readonly updatedRevision: Revision;
}

export type IssuedCertificateEvent =
  | { readonly type: 'CertificateIssued'; readonly data: IssuedFields }
  /** For good. */
  | {
      readonly type: 'CertificateRevoked';
      readonly data: {
        readonly fingerprint: string;
        readonly by: string;
        readonly reason?: string;
      };
    };

export function evolveIssuedCertificate(
  state: IssuedCertificate | undefined,
  event: IssuedCertificateEvent,
  { at, revision }: EventContext,
): IssuedCertificate | undefined {
  switch (event.type) {
    case 'CertificateIssued':
      return { ...event.data, issuedAt: at, issuedRevision: revision, updatedRevision: revision };
    case 'CertificateRevoked': {
      const { fingerprint: _fingerprint, ...said } = event.data;
      return state && { ...state, revoked: { at, revision, ...said }, updatedRevision: revision };
    }
    default:
      return unreachable(event);
  }
}

export interface IssuedCertificateReads {
  issuedCertificate(fingerprint: string): IssuedCertificate | undefined;
  /** How many have taken the place of this one. */
  renewalsOf(fingerprint: string): number;
}

/** A list of what is revoked that takes the place of those of a listener, made from this state of it. */
export interface ListenerRevocations {
  readonly listener: TlsListener;
  readonly revocationLists: string;
  readonly ifRevision: Revision;
}

export type IssuedCertificateCommand =
  | {
      readonly type: 'RenewCertificate';
      /** A device by itself may renew only from the middle of the validity on. */
      readonly data: {
        readonly issued: IssuedFields & { readonly renews: string };
        readonly byDevice: boolean;
      };
    }
  | {
      readonly type: 'RevokeCertificate';
      readonly data: {
        readonly fingerprint: string;
        readonly by: string;
        readonly reason?: string;
        readonly ifRevision?: Revision;
        readonly lists: readonly ListenerRevocations[];
      };
    };

/** Whether a certificate that was shown was made here and is revoked. */
export const isRevoked = (
  reads: Pick<IssuedCertificateReads, 'issuedCertificate'>,
  fingerprint: string | undefined,
): boolean =>
  fingerprint !== undefined && reads.issuedCertificate(fingerprint)?.revoked !== undefined;

type Reads = IssuedCertificateReads &
  TrustReads & { credential(id: string): Credential | undefined };

/** Never throws on input. */
export function decideIssuedCertificate(
  reads: Reads,
  command: IssuedCertificateCommand,
  at: number,
): Decided<IssuedCertificateEvent | TrustEvent> {
  switch (command.type) {
    case 'RenewCertificate':
      return decideRenewal(reads, command.data, at);
    case 'RevokeCertificate':
      return decideRevocation(reads, command.data);
    default:
      return unreachable(command);
  }
}

function decideRenewal(
  reads: Reads,
  { issued, byDevice }: Extract<IssuedCertificateCommand, { type: 'RenewCertificate' }>['data'],
  at: number,
): Decided<IssuedCertificateEvent> {
  const present = reads.issuedCertificate(issued.renews);
  if (present === undefined) return reject('certificate_not_found');
  if (present.revoked !== undefined) return reject('certificate_revoked');
  const problem = renewalProblem(reads, present, { byDevice, at });
  if (problem !== undefined) return reject('certificate_not_renewable', { detail: problem });
  return accept({ type: 'CertificateIssued', data: issued });
}

/** Why no certificate takes the place of this one now; undefined when one may. A revoked one is not looked for. */
export function renewalProblem(
  reads: Pick<Reads, 'credential' | 'renewalsOf'>,
  { fingerprint, credentialId, subject, notBefore, notAfter }: IssuedCertificate,
  { byDevice, at }: { readonly byDevice: boolean; readonly at: number },
): string | undefined {
  const credential = reads.credential(credentialId);
  if (credential === undefined) return 'The credential is gone.';
  if (credential.match.username !== subject) return 'The credential has another user name now.';
  if (byDevice && !credential.enabled) return 'The credential is disabled.';
  if (byDevice && at > notAfter) return 'The certificate has ended.';
  if (byDevice && at < renewableFrom({ notBefore, notAfter })) {
    return 'The certificate is in the first half of its validity.';
  }
  if (reads.renewalsOf(fingerprint) < RENEWALS_MAX) return undefined;
  return `The certificate was renewed ${RENEWALS_MAX} times.`;
}

/** From when on a device may renew its certificate by itself, in milliseconds since 1970. */
export const renewableFrom = ({
  notBefore,
  notAfter,
}: Pick<IssuedFields, 'notBefore' | 'notAfter'>): number =>
  notBefore + Math.floor((notAfter - notBefore) / 2);

function decideRevocation(
  reads: Reads,
  {
    fingerprint,
    by,
    reason,
    ifRevision,
    lists,
  }: Extract<IssuedCertificateCommand, { type: 'RevokeCertificate' }>['data'],
): Decided<IssuedCertificateEvent | TrustEvent> {
  const present = reads.issuedCertificate(fingerprint);
  if (present === undefined) return reject('certificate_not_found');
  if (ifRevision !== undefined && ifRevision !== present.updatedRevision) {
    return reject('precondition_failed', {
      detail: `The certificate was last changed by revision ${present.updatedRevision}.`,
    });
  }
  if (present.revoked !== undefined) return reject('certificate_revoked');
  const problems = new Problems();
  if (reason !== undefined) problems.text('/reason', reason, REVOCATION_REASON_BYTES_MAX);
  if (problems.found.length > 0) return reject('invalid_request', { problems: problems.found });
  const said = { fingerprint, by, ...(reason !== undefined && { reason }) };
  const events: (IssuedCertificateEvent | TrustEvent)[] = [
    { type: 'CertificateRevoked', data: said },
  ];
  for (const { listener, revocationLists, ifRevision: seen } of lists) {
    const current = reads.trust(listener);
    if (current === undefined) return reject('precondition_failed');
    const { listener: _listener, updatedAt: _at, updatedRevision: _revision, ...fields } = current;
    const data = { listener, fields: { ...fields, revocationLists }, ifRevision: seen };
    const decided = decideTrust(reads, { type: 'ReplaceTrust', data });
    if (!decided.ok) return decided;
    events.push(...decided.events);
  }
  return accept(...events);
}
