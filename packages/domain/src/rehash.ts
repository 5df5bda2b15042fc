import { accept, type Decided } from './commit.ts';
import type { Credential, CredentialEvent } from './credential.ts';

export const IMPORTED_ALGORITHMS = [
  'plain',
  'md5',
  'sha1',
  'sha256',
  'sha512',
  'bcrypt',
  'pbkdf2',
  'mosquitto',
] as const;

/** How somebody else kept a password that was brought here as a hash. */
export type ImportedAlgorithm = (typeof IMPORTED_ALGORITHMS)[number];

/** Most secrets of one `RehashSecrets`. */
export const REHASH_SECRETS_MAX = 64;

/** A secret that is kept in our own form from now on. The password behind it is the same. */
export interface CredentialRehash {
  readonly id: string;
  readonly secretId: string;
  readonly verifier: string;
}

/** Given by whoever has seen the passwords verified; what is not as it was then any more is left alone. */
export interface RehashCommand {
  readonly type: 'RehashSecrets';
  readonly data: { readonly secrets: readonly CredentialRehash[] };
}

/** Never refused: a second replica that saw the same login finds nothing left to do. */
export function decideRehash(
  reads: { credential(id: string): Credential | undefined },
  { data }: RehashCommand,
): Decided<CredentialEvent> {
  const done = new Set<string>();
  const events: CredentialEvent[] = [];
  for (const wanted of data.secrets.slice(0, REHASH_SECRETS_MAX)) {
    const { id, secretId } = wanted;
    const secret = reads.credential(id)?.secrets.find((one) => one.secretId === secretId);
    const key = JSON.stringify([id, secretId]);
    if (secret?.imported === undefined || done.has(key)) continue;
    done.add(key);
    events.push({ type: 'CredentialSecretRehashed', data: wanted });
  }
  return accept(...events);
}

export function rehashed(state: Credential, { secretId, verifier }: CredentialRehash): Credential {
  const secrets = state.secrets.map((one) => {
    if (one.secretId !== secretId) return one;
    const { imported: _past, ...kept } = one;
    return { ...kept, verifier };
  });
  return { ...state, secrets };
}
