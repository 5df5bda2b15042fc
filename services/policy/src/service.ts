import { OperationalError } from '@sallyport/errors';
import {
  addressOfPeer,
  type BanRule,
  certificateTag,
  type Credential,
  isRevoked,
  type Revision,
  TLS_LISTENERS,
} from '@sallyport/domain';
import {
  type AdmittedAnswer,
  type AuthenticateAnswer,
  type AuthenticateRequest,
  type BansAnswer,
  decidingFacts,
  type ExplainAnswer,
  type ExplainLoginAnswer,
  type ExplainLoginRequest,
  type ExplainRequest,
  type ListenerTrustAnswer,
  type LoginExplainer,
  type PolicyClient,
  type PolicyStatus,
  type RefusedAnswer,
  RESOLVE_PRINCIPALS_MAX,
  type ResolveAnswer,
  type ResolveRequest,
  type ScramFinalAnswer,
  type ScramFinalRequest,
  type ScramFirstAnswer,
  type ScramFirstRequest,
} from '@sallyport/policy-client';
import type { ReadModel } from '@sallyport/read-model';
import { compilePolicy, explain, type Facts, type PolicySpec } from '@sallyport/rules';
import { type SecretBox, type SecretHasher, sealingContext } from '@sallyport/secrets';
import { ANONYMOUS, anonymousPrincipal } from './anonymous.ts';
import { Authenticator } from './authenticator.ts';
import type { Verified } from './candidates.ts';
import type { RefusedConnections } from './registration/refused-connections.ts';
import type { ImportedSecrets } from './rehash/imported-secrets.ts';
import { supposeLogin } from './login.ts';
import { PolicyResolver } from './policy-resolver.ts';
import { ScramAuthenticator } from './scram/scram-authenticator.ts';

/** Longest wait for `minRevision` before the call fails. */
export const MIN_REVISION_WAIT_MS = 2_000;

/** Most times a verification is repeated because the credential changed meanwhile. */
const VERIFY_ATTEMPTS_MAX = 3;

export interface PolicyPorts {
  readonly model: ReadModel;
  readonly box: SecretBox;
  readonly hasher: SecretHasher;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  /** Takes imported hashes that were proven; they stay as they are without it. */
  readonly imported?: ImportedSecrets;
  /** Told of everybody who has proven nothing; nobody is without it. */
  readonly refused?: RefusedConnections;
}

/** Of somebody whose listener asks nobody. */
const NOT_ASKED = { ok: false, reason: 'unknown_client' } as const;

const bannedBy = ({ id }: BanRule): Omit<RefusedAnswer, 'revision'> => ({
  ok: false,
  reason: 'banned',
  ruleId: `ban:${id}`,
});

/** The policy service: answers from the read model, never from a state older than it is asked for. */
export class PolicyService implements PolicyClient, LoginExplainer {
  readonly #model: ReadModel;
  readonly #box: SecretBox;
  readonly #clock: () => number;
  readonly #authenticator: Authenticator;
  readonly #scram: ScramAuthenticator;
  readonly #refused: RefusedConnections | undefined;
  readonly #resolver: PolicyResolver;

  constructor({ model, box, hasher, clock, imported, refused }: PolicyPorts) {
    this.#model = model;
    this.#box = box;
    this.#clock = clock;
    this.#refused = refused;
    this.#authenticator = new Authenticator({ lookup: model, box, hasher, imported });
    this.#scram = new ScramAuthenticator({ lookup: model, box, hasher });
    this.#resolver = new PolicyResolver(model);
  }

  async #reach(minRevision: Revision): Promise<void> {
    if (this.#model.failure !== undefined) {
      // What was folded may contradict the log; nothing is answered from it.
      throw new OperationalError('policy_not_ready', 'the fold has stopped', {
        cause: this.#model.failure,
      });
    }
    await this.#model.waitFor(minRevision, MIN_REVISION_WAIT_MS);
  }

  async authenticate(request: AuthenticateRequest): Promise<AuthenticateAnswer> {
    await this.#reach(request.minRevision);
    for (let attempt = 0; attempt < VERIFY_ATTEMPTS_MAX; attempt++) {
      const revision = this.#model.revision;
      const ban = this.#ban(request.facts);
      if (ban !== undefined) return { ...bannedBy(ban), revision };
      const revoked = this.#revoked(request.facts);
      if (revoked !== undefined) return { ...revoked, revision };
      if (request.facts.open === true) return this.#unproven(request, { ...NOT_ASKED, revision });
      const verified = await this.#authenticator.verify(request, this.#clock(), request.stores);
      if (!verified.ok) return this.#unproven(request, { ...verified, revision });
      // Verifying took time: the credential must still be the one that was proven. It is if nothing was folded since.
      const { credential } = verified;
      const unchanged = this.#model.revision === revision;
      const now = unchanged ? credential : this.#resolver.credential(credential.id);
      if (now?.updatedRevision !== credential.updatedRevision) continue;
      // The older revision: what changed while the secret was verified must still count as newer than this answer.
      return this.#admission(revision, now, verified);
    }
    throw new OperationalError('policy_not_ready', 'the credential keeps changing');
  }

  /** Whoever shows a certificate that was made here and is revoked is refused, also where the listener has no list of it. */
  #revoked({ certificate }: Facts): Omit<RefusedAnswer, 'revision'> | undefined {
    const fingerprint = certificate?.fingerprintSha256;
    if (fingerprint === undefined || !isRevoked(this.#model.reads, fingerprint)) return undefined;
    return { ok: false, reason: 'certificate', ruleId: certificateTag(fingerprint) };
  }

  /** Somebody who has proven nothing: refused, unless an administrator has asked for such to be let in. */
  #unproven(
    { facts, stores, password }: AuthenticateRequest,
    refusal: RefusedAnswer,
  ): AuthenticateAnswer {
    const principal = anonymousPrincipal(this.#model, facts, stores, refusal.reason);
    if (principal === undefined) {
      this.#refused?.refused(facts, password);
      return refusal;
    }
    const { revision } = refusal;
    return { ok: true, revision, principal, ...this.#resolver.policyOf(ANONYMOUS, principal) };
  }

  #admission(
    revision: Revision,
    credential: Credential,
    { principal, tags }: Extract<Verified, { ok: true }>,
  ): AdmittedAnswer {
    const { policy, resolved } = this.#resolver.policyOf(credential, principal);
    const all = [...new Set([...resolved.tags, ...tags])];
    return { ok: true, revision, principal, policy, resolved: { ...resolved, tags: all } };
  }

  async scramFirst({ minRevision, ...request }: ScramFirstRequest): Promise<ScramFirstAnswer> {
    await this.#reach(minRevision);
    const { revision } = this.#model;
    return { revision, ...this.#scram.first(request, this.#clock()) };
  }

  async scramFinal({ minRevision, ...request }: ScramFinalRequest): Promise<ScramFinalAnswer> {
    await this.#reach(minRevision);
    // Nothing is awaited from here on: proof, credential and policy are of one revision.
    const { revision } = this.#model;
    const proven = this.#scram.final(request, this.#clock());
    if (!proven.ok) return { ok: false, revision, reason: proven.reason };
    // The name is known only now.
    const ban = this.#ban(proven.principal.facts);
    if (ban !== undefined) return { ...bannedBy(ban), revision };
    const revoked = this.#revoked(proven.principal.facts);
    if (revoked !== undefined) return { ...revoked, revision };
    const { message, credential } = proven;
    return { ...this.#admission(revision, credential, proven), message };
  }

  async resolve({ principals, minRevision }: ResolveRequest): Promise<ResolveAnswer> {
    if (principals.length > RESOLVE_PRINCIPALS_MAX) {
      const limit = `at most ${RESOLVE_PRINCIPALS_MAX} principals, got ${principals.length}`;
      throw new OperationalError('invalid_request', limit);
    }
    await this.#reach(minRevision);
    const at = this.#clock();
    const policies = new Map<string, PolicySpec>();
    const results = principals.map((principal) => {
      if (this.#ban(principal.facts) !== undefined) return undefined;
      const found = this.#resolver.resolve(principal, at);
      if (found === undefined) return undefined;
      policies.set(found.policy.policyId, found.policy);
      return found.resolved;
    });
    return { revision: this.#model.revision, results, policies: [...policies.values()] };
  }

  async explain(request: ExplainRequest): Promise<ExplainAnswer> {
    const { principal, action, topic, terms } = request;
    await this.#reach(request.minRevision);
    const revision = this.#model.revision;
    const ban = this.#ban(principal.facts);
    if (ban !== undefined) {
      return { revision, allowed: false, ruleId: `ban:${ban.id}`, opinions: [] };
    }
    const found = this.#resolver.resolve(principal, this.#clock());
    if (found === undefined) {
      return { revision, allowed: false, ruleId: 'credential', opinions: [] };
    }
    const policy = compilePolicy(found.policy);
    const facts = decidingFacts(principal, found.resolved);
    return { revision, ...explain(policy, facts, action, topic, terms) };
  }

  async explainLogin({ minRevision, ...login }: ExplainLoginRequest): Promise<ExplainLoginAnswer> {
    await this.#reach(minRevision);
    const { revision } = this.#model;
    const ban = this.#ban(login.facts);
    if (ban !== undefined) return { revision, banId: ban.id, steps: [], reason: 'banned' };
    const revoked = this.#revoked(login.facts);
    if (revoked !== undefined) return { revision, steps: [], reason: revoked.reason };
    return { revision, ...supposeLogin(this.#model, login, this.#clock()) };
  }

  async listenerTrust({
    minRevision,
  }: {
    readonly minRevision: Revision;
  }): Promise<ListenerTrustAnswer> {
    await this.#reach(minRevision);
    const listeners = TLS_LISTENERS.flatMap((listener) => {
      const trust = this.#model.reads.trust(listener);
      if (trust === undefined) return [];
      const { clientCertificate, authorities, revocationLists, server } = trust;
      const key =
        server && this.#box.open(server.key, sealingContext({ kind: 'trust', id: listener }));
      return [
        {
          listener,
          clientCertificate,
          ...(authorities !== undefined && { authorities }),
          ...(revocationLists !== undefined && { revocationLists }),
          ...(server && key !== undefined && { server: { certificate: server.certificate, key } }),
        },
      ];
    });
    return { revision: this.#model.revision, listeners };
  }

  /** A ban that holds now; before any secret is looked at. */
  #ban({ clientId, username, peer }: Facts): BanRule | undefined {
    const address = peer === undefined ? undefined : addressOfPeer(peer);
    return this.#model.banIndex.find({ clientId, username, address }, this.#clock());
  }

  async bans(minRevision: Revision): Promise<BansAnswer> {
    await this.#reach(minRevision);
    const { revision } = this.#model;
    const at = this.#clock();
    const bans = this.#model.bans().filter(({ until }) => until === undefined || until > at);
    return {
      revision,
      bans: bans.map(({ id, kind, value, until }) => ({
        id,
        kind,
        value,
        ...(until !== undefined && { until }),
      })),
    };
  }

  async status(): Promise<PolicyStatus> {
    await this.#reach(0);
    return { revision: this.#model.revision, hash: this.#model.hash };
  }

  /** The ports belong to whoever made them. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.resolve();
  }
}
