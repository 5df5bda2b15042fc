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
import {
  BCRYPT_PASSWORD_BYTES_MAX,
  importedVerifier,
  type PasswordHash,
  type Sealer,
  sealingContext,
} from '@sallyport/secrets';
import type { ApiContext } from '../../http/context.ts';
import { lookupsOf } from '../../http/one-object.ts';
import { refused } from '../../http/problems.ts';
import type { CommandInputs } from '../../http/write.ts';
import { checkChosenPassword } from '../../passwords.ts';

export const credentials = lookupsOf<Credential>(
  (reads, id) => reads.credential(id),
  'credential_not_found',
);

/** The text of a new secret, and how it may be proven besides. */
export interface NewSecret {
  readonly credentialId: string;
  /** Chosen by a person; one is generated when it is absent. */
  readonly password: string | undefined;
  /** Kept by somebody else, instead of a password. */
  readonly passwordHash?: PasswordHash | undefined;
  readonly mechanisms: readonly ScramMechanism[];
  /** The user name that is proven with it. */
  readonly username: string | undefined;
  /** Nothing but the SCRAM keys is kept. */
  readonly scramOnly?: boolean;
  /** Of a password; argon2id when undefined. */
  readonly algorithm?: HashAlgorithm | undefined;
}

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

/** @throws RefusedError `invalid_request` for members that contradict each other */
export function checkCombination({
  password,
  passwordHash,
  mechanisms,
  scramOnly,
}: Pick<NewSecret, 'password' | 'passwordHash' | 'mechanisms' | 'scramOnly'>): void {
  const refuse = (pointer: string, detail: string): Error =>
    refused('invalid_request', { problems: [{ pointer, detail }] });
  if (passwordHash !== undefined && password !== undefined) {
    throw refuse('/passwordHash', 'cannot be combined with a password');
  }
  if (passwordHash !== undefined && mechanisms.length > 0) {
    throw refuse('/scram', 'cannot be made from a hash; an empty scram does without');
  }
  if (scramOnly === true && mechanisms.length === 0) {
    throw refuse('/scramOnly', 'needs a mechanism in scram');
  }
}

/** The secret of a hash that somebody else has kept. @throws RefusedError `credential_invalid` */
export function importedSecret(
  box: Pick<Sealer, 'seal'>,
  {
    credentialId,
    passwordHash,
  }: { readonly credentialId: string; readonly passwordHash: PasswordHash },
  inputs: CommandInputs,
): Secret {
  const parsed = importedVerifier(passwordHash);
  if (!parsed.ok) {
    const pointer = `/passwordHash/${parsed.member}`;
    throw refused('credential_invalid', { problems: [{ pointer, detail: parsed.problem }] });
  }
  const context = sealingContext({ kind: 'credential', id: credentialId });
  return {
    secretId: inputs.id('secret'),
    verifier: box.seal(parsed.verifier, context),
    imported: passwordHash.algorithm,
    createdAt: inputs.at,
  };
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
