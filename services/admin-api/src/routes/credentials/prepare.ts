import type { NewCredential, ScramMechanism, Secret } from '@sallyport/domain';
import type { Sealer } from '@sallyport/secrets';
import type { Static } from 'typebox';
import type { ApiContext } from '../../http/context.ts';
import { refused } from '../../http/problems.ts';
import type { CommandInputs } from '../../http/write.ts';
import {
  algorithmFor,
  authenticatorFor,
  checkCombination,
  createSecret,
  importedSecret,
} from './lookup.ts';
import { storedMatch, storedValidity } from './proof-schema.ts';
import { withWholeAccess } from './roles-access.ts';
import type { createBody } from './schema.ts';

/** A credential as it is sent: the body of `POST /credentials`, a row of an import, an entry of a configuration file. */
export type CreateBody = Static<typeof createBody>;

/** A credential to add. */
export interface PreparedCredential {
  readonly credential: NewCredential;
  /** The secret that was generated for it; told once. */
  readonly generated?: string;
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

/** Mechanisms that the new secret has: those that are asked for, or that its authenticator takes instead of a password. */
function mechanismsOf(context: ApiContext, body: CreateBody): readonly ScramMechanism[] {
  if (body.scram !== undefined || body.passwordHash !== undefined) return body.scram ?? [];
  const authenticator = hasSecret(body) ? authenticatorFor(context, body) : undefined;
  return authenticator?.mechanism === 'scram' ? [authenticator.scram] : [];
}

/** Everything of the body but its secret, as it is stored. */
export function fieldsOf(body: CreateBody, inputs: CommandInputs): Omit<NewCredential, 'secrets'> {
  const { store, kind, name, match, enabled, superuser, passwordRequired, attributes } = body;
  const { grants, validity, chain } = body;
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
  return chain === undefined ? fields : { ...fields, chain };
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

/** Makes the secret and all else that is not in the body. @throws RefusedError `invalid_request`, `credential_invalid` */
export async function prepareCredential(
  context: ApiContext,
  body: CreateBody,
  inputs: CommandInputs,
): Promise<PreparedCredential> {
  checkSecretMembers(body);
  const { password, passwordHash, scramOnly } = body;
  const mechanisms = mechanismsOf(context, body);
  const fields = fieldsOf(body, inputs);
  const secrets: Secret[] = [];
  let generated: string | undefined;
  if (hasSecret(body)) {
    const { username } = body.match;
    const algorithm = algorithmFor(context, body);
    const how = { password, passwordHash, mechanisms, scramOnly, algorithm };
    const created = await createSecret(
      context,
      { credentialId: fields.id, username, ...how },
      inputs,
    );
    secrets.push(created.secret);
    generated = created.generated;
  }
  return {
    credential: { secrets, ...fields },
    ...(generated === undefined ? {} : { generated }),
  };
}

/** The credential with secrets that open nothing: for finding out whether it would be taken, which needs no hash. */
export function placeholder(
  context: ApiContext,
  body: CreateBody,
  inputs: CommandInputs,
): NewCredential {
  const keys = mechanismsOf(context, body).map((mechanism) => ({ mechanism, verifier: '' }));
  const scram = keys.length === 0 ? {} : { scram: keys };
  const secret = { secretId: '', verifier: '', createdAt: inputs.at, ...scram };
  return { secrets: hasSecret(body) ? [secret] : [], ...fieldsOf(body, inputs) };
}
