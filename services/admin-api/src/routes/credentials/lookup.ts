import type { Credential, Revision, Secret } from '@sallyport/domain';
import { SECRET_BYTES_MAX, sealingContext } from '@sallyport/secrets';
import type { ApiContext } from '../../http/context.ts';
import { refused } from '../../http/problems.ts';
import type { CommandInputs } from '../../http/write.ts';

/** @throws RefusedError `credential_not_found` */
export function found(context: ApiContext, id: string): Credential {
  const credential = context.ports.model.reads.credential(id);
  if (credential === undefined) throw refused('credential_not_found');
  return credential;
}

/** Revision that last changed the credential now, for the entity tag of a refusal. */
export const currentOf = (context: ApiContext, id: string) => (): Revision | undefined =>
  context.ports.model.reads.credential(id)?.updatedRevision;

/** The secret of a password. @throws RefusedError `credential_invalid` for one that is too long */
export async function passwordSecret(
  context: ApiContext,
  credentialId: string,
  password: string,
  inputs: CommandInputs,
): Promise<Secret> {
  if (Buffer.byteLength(password) > SECRET_BYTES_MAX) {
    const detail = `must be at most ${SECRET_BYTES_MAX} bytes of UTF-8`;
    throw refused('credential_invalid', { problems: [{ pointer: '/password', detail }] });
  }
  const verifier = await context.ports.hasher.hashPassword(password);
  return sealedSecret(context, credentialId, verifier, inputs);
}

/** A secret whose verifier is sealed under the name of its credential. */
export function sealedSecret(
  context: ApiContext,
  credentialId: string,
  verifier: string,
  inputs: CommandInputs,
): Secret {
  return {
    secretId: inputs.id('secret'),
    verifier: context.ports.secretBox.seal(
      verifier,
      sealingContext({ kind: 'credential', id: credentialId }),
    ),
    createdAt: inputs.at,
  };
}
