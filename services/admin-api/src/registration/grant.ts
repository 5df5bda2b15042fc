import type { X509Certificate } from 'node:crypto';
import {
  liveRegistration,
  type PendingRegistration,
  type RegistrationCommand,
  type RolesAccess,
  type Store,
} from '@sallyport/domain';
import type { ErrorCode } from '@sallyport/errors';
import { openRegistration, sealingContext } from '@sallyport/secrets';
import { refused } from '../http/problems.ts';
import type { CommandInputs } from '../http/write.ts';
import { issuedFields } from '../issuing/issued-fields.ts';
import { readSigningRequest } from '../issuing/signing-request.ts';
import type { AdminApiPorts } from '../ports.ts';

/** The request, while it waits. @throws RefusedError `registration_not_found` */
function waitingRequest(
  { model, clock }: Pick<AdminApiPorts, 'model' | 'clock'>,
  id: string,
): PendingRegistration {
  const found = liveRegistration(model.reads, id, clock());
  if (found?.status !== 'pending') throw refused('registration_not_found');
  return found;
}

/** What an administrator makes of a request: nothing but what is said here is granted. */
export interface Grant {
  readonly id: string;
  readonly store: Store;
  /** The user name when it is absent. */
  readonly name?: string | undefined;
  readonly access: RolesAccess;
  /** Who grants, as a text for people. */
  readonly by: string;
}

export const NO_ISSUER = 'cannot be signed: no issuing authority is configured';

/** A refusal of a signing request. */
export const unsigned = (code: ErrorCode, detail: string): Error =>
  refused(code, { problems: [{ pointer: '/csr', detail }] });

/** Who has asked to be signed may come by certificate as well. @source compat A7.2 */
const WITH_CERTIFICATE = [
  { method: 'password', required: false },
  { method: 'certificate', required: false },
] as const;

/** What the request asks to be signed, signed. @throws RefusedError `registration_unsigned` */
function certificateFor(
  { issuer }: Pick<AdminApiPorts, 'issuer'>,
  { username, asked: { csr } = {} }: PendingRegistration,
  at: number,
): X509Certificate | undefined {
  if (csr === undefined) return undefined;
  // Another replica may have taken it, or this one before it was configured anew.
  if (issuer === undefined) throw unsigned('registration_unsigned', NO_ISSUER);
  const read = readSigningRequest(csr, username);
  const issued = read.ok ? issuer.issue(read.request, at) : read;
  if (issued.ok) return issued.certificate;
  throw unsigned('registration_unsigned', `cannot be signed: ${issued.problem}`);
}

/** @throws RefusedError `registration_not_found`, `registration_unsigned` */
export function grantCommand(
  ports: Pick<AdminApiPorts, 'model' | 'secretBox' | 'clock' | 'issuer'>,
  { id, store, name, access, by }: Grant,
  inputs: CommandInputs,
): Extract<RegistrationCommand, { type: 'GrantRegistration' }> {
  const { secretBox } = ports;
  const request = waitingRequest(ports, id);
  const { username } = request;
  const certificate = certificateFor(ports, request, inputs.at);
  const credentialId = inputs.id('credential');
  const issued =
    certificate &&
    ports.issuer &&
    issuedFields(certificate, { authority: ports.issuer, credentialId, by });
  const context = sealingContext({ kind: 'credential', id: credentialId });
  const verifier = secretBox.seal(openRegistration(secretBox, request), context);
  const credential = {
    ...{ id: credentialId, store, name: name ?? username, match: { username }, access },
    ...({ kind: 'password', enabled: true, superuser: false, passwordRequired: true } as const),
    attributes: {},
    secrets: [{ secretId: inputs.id('secret'), verifier, createdAt: inputs.at }],
    ...(certificate !== undefined && { grants: WITH_CERTIFICATE }),
  };
  return {
    type: 'GrantRegistration',
    data: { id, credential, ...(issued !== undefined && { issued }) },
  };
}
