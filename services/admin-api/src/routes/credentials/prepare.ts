import {
  type NewCredential,
  scramNameOf,
  type ScramMechanism,
  type Secret,
} from '@sallyport/domain';
import type { ApiContext } from '../../http/context.ts';
import type { CommandInputs } from '../../http/write.ts';
import { algorithmFor, authenticatorFor, createSecret } from './lookup.ts';
import { checkSecretMembers, type CreateBody, fieldsOf, hasSecret } from './ready.ts';

/** A credential to add. */
export interface PreparedCredential {
  readonly credential: NewCredential;
  /** The secret that was generated for it; told once. */
  readonly generated?: string;
}

/** Mechanisms that the new secret has: those that are asked for, or that its authenticator takes instead of a password. */
function mechanismsOf(context: ApiContext, body: CreateBody): readonly ScramMechanism[] {
  if (body.scram !== undefined || body.passwordHash !== undefined) return body.scram ?? [];
  const authenticator = hasSecret(body) ? authenticatorFor(context, body) : undefined;
  return authenticator?.mechanism === 'scram' ? [authenticator.scram] : [];
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
    const username = scramNameOf(body.match);
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
