// Loads no schema: see `stored-body.ts`.
import {
  type HashAlgorithm,
  isLimited,
  type NewCredential,
  type ScramMechanism,
  type Secret,
} from '@sallyport/domain';
import {
  importedVerifier,
  type PasswordHash,
  type Sealer,
  sealingContext,
} from '@sallyport/secrets';
import type { Static } from 'typebox';
import { refused } from '../../http/problems.ts';
import type { CommandInputs } from '../../http/write.ts';
import type { createBody } from './schema.ts';
import { storedMatch, storedValidity, withWholeAccess } from './stored-body.ts';

/** A credential as it is sent: the body of `POST /credentials`, a row of an import, an entry of a configuration file. */
export type CreateBody = Static<typeof createBody>;

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

/** Whether the credential gets a secret. */
export const hasSecret = ({ password, passwordHash, generateSecret }: CreateBody): boolean =>
  password !== undefined || passwordHash !== undefined || generateSecret;

/** @throws RefusedError `invalid_request` for members that contradict each other */
export function checkSecretMembers(body: CreateBody): void {
  const { password, passwordHash, generateSecret, scram = [] } = body;
  if ((password !== undefined || passwordHash !== undefined) && generateSecret) {
    throw contradiction('/generateSecret', 'cannot be combined with a password');
  }
  if (scram.length > 0 && !hasSecret(body)) {
    throw contradiction('/scram', 'needs a password or a generated secret');
  }
}

const contradiction = (pointer: string, detail: string): Error =>
  refused('invalid_request', { problems: [{ pointer, detail }] });

/** Everything of the body but its secret, as it is stored. */
export function fieldsOf(body: CreateBody, inputs: CommandInputs): Omit<NewCredential, 'secrets'> {
  const { store, kind, name, match, enabled, superuser, passwordRequired, attributes } = body;
  const { grants, validity, chain, clientIds } = body;
  const { access } = withWholeAccess({ access: body.access }, inputs);
  // Member by member: what takes a body apart and puts it together again costs V8 microseconds, and an import has a million.
  const fields = {
    id: inputs.id('credential'),
    store,
    kind,
    name,
    match: storedMatch(match),
    enabled,
    superuser,
    passwordRequired,
    attributes,
    access,
    grants,
    validity: storedValidity(validity),
  };
  const limited = isLimited(clientIds);
  if (chain === undefined && !limited) return fields;
  return { ...fields, ...(chain !== undefined && { chain }), ...(limited && { clientIds }) };
}

/**
 * The credential of a body whose secret is there as a hash, or that has none: nothing is computed but the seal. Undefined for any
 * other. @throws RefusedError as `prepareCredential`
 */
export function readyCredential(
  box: Pick<Sealer, 'seal'>,
  body: CreateBody,
  inputs: CommandInputs,
): NewCredential | undefined {
  checkSecretMembers(body);
  const { password, passwordHash, generateSecret, scram = [], scramOnly } = body;
  if (password !== undefined || generateSecret || scram.length > 0) return undefined;
  const fields = fieldsOf(body, inputs);
  if (passwordHash === undefined) return { secrets: [], ...fields };
  checkCombination({ password, passwordHash, mechanisms: scram, scramOnly });
  const wanted = { credentialId: fields.id, passwordHash };
  return { secrets: [importedSecret(box, wanted, inputs)], ...fields };
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
