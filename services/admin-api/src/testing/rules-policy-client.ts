import { OperationalError } from '@sallyport/errors';
import type {
  AuthenticateAnswer,
  BansAnswer,
  ExplainAnswer,
  ExplainLoginAnswer,
  ExplainLoginRequest,
  ExplainRequest,
  ListenerTrustAnswer,
  LoginExplainer,
  PolicyClient,
  PolicyStatus,
  ResolveAnswer,
  ScramFinalAnswer,
  ScramFirstAnswer,
} from '@sallyport/policy-client';
import { unboundCertificateOf } from '@sallyport/domain';
import type { ReadModel } from '@sallyport/read-model';
import {
  assemblePolicy,
  compilePolicy,
  explain,
  GroupMembership,
  policySources,
} from '@sallyport/rules';

/** Explains by the real rules on the read model; the rest of a policy service is of no concern to this API. */
export class RulesPolicyClient implements PolicyClient, LoginExplainer {
  readonly #model: ReadModel;
  available = true;
  /** What it has been asked of logins, and what it answers. */
  readonly logins: ExplainLoginRequest[] = [];
  login: Omit<ExplainLoginAnswer, 'revision'> = { steps: [], reason: 'unknown_client' };

  constructor(model: ReadModel) {
    this.#model = model;
  }

  async explain(request: ExplainRequest): Promise<ExplainAnswer> {
    const { reads, revision } = this.#model;
    const { credentialId, facts } = request.principal;
    const credential = reads.credential(credentialId) ?? unboundCertificateOf(credentialId);
    if (!this.available || credential === undefined || revision < request.minRevision) {
      throw new OperationalError('policy_not_ready', 'not at this revision');
    }
    const sources = policySources(reads, credential, facts, (...asked) =>
      new GroupMembership(reads.groupRules()).groupsOf(...asked),
    );
    const policy = compilePolicy({ policyId: 'test', ...assemblePolicy(sources) });
    const { action, topic, terms } = request;
    const asked = { ...facts, attributes: credential.attributes };
    return { revision, ...explain(policy, asked, action, topic, terms) };
  }

  async explainLogin(request: ExplainLoginRequest): Promise<ExplainLoginAnswer> {
    this.logins.push(request);
    return { revision: this.#model.revision, ...this.login };
  }

  authenticate(): Promise<AuthenticateAnswer> {
    return Promise.reject(new OperationalError('policy_not_ready', 'explains only'));
  }

  scramFirst(): Promise<ScramFirstAnswer> {
    return Promise.reject(new OperationalError('policy_not_ready', 'explains only'));
  }

  scramFinal(): Promise<ScramFinalAnswer> {
    return Promise.reject(new OperationalError('policy_not_ready', 'explains only'));
  }

  resolve(): Promise<ResolveAnswer> {
    return Promise.reject(new OperationalError('policy_not_ready', 'explains only'));
  }

  listenerTrust(): Promise<ListenerTrustAnswer> {
    return Promise.reject(new OperationalError('policy_not_ready', 'explains only'));
  }

  bans(): Promise<BansAnswer> {
    return Promise.reject(new OperationalError('policy_not_ready', 'explains only'));
  }

  async status(): Promise<PolicyStatus> {
    const { revision, hash } = this.#model;
    return { revision, hash };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // It opens nothing.
  }
}
