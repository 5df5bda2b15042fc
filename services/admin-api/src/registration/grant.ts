import {
  type CredentialFields,
  liveRegistration,
  type PendingRegistration,
  type RegistrationCommand,
  type RolesAccess,
  type Store,
} from '@sallyport/domain';
import { openRegistration, sealingContext } from '@sallyport/secrets';
import { refused } from '../http/problems.ts';
import type { CommandInputs } from '../http/write.ts';
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
  /** Ways in beside the password. */
  readonly grants?: CredentialFields['grants'];
  /** PEM of what was made of the signing request. */
  readonly certificate?: string;
}

/** @throws RefusedError `registration_not_found` */
export function grantCommand(
  ports: Pick<AdminApiPorts, 'model' | 'secretBox' | 'clock'>,
  { id, store, name, access, grants, certificate }: Grant,
  inputs: CommandInputs,
): Extract<RegistrationCommand, { type: 'GrantRegistration' }> {
  const { secretBox } = ports;
  const request = waitingRequest(ports, id);
  const { username } = request;
  const credentialId = inputs.id('credential');
  const context = sealingContext({ kind: 'credential', id: credentialId });
  const verifier = secretBox.seal(openRegistration(secretBox, request), context);
  const credential = {
    ...{ id: credentialId, store, name: name ?? username, match: { username }, access },
    ...({ kind: 'password', enabled: true, superuser: false, passwordRequired: true } as const),
    attributes: {},
    secrets: [{ secretId: inputs.id('secret'), verifier, createdAt: inputs.at }],
    ...(grants !== undefined && { grants }),
  };
  return {
    type: 'GrantRegistration',
    data: { id, credential, ...(certificate !== undefined && { certificate }) },
  };
}
