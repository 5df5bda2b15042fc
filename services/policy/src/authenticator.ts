import { OperationalError } from '@sallyport/errors';
import { isLive } from '@sallyport/domain';
import type { RefusalReason } from '@sallyport/policy-client';
import type { Facts } from '@sallyport/rules';
import { type SecretBox, type SecretHasher, sealingContext } from '@sallyport/secrets';
import { withSpan } from '@sallyport/telemetry';
import { admitted, type CredentialLookup, findCandidates, type Verified } from './candidates.ts';

/** Finds the credential that a CONNECT proves. */
export class Authenticator {
  readonly #lookup: CredentialLookup;
  readonly #box: SecretBox;
  readonly #hasher: SecretHasher;
  #dummyVerifier: Promise<string> | undefined;

  constructor(options: {
    readonly lookup: CredentialLookup;
    readonly box: SecretBox;
    readonly hasher: SecretHasher;
  }) {
    this.#lookup = options.lookup;
    this.#box = options.box;
    this.#hasher = options.hasher;
  }

  /**
   * The first credential that the CONNECT proves: stores in order, and in a store client id and username together, then
   * username, then client id. @throws OperationalError `hash_pool_full`, `sealing_key_mismatch`
   */
  async verify(facts: Facts, password: Uint8Array | undefined, at: number): Promise<Verified> {
    const candidates = findCandidates(this.#lookup, facts);
    let reason: RefusalReason = 'unknown_client';
    let hashed = false;
    for (const credential of candidates) {
      if (!credential.enabled) {
        reason = 'disabled';
        continue;
      }
      if (!credential.passwordRequired) return admitted(candidates, credential, facts);
      if (reason === 'unknown_client') reason = 'wrong_secret';
      if (password === undefined) continue;
      const context = sealingContext({ kind: 'credential', id: credential.id });
      for (const secret of credential.secrets.filter((one) => isLive(one, at))) {
        const verifier = this.#box.open(secret.verifier, context);
        hashed ||= this.#hasher.costOf(verifier) === 'slow';
        if (await this.#check(verifier, password))
          return admitted(candidates, credential, facts, secret);
      }
    }
    // A name that nobody has must not answer faster than a wrong password.
    if (!hashed && password !== undefined && reason !== 'wrong_secret') await this.#dummy(password);
    return { ok: false, reason };
  }

  #check(verifier: string, password: Uint8Array): Promise<boolean> {
    return withSpan('secret.verify', { attributes: {} }, () =>
      this.#hasher.verify(verifier, password),
    );
  }

  async #dummy(password: Uint8Array): Promise<void> {
    this.#dummyVerifier ??= this.#hasher.hashPassword('no credential has this');
    try {
      await this.#check(await this.#dummyVerifier, password);
    } catch (error) {
      this.#dummyVerifier = undefined;
      if (error instanceof OperationalError) throw error;
      throw new OperationalError('hash_pool_full', 'the dummy secret could not be hashed', {
        cause: error,
      });
    }
  }
}
