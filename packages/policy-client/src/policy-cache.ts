import { hash, randomBytes } from 'node:crypto';
import { OperationalError } from '@sallyport/errors';
import { addressOfPeer, type Revision, type ScramMechanism, type Store } from '@sallyport/domain';
import { type CompiledPolicy, compilePolicy, type Facts, type PolicySpec } from '@sallyport/rules';
import {
  type AdmittedAnswer,
  ANONYMOUS_ID,
  type PolicyClient,
  type Principal,
  type RefusalReason,
  type RefusedAnswer,
  type Resolved,
  type ScramRequest,
} from './policy-client.ts';
import { type ChangedTags, RecentChanges } from './recent-changes.ts';

/** Most (client, secret) pairs that a node remembers as verified. */
export const VERIFIED_ENTRIES_MAX = 100_000;

/** Most compiled policies that a node keeps beside those in use. */
export const COMPILED_POLICIES_MAX = 10_000;

/** Most entries that a change drops at once; of more, a few in each turn of the event loop, and none is handed out meanwhile. */
export const DROPPED_AT_ONCE_MAX = 256;

/** Longest wait until this node has heard what is in the log already. */
export const HEAR_TIMEOUT_MS = 2_000;

/** Most answers that are thrown away because they were stale on arrival, before a CONNECT fails. */
const STALE_ANSWERS_MAX = 5;

/** A principal with the policy that decides for it, at a revision. */
export interface Admitted {
  readonly principal: Principal;
  readonly resolved: Resolved;
  readonly policy: CompiledPolicy;
  readonly revision: Revision;
}

export type Admission =
  | { readonly ok: true; readonly source: 'cache' | 'policy'; readonly admitted: Admitted }
  | RefusedAnswer;

export interface ConnectProof {
  readonly facts: Facts;
  readonly password: Uint8Array | undefined;
}

const NOTHING = Buffer.alloc(0);

/** Of one UTF-16 unit. */
const UTF8_BYTES_MAX = 3;

/** One half of a SCRAM exchange as a node asks for it; at which revision and in which stores is the cache's business. */
export type ScramStep = Omit<ScramRequest, 'minRevision' | 'stores'>;

export type ScramChallenge =
  | { readonly ok: true; readonly message: Uint8Array; readonly state: Uint8Array }
  | { readonly ok: false; readonly reason: RefusalReason };

/** Reasons that a change in the log can take away. */
const CURABLE: ReadonlySet<RefusalReason> = new Set([
  'unknown_client',
  'wrong_secret',
  'disabled',
  'banned',
  'not_valid_now',
  'certificate',
  'client_id',
]);

/** Whether something that is in the log already may prove the client; nothing does where its listener asks nobody. */
const mayBeLate = (answer: AdmittedAnswer | RefusedAnswer): boolean =>
  answer.ok
    ? isAnonymous(answer) && answer.principal.facts.open !== true
    : CURABLE.has(answer.reason);

/** What a certificate may be looked up by. Its chain too: cross-signed authorities give one certificate several. */
function chainOf(certificate: Facts['certificate']): string | undefined {
  if (certificate === undefined) return undefined;
  const { fingerprintSha256, chainCommonNames } = certificate;
  return JSON.stringify([fingerprintSha256, ...chainCommonNames]);
}

/** Where a policy depends on the address it is kept under this key, and under that of the proof as well: to tell that it does. */
function keyFromAddress(key: string, { peer }: Facts): string {
  return `${key}@${peer === undefined ? '' : (addressOfPeer(peer) ?? peer)}`;
}

const isAnonymous = ({ principal }: Pick<Admitted, 'principal'>): boolean =>
  principal.credentialId === ANONYMOUS_ID;

/** The answer for another connection of the same client: its own peer, and what the first one has proven. */
function withFacts(admitted: Admitted, facts: Facts, revision = admitted.revision): Admitted {
  const { principal, resolved, policy } = admitted;
  if (isAnonymous(admitted)) {
    const { username: _claimed, ...own } = facts;
    return { principal: { ...principal, facts: own }, resolved, policy, revision };
  }
  const { credentialId, store, secretId } = principal;
  const proven = provenFacts(facts, principal.facts);
  const same =
    secretId === undefined
      ? { credentialId, store, facts: proven }
      : { credentialId, store, secretId, facts: proven };
  return { principal: same, resolved, policy, revision };
}

/**
 * Field by field, on a path that every CONNECT takes: V8 gives the copy by `...` that then gets another field a hidden class of its
 * own, each time.
 */
function provenFacts(
  { clientId, username: named, listener, zone, peer, certificate, attributes }: Facts,
  { username = named, methods }: Facts,
): Facts {
  const proven: { -readonly [Key in keyof Facts]: Facts[Key] } = { clientId, listener };
  // A certificate may have told it.
  if (username !== undefined) proven.username = username;
  if (zone !== undefined) proven.zone = zone;
  if (peer !== undefined) proven.peer = peer;
  if (certificate !== undefined) proven.certificate = certificate;
  if (methods !== undefined) proven.methods = methods;
  if (attributes !== undefined) proven.attributes = attributes;
  return proven;
}

/**
 * What a node knows of the policy service's answers: verified secrets, and compiled policies shared by all sessions that
 * have the same rules. INVARIANT: nothing that it hands out is older than a change that `invalidate` has told it of.
 */
export class PolicyCache {
  readonly #client: PolicyClient;
  readonly #log: { head(): Promise<Revision> };
  readonly #clock: () => number;
  readonly #stores: (listener: string) => readonly Store[] | undefined;
  readonly #key = randomBytes(32);
  readonly #verified = new Map<string, Admitted>();
  readonly #byTag = new Map<string, Set<string>>();
  /** Keys of entries that are stale and not dropped yet. */
  readonly #stale: Set<string>[] = [];
  readonly #compiled = new Map<string, CompiledPolicy>();
  readonly #inFlight = new Map<string, Promise<Admission>>();
  readonly #recent: RecentChanges;
  #revision: Revision;
  #headQuery: Promise<Revision> | undefined;
  #nextHeadQuery: Promise<Revision> | undefined;
  readonly #waiting = new Set<{ readonly revision: Revision; readonly heard: () => void }>();

  constructor(options: {
    readonly client: PolicyClient;
    /** Asked once before somebody is refused, because the node's own tail may be a moment behind. */
    readonly log: { head(): Promise<Revision> };
    /** The revision from which on `invalidate` will be called. */
    readonly revision: Revision;
    /** Milliseconds since 1970. */
    readonly clock: () => number;
    /** Stores of a listener in order; all when it is undefined. The same for as long as the cache lives. */
    readonly stores?: (listener: string) => readonly Store[] | undefined;
  }) {
    this.#client = options.client;
    this.#log = options.log;
    this.#clock = options.clock;
    this.#stores = options.stores ?? (() => undefined);
    this.#revision = options.revision;
    this.#recent = new RecentChanges(options.revision);
  }

  /** Newest revision that `invalidate` has told of. */
  get revision(): Revision {
    return this.#revision;
  }

  get size(): number {
    return this.#verified.size;
  }

  /** Drops everything that bears one of the tags; commits come in order. Tags that are not told yet are asked for while something is kept. */
  invalidate(revision: Revision, tags: ChangedTags): void {
    if (this.#byTag.size > 0) this.#dropTagged(typeof tags === 'function' ? tags() : tags);
    this.#revision = revision;
    this.#recent.add(revision, tags);
    for (const waiter of this.#waiting) if (waiter.revision <= revision) waiter.heard();
  }

  #dropTagged(tags: readonly string[]): void {
    for (const tag of tags) {
      const keys = this.#byTag.get(tag);
      if (keys === undefined) continue;
      if (keys.size <= DROPPED_AT_ONCE_MAX) for (const key of keys) this.#drop(key);
      else {
        this.#byTag.delete(tag);
        if (this.#stale.push(keys) === 1) setImmediate(() => this.#dropSome());
      }
    }
  }

  #dropSome(): void {
    const [keys] = this.#stale;
    if (keys === undefined) return;
    let dropped = 0;
    for (const key of keys) {
      if (dropped++ === DROPPED_AT_ONCE_MAX) break;
      this.#drop(key);
    }
    if (keys.size === 0) this.#stale.shift();
    if (this.#stale.length > 0) setImmediate(() => this.#dropSome());
  }

  /** Whether an answer made at `revision` is stale for what it depends on. */
  isStale(revision: Revision, tags: readonly string[]): boolean {
    return revision < this.#revision && this.#recent.touchedSince(revision, tags);
  }

  /**
   * Whether an answer holds at the end of the log as it is now, heard of here or not. For sessions that no later change reaches: what
   * was acknowledged before their CONNECT must be in their rules. One question of the log serves all that ask meanwhile.
   * @throws OperationalError when the log cannot be asked, or this node does not hear of its end in time
   */
  async isNewest({ revision, resolved }: Admitted): Promise<boolean> {
    await this.#hear(await this.#headFromNow());
    return !this.isStale(revision, resolved.tags);
  }

  /** Resolves when `invalidate` has told of the revision, or after some time with false. */
  reached(revision: Revision, timeoutMs: number): Promise<boolean> {
    return this.#hear(revision, timeoutMs).then(
      () => true,
      () => false,
    );
  }

  /** Resolves when `invalidate` has told of the revision. */
  #hear(revision: Revision, timeoutMs = HEAR_TIMEOUT_MS): Promise<void> {
    if (this.#revision >= revision) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const finish = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(waiter);
      };
      const waiter = {
        revision,
        heard: () => {
          finish();
          resolve();
        },
      };
      const timer = setTimeout(() => {
        finish();
        const detail = `revision ${revision} is in the log, and was not heard of within ${timeoutMs} ms`;
        reject(new OperationalError('policy_not_ready', detail));
      }, timeoutMs);
      this.#waiting.add(waiter);
    });
  }

  /**
   * The answer for a CONNECT if it is known, as of the newest revision that `invalidate` has told of: what that concerned is not here
   * any more. Synchronous, microseconds.
   */
  cached(proof: ConnectProof): Admitted | undefined {
    const key = this.#keyOf(proof);
    const entry = this.#current(key);
    if (entry?.resolved.byAddress !== true) {
      return entry && withFacts(entry, proof.facts, this.#revision);
    }
    const own = this.#current(keyFromAddress(key, proof.facts));
    return own && withFacts(own, proof.facts, this.#revision);
  }

  /** What is kept under a key and holds, as the one that was used last. */
  #current(key: string): Admitted | undefined {
    const entry = this.#verified.get(key);
    if (entry === undefined) return undefined;
    const { secretExpiresAt } = entry.resolved;
    const ended = secretExpiresAt !== undefined && this.#clock() >= secretExpiresAt;
    if (ended || this.#stale.some((keys) => keys.has(key))) {
      this.#drop(key);
      return undefined;
    }
    // To the young end: the map's order is that of last use.
    this.#verified.delete(key);
    this.#verified.set(key, entry);
    return entry;
  }

  /**
   * Who is connecting, from the cache or the policy service. Callers must take up the answer in the same turn of the event
   * loop, or ask `isStale` again. @throws OperationalError when the policy service cannot tell
   */
  async authenticate(proof: ConnectProof): Promise<Admission> {
    const key = this.#keyOf(proof);
    // One question for all that ask the same at the same time; whether the address matters is known only by the answer.
    const question = keyFromAddress(key, proof.facts);
    let asked = this.#inFlight.get(question);
    if (asked === undefined) {
      asked = this.#ask(proof, key).finally(() => this.#inFlight.delete(question));
      this.#inFlight.set(question, asked);
    }
    const admission = await asked;
    if (!admission.ok) return admission;
    return { ...admission, admitted: withFacts(admission.admitted, proof.facts) };
  }

  #storesOf({ listener }: Facts): { readonly stores?: readonly Store[] } {
    const stores = this.#stores(listener);
    return stores === undefined ? {} : { stores };
  }

  async #ask({ facts, password }: ConnectProof, key: string): Promise<Admission> {
    const stores = this.#storesOf(facts);
    const proof = { facts, ...stores, ...(password !== undefined && { password }) };
    const answer = await this.#fresh((minRevision) =>
      this.#client.authenticate({ ...proof, minRevision }),
    );
    if (!answer.ok) return answer;
    const admitted = this.#admitted(answer);
    // Who has proven nothing is asked for again: it is cheap to find, and whatever would prove them may come at any time.
    if (isAnonymous(answer)) return { ok: true, source: 'policy', admitted };
    // It was fresh when it came, but that is some promises ago.
    if (!this.isStale(answer.revision, answer.resolved.tags)) {
      this.#remember(key, admitted);
      if (answer.resolved.byAddress === true) this.#remember(keyFromAddress(key, facts), admitted);
    }
    return { ok: true, source: 'policy', admitted };
  }

  /** The challenge for a SCRAM client. Unless it is malformed it gets one, whoever it says that it is. */
  async challengeScram(
    step: ScramStep & { readonly mechanism: ScramMechanism },
  ): Promise<ScramChallenge> {
    const stores = this.#storesOf(step.facts);
    return this.#client.scramFirst({ ...step, ...stores, minRevision: this.#revision });
  }

  /**
   * Whether a SCRAM client has proven who it is. As `authenticate`, but no proof serves twice, so nothing is remembered; the
   * `message` proves the server to the client. @throws OperationalError when the policy service cannot tell
   */
  async authenticateScram(
    step: ScramStep & { readonly state: Uint8Array },
  ): Promise<
    | (Extract<Admission, { ok: true }> & { readonly message: Uint8Array })
    | Extract<Admission, { ok: false }>
  > {
    const stores = this.#storesOf(step.facts);
    const answer = await this.#fresh((minRevision) =>
      this.#client.scramFinal({ ...step, ...stores, minRevision }),
    );
    if (!answer.ok) return answer;
    return {
      ok: true,
      source: 'policy',
      admitted: this.#admitted(answer),
      message: answer.message,
    };
  }

  /** Asks until the answer is not older than what this node knows, and a refusal not older than the log was. */
  async #fresh<A extends AdmittedAnswer>(
    ask: (minRevision: Revision) => Promise<A | RefusedAnswer>,
  ): Promise<A | RefusedAnswer> {
    let minRevision = this.#revision;
    let askedHead = false;
    for (let attempt = 0; attempt < STALE_ANSWERS_MAX; attempt++) {
      const answer = await ask(minRevision);
      if (!askedHead && mayBeLate(answer)) {
        askedHead = true;
        const head = await this.#headFromNow();
        if (head > answer.revision) {
          minRevision = head;
          continue;
        }
      }
      if (!answer.ok || !this.isStale(answer.revision, answer.resolved.tags)) return answer;
      minRevision = this.#revision;
    }
    throw new OperationalError('policy_not_ready', 'the policy changes faster than it is answered');
  }

  #head(): Promise<Revision> {
    this.#headQuery ??= this.#log.head().finally(() => (this.#headQuery = undefined));
    return this.#headQuery;
  }

  /** The log's end; not that of a question which was under way already, because its answer may be older than this call. */
  #headFromNow(): Promise<Revision> {
    if (this.#headQuery === undefined) return this.#head();
    const next = (): Promise<Revision> => {
      this.#nextHeadQuery = undefined;
      return this.#head();
    };
    return (this.#nextHeadQuery ??= this.#headQuery.then(next, next));
  }

  #admitted({ principal, resolved, revision, policy }: AdmittedAnswer): Admitted {
    return { principal, resolved, revision, policy: this.compiled(policy) };
  }

  #remember(key: string, entry: Admitted): void {
    this.#drop(key);
    if (this.#verified.size >= VERIFIED_ENTRIES_MAX) {
      const oldest = this.#verified.keys().next();
      if (oldest.done !== true) this.#drop(oldest.value);
    }
    this.#verified.set(key, entry);
    for (const tag of entry.resolved.tags) {
      let keys = this.#byTag.get(tag);
      if (keys === undefined) this.#byTag.set(tag, (keys = new Set()));
      keys.add(key);
    }
  }

  #drop(key: string): void {
    const entry = this.#verified.get(key);
    if (entry === undefined) return;
    this.#verified.delete(key);
    for (const keys of this.#stale) keys.delete(key);
    for (const tag of entry.resolved.tags) {
      const keys = this.#byTag.get(tag);
      keys?.delete(key);
      if (keys?.size === 0) this.#byTag.delete(tag);
    }
  }

  /** The compiled form of a policy; equal policies share one object. */
  compiled(spec: PolicySpec): CompiledPolicy {
    const known = this.#compiled.get(spec.policyId);
    if (known !== undefined) return known;
    const policy = compilePolicy(spec);
    if (this.#compiled.size >= COMPILED_POLICIES_MAX) {
      const oldest = this.#compiled.keys().next();
      if (oldest.done !== true) this.#compiled.delete(oldest.value);
    }
    this.#compiled.set(spec.policyId, policy);
    return policy;
  }

  /** Under a key of this process, so that a dump of its memory or a log line tells nobody a password. */
  #keyOf({ facts, password }: ConnectProof): string {
    const { clientId, username, listener, certificate } = facts;
    const chain = chainOf(certificate);
    // Lengths make it injective; -1 tells an absent value from an empty one. The listener tells the stores.
    const names = `${clientId.length}:${username?.length ?? -1}:${listener.length}`;
    const proofs = `${chain?.length ?? -1}:${password?.length ?? -1}`;
    const head = `${names}:${proofs}:${clientId}${username ?? ''}${listener}${chain ?? ''}`;
    const secret = password ?? NOTHING;
    const bytes = Buffer.allocUnsafe(
      this.#key.length + head.length * UTF8_BYTES_MAX + secret.length,
    );
    bytes.set(this.#key);
    const end = this.#key.length + bytes.write(head, this.#key.length);
    bytes.set(secret, end);
    // The output is no secret of anybody's to extend: a plain hash behind the key does what an HMAC would.
    return hash('sha256', bytes.subarray(0, end + secret.length), 'base64');
  }
}
