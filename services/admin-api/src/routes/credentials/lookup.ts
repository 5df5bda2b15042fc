import {
  type Authenticator,
  authenticatorOf,
  type Credential,
  DEFAULT_HASH,
  type HashAlgorithm,
  isLive,
  memberOf,
  type PasswordPolicy,
  saslprep,
  type ScramKeys,
  type ScramMechanism,
  type Secret,
} from '@sallyport/domain';
import { BCRYPT_PASSWORD_BYTES_MAX, sealingContext } from '@sallyport/secrets';
import type { ApiContext } from '../../http/context.ts';
import { lookupsOf } from '../../http/one-object.ts';
import { refused } from '../../http/problems.ts';
import type { CommandInputs } from '../../http/write.ts';
import { checkChosenPassword } from '../../passwords.ts';
import { checkCombination, importedSecret, type NewSecret } from './ready.ts';

export const credentials = lookupsOf<Credential>(
  (reads, id) => reads.credential(id),
  'credential_not_found',
);

/** The authenticator that a credential belongs to; undefined outside of chains, and where its chain does not have it. */
export function authenticatorFor(
  { ports }: ApiContext,
  credential: Pick<Credential, 'store' | 'chain'>,
): Authenticator | undefined {
  const member = memberOf(credential);
  if (member === undefined) return undefined;
  return authenticatorOf(ports.model.reads.authChain(member.scope), member.authenticator);
}

/** How a new password of a credential is hashed. */
export function algorithmFor(
  context: ApiContext,
  credential: Pick<Credential, 'store' | 'chain'>,
): HashAlgorithm {
  const authenticator = authenticatorFor(context, credential);
  return authenticator?.mechanism === 'password_based' ? authenticator.hash : DEFAULT_HASH;
}

/** Mechanisms of the present secret: what a new one has unless it is said. */
export function presentMechanisms(credential: Credential, at: number): readonly ScramMechanism[] {
  const [present] = credential.secrets.filter((one) => isLive(one, at));
  return present?.scram?.map((one) => one.mechanism) ?? [];
}

/** @throws RefusedError `credential_invalid` when a password is too long, fails the policy, or cannot be used with SCRAM */
export async function createSecret(
  { ports }: ApiContext,
  wanted: NewSecret,
  inputs: CommandInputs,
): Promise<{ readonly secret: Secret; readonly generated?: string }> {
  const { credentialId, password, mechanisms, username = '', scramOnly = false } = wanted;
  checkCombination(wanted);
  const { passwordHash } = wanted;
  if (passwordHash !== undefined) {
    return { secret: importedSecret(ports.secretBox, { credentialId, passwordHash }, inputs) };
  }
  if (password !== undefined) checkPassword(ports.passwordPolicy, password, wanted);
  const { secret: text, verifier } = await textOf(ports, wanted);
  const context = sealingContext({ kind: 'credential', id: credentialId });
  const scram: ScramKeys[] = [];
  for (const mechanism of mechanisms) {
    const keys = await ports.hasher.scramVerifier(mechanism, { username, password: text });
    scram.push({ mechanism, verifier: ports.secretBox.seal(keys, context) });
  }
  const secret = {
    secretId: inputs.id('secret'),
    ...(scramOnly ? {} : { verifier: ports.secretBox.seal(verifier, context) }),
    ...(scram.length === 0 ? {} : { scram }),
    createdAt: inputs.at,
  };
  return password === undefined ? { secret, generated: text } : { secret };
}

/** The text of the secret and what it is verified by; nothing is computed that is not kept. */
async function textOf(
  { hasher }: ApiContext['ports'],
  { password, scramOnly, algorithm }: NewSecret,
): Promise<{ readonly secret: string; readonly verifier: string }> {
  if (password === undefined) return hasher.generateSecret();
  const verifier = scramOnly === true ? '' : await hasher.hashPassword(password, algorithm);
  return { secret: password, verifier };
}

function checkPassword(
  policy: PasswordPolicy,
  password: string,
  { mechanisms, algorithm }: Pick<NewSecret, 'mechanisms' | 'algorithm'>,
): void {
  const refuse = (detail: string): Error =>
    refused('credential_invalid', { problems: [{ pointer: '/password', detail }] });
  checkChosenPassword(policy, password, 'credential_invalid');
  const bytes = Buffer.byteLength(password);
  if (algorithm?.name === 'bcrypt' && bytes > BCRYPT_PASSWORD_BYTES_MAX) {
    throw refuse(`must be at most ${BCRYPT_PASSWORD_BYTES_MAX} bytes of UTF-8 for bcrypt`);
  }
  if (mechanisms.length > 0 && saslprep(password) === undefined) {
    throw refuse('has characters that SCRAM does not take (RFC 4013); an empty scram does without');
  }
}
