import {
  type Credential,
  isLive,
  type Revision,
  saslprep,
  type ScramKeys,
  type ScramMechanism,
  type Secret,
} from '@sallyport/domain';
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

/** The text of a new secret, and how it may be proven besides. */
export interface NewSecret {
  readonly credentialId: string;
  /** Chosen by a person; one is generated when it is absent. */
  readonly password: string | undefined;
  readonly mechanisms: readonly ScramMechanism[];
  /** The user name that is proven with it. */
  readonly username: string | undefined;
}

/** Mechanisms of the present secret: what a new one has unless it is said. */
export function presentMechanisms(credential: Credential, at: number): readonly ScramMechanism[] {
  const [present] = credential.secrets.filter((one) => isLive(one, at));
  return present?.scram?.map((one) => one.mechanism) ?? [];
}

/** @throws RefusedError `credential_invalid` when a password is too long, or cannot be used with SCRAM */
export async function createSecret(
  { ports }: ApiContext,
  wanted: NewSecret,
  inputs: CommandInputs,
): Promise<{ readonly secret: Secret; readonly generated?: string }> {
  const { credentialId, password, mechanisms, username = '' } = wanted;
  if (password !== undefined) checkPassword(password, mechanisms);
  const { secret: text, verifier } =
    password === undefined
      ? ports.hasher.generateSecret()
      : { secret: password, verifier: await ports.hasher.hashPassword(password) };
  const context = sealingContext({ kind: 'credential', id: credentialId });
  const scram: ScramKeys[] = [];
  for (const mechanism of mechanisms) {
    const keys = await ports.hasher.scramVerifier(mechanism, { username, password: text });
    scram.push({ mechanism, verifier: ports.secretBox.seal(keys, context) });
  }
  const secret = {
    secretId: inputs.id('secret'),
    verifier: ports.secretBox.seal(verifier, context),
    ...(scram.length === 0 ? {} : { scram }),
    createdAt: inputs.at,
  };
  return password === undefined ? { secret, generated: text } : { secret };
}

function checkPassword(password: string, mechanisms: readonly ScramMechanism[]): void {
  const refuse = (detail: string): Error =>
    refused('credential_invalid', { problems: [{ pointer: '/password', detail }] });
  if (Buffer.byteLength(password) > SECRET_BYTES_MAX) {
    throw refuse(`must be at most ${SECRET_BYTES_MAX} bytes of UTF-8`);
  }
  if (mechanisms.length > 0 && saslprep(password) === undefined) {
    throw refuse('has characters that SCRAM does not take (RFC 4013); an empty scram does without');
  }
}
