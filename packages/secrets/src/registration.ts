import { OperationalError } from '@sallyport/errors';
import { type SecretBox, sealingContext } from './secret-box.ts';
import type { SecretHasher } from './secret-hasher.ts';

/** What is kept of the password of somebody who asks for access. */
export interface RegistrationSecret {
  /** The same for the same user name and password, and for no others; tells nothing to whoever has not the deployment key. */
  readonly id: string;
  /** argon2id, sealed for the id. */
  readonly verifier: string;
}

const contextOf = (id: string): string => sealingContext({ kind: 'registration', id });

/** In the hash pool. @throws OperationalError `hash_pool_full` */
export async function makeRegistration(
  {
    box,
    hasher,
  }: { readonly box: SecretBox; readonly hasher: Pick<SecretHasher, 'hashPasswordOf'> },
  { username, password }: { readonly username: string; readonly password: Uint8Array },
): Promise<RegistrationSecret> {
  const verifier = await hasher.hashPasswordOf(username, password);
  const id = idOf(box, username, verifier);
  return { id, verifier: box.seal(verifier, contextOf(id)) };
}

/** The verifier, to seal it for a credential. @throws OperationalError `sealing_key_mismatch` */
export const openRegistration = (box: SecretBox, { id, verifier }: RegistrationSecret): string =>
  box.open(verifier, contextOf(id));

/** Whether `makeRegistration` has made it for this user name. */
export function isRegistration(
  box: SecretBox,
  { username, ...secret }: RegistrationSecret & { readonly username: string },
): boolean {
  try {
    const verifier = openRegistration(box, secret);
    return verifier.startsWith('$argon2id$') && secret.id === idOf(box, username, verifier);
  } catch (error) {
    if (error instanceof OperationalError) return false;
    throw error;
  }
}

/** A UUID of version 8, RFC 9562 §5.8. */
function idOf(box: SecretBox, username: string, verifier: string): string {
  const digest = box.fingerprint(JSON.stringify(['registration', username, verifier]));
  const variant = (0x8 | (Number.parseInt(digest.charAt(16), 16) & 0x3)).toString(16);
  return [
    digest.slice(0, 8),
    digest.slice(8, 12),
    `8${digest.slice(13, 16)}`,
    `${variant}${digest.slice(17, 20)}`,
    digest.slice(20, 32),
  ].join('-');
}
