import {
  chainInForce,
  type Credential,
  isLive,
  LIVE_SECRETS_MAX,
  liveTokens,
  type Store,
} from '@sallyport/domain';
import { OperationalError } from '@sallyport/errors';
import type { RefusalReason } from '@sallyport/policy-client';
import type { Facts, ProofMethod } from '@sallyport/rules';
import { type SecretBox, type SecretHasher, sealingContext } from '@sallyport/secrets';
import { withSpan } from '@sallyport/telemetry';
import {
  admitted,
  type CredentialLookup,
  type Candidates,
  findCandidates,
  type Proof,
  type Refused,
  unboundCredential,
  type Verified,
} from './candidates.ts';
import { entryOf, type SecretMethod } from './entry.ts';
import { worseReason } from './login.ts';
import type { ImportedSecrets } from './rehash/imported-secrets.ts';

/**
 * Slow hashes that every refusal of a password costs, whoever was found: as many as a credential can have. A name that has several
 * credentials may cost more.
 */
export const SLOW_CHECKS_OF_REFUSAL = LIVE_SECRETS_MAX;

/** A CONNECT that is being judged. */
interface Attempt {
  readonly facts: Facts;
  readonly password: Uint8Array | undefined;
  readonly at: number;
  /** Slow hashes that were computed for it. */
  slow: number;
}

type Judged =
  (Proof & { readonly ok: true }) | { readonly ok: false; readonly reason: RefusalReason };

/** What was proven, and by which of the ways in. */
interface Proven {
  readonly secretId: string;
  readonly method: SecretMethod;
}

/** The chain that lets none of those decide whom the CONNECT leads to. */
function chainOf(
  lookup: CredentialLookup,
  { credentials, tags }: Candidates,
  { listener }: Facts,
): Pick<Refused, 'ruleId'> {
  // Tags without credentials are of one that its chain does not admit.
  if (credentials.length > 0 || tags.length === 0) return {};
  return { ruleId: `chain:${chainInForce(lookup, listener)?.scope ?? 'global'}` };
}

/** Finds the credential that a CONNECT proves. */
export class Authenticator {
  readonly #lookup: CredentialLookup;
  readonly #box: SecretBox;
  readonly #hasher: SecretHasher;
  readonly #imported: ImportedSecrets | undefined;
  #dummyVerifier: Promise<string> | undefined;

  constructor(options: {
    readonly lookup: CredentialLookup;
    readonly box: SecretBox;
    readonly hasher: SecretHasher;
    /** Told of every imported hash that a password has opened. */
    readonly imported?: ImportedSecrets | undefined;
  }) {
    this.#lookup = options.lookup;
    this.#box = options.box;
    this.#hasher = options.hasher;
    this.#imported = options.imported;
  }

  /**
   * The first credential that the CONNECT proves: stores in order, and in a store client id and username together, then
   * username, then client id, then the certificate; in `emqx` as its chain says. @throws OperationalError `hash_pool_full`, `sealing_key_mismatch`
   */
  async verify(
    { facts, password }: { readonly facts: Facts; readonly password?: Uint8Array | undefined },
    at: number,
    stores?: readonly Store[],
  ): Promise<Verified> {
    const candidates = findCandidates(this.#lookup, { facts, stores }, 'password');
    const attempt: Attempt = { facts, password, at, slow: 0 };
    const unbound = unboundCredential(candidates, facts, stores);
    if (unbound !== undefined) {
      return admitted(candidates, unbound, facts, { methods: ['certificate'] });
    }
    let refusal: Refused = {
      ok: false,
      reason: 'unknown_client',
      ...chainOf(this.#lookup, candidates, facts),
    };
    for (const credential of candidates.credentials) {
      const judged = await this.#judge(credential, attempt);
      if (judged.ok) return admitted(candidates, credential, facts, judged);
      const reason = worseReason(refusal.reason, judged.reason);
      if (reason === refusal.reason) continue;
      refusal = { ok: false, reason, ruleId: `credential:${credential.id}` };
    }
    await this.#pad(attempt);
    return refusal;
  }

  async #judge(credential: Credential, attempt: Attempt): Promise<Judged> {
    const entry = entryOf(credential, attempt.facts, attempt.at);
    if (!entry.ok) return entry;
    const methods: ProofMethod[] = entry.certificate ? ['certificate'] : [];
    if (!entry.secret) return { ok: true, methods };
    const proven =
      (entry.by.includes('token') ? this.#proveToken(credential, attempt) : undefined) ??
      (entry.by.includes('password') ? await this.#provePassword(credential, attempt) : undefined);
    if (proven === undefined) return { ok: false, reason: 'wrong_secret' };
    return { ok: true, secret: proven, methods: [proven.method, ...methods] };
  }

  /** A token in the place of the password; cheap to check, because nobody can guess one. */
  #proveToken(credential: Credential, { password, at }: Attempt): Proven | undefined {
    if (password === undefined || !this.#lookup.settings().tokensAsPasswords) return undefined;
    const context = sealingContext({ kind: 'credential', id: credential.id });
    const found = liveTokens(credential, at).find((one) =>
      this.#hasher.verifyFast(this.#box.open(one.verifier, context), password),
    );
    return found && { secretId: found.tokenId, method: 'token' };
  }

  async #provePassword(credential: Credential, attempt: Attempt): Promise<Proven | undefined> {
    const { password, at } = attempt;
    if (password === undefined) return undefined;
    const context = sealingContext({ kind: 'credential', id: credential.id });
    for (const secret of credential.secrets.filter((one) => isLive(one, at))) {
      if (secret.verifier === undefined) continue;
      const verifier = this.#box.open(secret.verifier, context);
      if (this.#hasher.costOf(verifier) === 'slow') attempt.slow++;
      if (!(await this.#check(verifier, password))) continue;
      if (secret.imported !== undefined) {
        this.#imported?.proven({ id: credential.id, secretId: secret.secretId }, password);
      }
      return { secretId: secret.secretId, method: 'password' };
    }
    return undefined;
  }

  #check(verifier: string, password: Uint8Array): Promise<boolean> {
    return withSpan('secret.verify', { attributes: {} }, () =>
      this.#hasher.verify(verifier, password),
    );
  }

  /** No refusal may answer faster than another: neither a name that nobody has, nor a secret that is cheap to check. */
  async #pad(attempt: Attempt): Promise<void> {
    if (attempt.password === undefined) return;
    for (; attempt.slow < SLOW_CHECKS_OF_REFUSAL; attempt.slow++) {
      await this.#dummy(attempt.password);
    }
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
