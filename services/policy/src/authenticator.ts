import {
  chainInForce,
  type Credential,
  isLive,
  liveTokens,
  loginKeysOf,
  type Store,
} from '@sallyport/domain';
import type { RefusalReason } from '@sallyport/policy-client';
import type { Facts, ProofMethod } from '@sallyport/rules';
import {
  decoyOf,
  type HashWork,
  type SecretBox,
  type SecretHasher,
  sealingContext,
  workOf,
} from '@sallyport/secrets';
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
import { RefusalDecoys } from './refusal-decoys.ts';
import { RefusalWork } from './refusal-work.ts';
import type { ImportedSecrets } from './rehash/imported-secrets.ts';

/** Credentials that are looked at for what refusals cost, before anybody has logged in: a few milliseconds, once. */
const SAMPLED_AT_FIRST = 64;

export interface AuthenticatorLookup extends CredentialLookup {
  /** So many, or all that there are, from everywhere among them. */
  someCredentials(count: number): readonly Credential[];
}

/** A CONNECT that is being judged. */
interface Attempt {
  readonly facts: Facts;
  readonly password: Uint8Array | undefined;
  readonly at: number;
  /** Slow hashes that were computed for it. */
  readonly done: HashWork[];
  /** Secrets that were opened for it and checked. */
  checked: number;
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
  readonly #lookup: AuthenticatorLookup;
  readonly #box: SecretBox;
  readonly #hasher: SecretHasher;
  readonly #imported: ImportedSecrets | undefined;
  readonly #decoys: RefusalDecoys;
  readonly #work: RefusalWork;
  /** Of the last who was found, and of the last who was not: what a refusal of the other kind looks up beside its own. */
  #foundKeys: readonly string[] = [];
  #missedKeys: readonly string[] = [];
  #isSampled = false;

  constructor(options: {
    readonly lookup: AuthenticatorLookup;
    readonly box: SecretBox;
    readonly hasher: SecretHasher;
    /** Told of every imported hash that a password has opened. */
    readonly imported?: ImportedSecrets | undefined;
  }) {
    this.#lookup = options.lookup;
    this.#box = options.box;
    this.#hasher = options.hasher;
    this.#imported = options.imported;
    this.#decoys = new RefusalDecoys(options.box, options.hasher);
    this.#work = new RefusalWork(options.box);
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
    const attempt: Attempt = { facts, password, at, done: [], checked: 0 };
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
      if (judged.ok) {
        this.#work.learn(facts, candidates.credentials, at);
        return admitted(candidates, credential, facts, judged);
      }
      const reason = worseReason(refusal.reason, judged.reason);
      if (reason === refusal.reason) continue;
      refusal = { ok: false, reason, ruleId: `credential:${credential.id}` };
    }
    this.#lookUpOther(candidates, facts);
    await this.#pad(attempt, candidates.credentials);
    return refusal;
  }

  /** Finding a credential takes a few microseconds more than finding none, so that every refusal does both. */
  #lookUpOther({ credentials }: Candidates, facts: Facts): void {
    const keys = loginKeysOf(facts);
    const others = credentials.length > 0 ? this.#missedKeys : this.#foundKeys;
    if (credentials.length > 0) this.#foundKeys = keys;
    else this.#missedKeys = keys;
    this.#lookup.credentialsByLogin(...others);
  }

  /** Some who are known, before the first stranger is refused: he would cost other hashes than they do. */
  #sampleOnce(at: number): void {
    if (this.#isSampled) return;
    const some = this.#lookup.someCredentials(SAMPLED_AT_FIRST);
    for (const { match } of some) {
      const { username, clientId = '' } = match;
      if (username === undefined && clientId === '') continue;
      const facts = { clientId, listener: '', ...(username !== undefined && { username }) };
      const { credentials } = findCandidates(this.#lookup, { facts }, 'password');
      if (credentials.length > 0) this.#work.learn(facts, credentials, at);
    }
    this.#isSampled = some.length > 0;
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
      attempt.checked++;
      const work = workOf(verifier);
      if (work !== undefined) attempt.done.push(work);
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

  /** No refusal may answer faster than another: neither a name that nobody has, nor a secret that is cheap to check or not asked for. */
  async #pad(attempt: Attempt, credentials: readonly Credential[]): Promise<void> {
    const { facts, password, at, done } = attempt;
    if (password === undefined) return;
    this.#sampleOnce(at);
    // It takes longer than it seems: slow hashes leave nothing of it in the caches of the processor.
    const unchecked = this.#decoys.missing(attempt.checked);
    if (unchecked !== undefined) await this.#judge(unchecked, attempt);
    const opened = credentials.reduce((sum, { secrets }) => sum + secrets.length, 0);
    const unopened = this.#decoys.missing(opened);
    for (const work of this.#work.of(facts, credentials, at, unopened)) {
      const index = done.indexOf(work);
      if (index >= 0) done.splice(index, 1);
      else await this.#check(decoyOf(work), password);
    }
  }
}
