import type {
  BanRule,
  ChainMember,
  ClientCertificateMode,
  Revision,
  ScramMechanism,
  Store,
  TlsListener,
} from '@sallyport/domain';
import type { Action, Decision, Facts, PolicySpec, Terms } from '@sallyport/rules';

/** In place of the id of a credential: of a connection that has proven nothing. No credential has it. */
export const ANONYMOUS_ID = 'anonymous';

/** Who a connection was found to be. */
export interface Principal {
  /** Or `ANONYMOUS_ID`; its facts have no user name then. */
  readonly credentialId: string;
  readonly store: Store;
  /** The secret that opened the credential; absent where the credential needs none. */
  readonly secretId?: string;
  readonly facts: Facts;
}

/** The policy of a principal, and what it depends on. */
export interface Resolved {
  readonly policyId: string;
  /** Cache tags (`domain.affects`) of every object that the answer was made from, existing or not. */
  readonly tags: readonly string[];
  /**
   * When the session must end, in milliseconds since 1970: the secret that was used, the certificate or the credential itself is
   * over then.
   */
  readonly secretExpiresAt?: number;
  /** Those attributes of the credential that the policy looks at; none when absent. */
  readonly attributes?: Readonly<Record<string, string>>;
  /** Ids of the groups of the connection, sorted; absent when it has none. */
  readonly groups?: readonly string[];
  /** The policy is for the address of the connection: the same client may have another from elsewhere. */
  readonly byAddress?: true;
  /** Clients that may be connected with the credential at once, over all nodes; absent: as many as the node is told. */
  readonly sessionsMax?: number;
}

export interface AuthenticateRequest {
  readonly facts: Facts;
  readonly password?: Uint8Array;
  /** Stores to look in, the first that proves the connection decides; all in the order of `domain.STORES` when left out. */
  readonly stores?: readonly Store[];
  /** The answer is made from this revision or a newer one, else the call fails with `policy_not_ready`. */
  readonly minRevision: Revision;
}

export type RefusalReason =
  | 'unknown_client'
  | 'wrong_secret'
  | 'disabled'
  /** A message that is not what its mechanism lays down. */
  | 'malformed'
  /** Channel binding is asked for, or the end of an exchange says another header than its beginning. */
  | 'channel_binding'
  /** CONNECT names somebody else than the one who is to be proven. */
  | 'username_mismatch'
  /** The state of an exchange is too old, changed, or of another connection. */
  | 'stale_exchange'
  /** The client id, the user name or the address. */
  | 'banned'
  /** Outside the time in which the credential is valid. */
  | 'not_valid_now'
  /** The certificate is missing, or is not the one that the credential asks for, or maps to nothing. */
  | 'certificate'
  /** The client id is none that the credential lets in. */
  | 'client_id';

/** The principal that was proven, and its policy. */
export interface AdmittedAnswer {
  readonly ok: true;
  readonly revision: Revision;
  readonly principal: Principal;
  readonly resolved: Resolved;
  readonly policy: PolicySpec;
}

export interface RefusedAnswer {
  readonly ok: false;
  readonly revision: Revision;
  readonly reason: RefusalReason;
  /** For logs, never for the client: `ban:<id>`, `credential:<id>` or `chain:<scope>`; absent where nobody is known. */
  readonly ruleId?: string;
}

export type AuthenticateAnswer = AdmittedAnswer | RefusedAnswer;

/** Length of the id that a caller gives an exchange: random bytes, used once. */
export const SCRAM_EXCHANGE_ID_BYTES = 16;

/** Longest message of a SCRAM client that is looked at, in bytes. */
export const SCRAM_MESSAGE_BYTES_MAX = 2048;

/** What both halves of a SCRAM exchange say of it; facts and id must be the same in both. */
export interface ScramRequest {
  readonly facts: Facts;
  readonly exchangeId: Uint8Array;
  /** The client's message, RFC 5802 §7. */
  readonly message: Uint8Array;
  /** Both as of `AuthenticateRequest`. */
  readonly stores?: readonly Store[];
  readonly minRevision: Revision;
}

export interface ScramFirstRequest extends ScramRequest {
  readonly mechanism: ScramMechanism;
}

export type ScramFirstAnswer =
  | {
      readonly ok: true;
      readonly revision: Revision;
      /** The challenge, for the client. A name that nobody has gets one too. */
      readonly message: Uint8Array;
      /** For `scramFinal` of any replica, within 30 seconds. */
      readonly state: Uint8Array;
    }
  | RefusedAnswer;

export interface ScramFinalRequest extends ScramRequest {
  readonly state: Uint8Array;
}

/** `message` proves the server to the client. The principal's user name is the one that was proven. */
export type ScramFinalAnswer = (AdmittedAnswer & { readonly message: Uint8Array }) | RefusedAnswer;

export interface ResolveRequest {
  readonly principals: readonly Principal[];
  readonly minRevision: Revision;
}

export interface ResolveAnswer {
  readonly revision: Revision;
  /** One for each principal, in order; undefined when the principal may no longer be connected. */
  readonly results: readonly (Resolved | undefined)[];
  /** Every policy that a result names, once. */
  readonly policies: readonly PolicySpec[];
}

export interface ExplainRequest {
  readonly principal: Principal;
  readonly action: Action;
  /** Topic name, or topic filter for `subscribe`. */
  readonly topic: string;
  readonly terms: Terms;
  readonly minRevision: Revision;
}

export interface ExplainAnswer extends Decision {
  readonly revision: Revision;
  /** Only for `subscribe`: whether each delivery has to be checked. */
  readonly checkDeliveries?: boolean;
  /** Only for `publish`: what was judged, where a prefix is put in front of the topic. */
  readonly publishedTopic?: string;
  /** Every authority's own opinion. */
  readonly opinions: readonly {
    readonly authority: string;
    /** `partial` of a filter: some of the topics that it matches are allowed. */
    readonly verdict: 'allow' | 'deny' | 'abstain' | 'partial';
    readonly ruleId: string;
  }[];
}

export interface ExplainLoginRequest {
  /** What a CONNECT would say and show. */
  readonly facts: Facts;
  /** As of `AuthenticateRequest`. */
  readonly stores?: readonly Store[];
  /** By SCRAM; else by a password, or none. */
  readonly scram: boolean;
  readonly minRevision: Revision;
}

/**
 * Why a credential that the facts lead to is not asked: its store is not one of the listener's, it is not meant for such a CONNECT,
 * another one names an authority nearer to the certificate, the chain of the listener has another authenticator decide, or the settings of
 * its store close this way in.
 */
export const LOGIN_SKIPS = ['store', 'facts', 'parent', 'chain', 'provider'] as const;

/** A credential that the facts of a CONNECT lead to. */
export interface LoginStep {
  readonly credentialId: string;
  readonly store: Store;
  /** Of the store `emqx`: the authenticator that it belongs to. */
  readonly chain?: ChainMember;
  /** Whether it is asked for a secret, which is not looked at. */
  readonly secret: boolean;
  /** Why it lets nobody in who says this; absent where it does. */
  readonly refusal?: RefusalReason;
  readonly skipped?: (typeof LOGIN_SKIPS)[number];
}

/** Whom the facts would log in as, supposed that each secret that is asked for is proven. */
export interface ExplainLoginAnswer {
  readonly revision: Revision;
  /** The ban that keeps the client out; nothing else is looked at then. */
  readonly banId?: string;
  /** In the order in which they are asked; those that are not, last. */
  readonly steps: readonly LoginStep[];
  /** Absent when the client is refused. */
  readonly principal?: Principal;
  /** Present exactly without a principal. */
  readonly reason?: RefusalReason;
}

/** The policy service as those see it who ask why, beside what a broker sees. */
export interface LoginExplainer {
  explainLogin(request: ExplainLoginRequest): Promise<ExplainLoginAnswer>;
}

/** What a TLS listener shows and whom it trusts, in place of its node's configuration. Texts are PEM. */
export interface ListenerTrust {
  readonly listener: TlsListener;
  readonly clientCertificate: ClientCertificateMode;
  readonly authorities?: string;
  readonly revocationLists?: string;
  /** The key is in the clear: never log this object. */
  readonly server?: { readonly certificate: string; readonly key: string };
}

export interface ListenerTrustAnswer {
  readonly revision: Revision;
  /** A listener that is not among them is what its configuration says. */
  readonly listeners: readonly ListenerTrust[];
}

export interface PolicyStatus {
  readonly revision: Revision;
  /** Running hash of the log at `revision`. */
  readonly hash: string;
}

export interface BansAnswer {
  /** Every change up to it is in the list, and no later one is. */
  readonly revision: Revision;
  readonly bans: readonly BanRule[];
}

/** Longest list of principals of one `resolve`. */
export const RESOLVE_PRINCIPALS_MAX = 1000;

/**
 * The policy service as a broker sees it, in process or over gRPC. Every failure is an `OperationalError`:
 * `policy_not_ready` when it cannot be reached or cannot answer at `minRevision`, `hash_pool_full` when it sheds load.
 */
export interface PolicyClient extends AsyncDisposable {
  authenticate(request: AuthenticateRequest): Promise<AuthenticateAnswer>;
  /** First half of a SCRAM exchange; nothing is kept between the halves. */
  scramFirst(request: ScramFirstRequest): Promise<ScramFirstAnswer>;
  scramFinal(request: ScramFinalRequest): Promise<ScramFinalAnswer>;
  resolve(request: ResolveRequest): Promise<ResolveAnswer>;
  explain(request: ExplainRequest): Promise<ExplainAnswer>;
  listenerTrust(request: { readonly minRevision: Revision }): Promise<ListenerTrustAnswer>;
  status(): Promise<PolicyStatus>;
  /** Every ban there is, for a node that follows the log from there on. */
  bans(minRevision: Revision): Promise<BansAnswer>;
}
