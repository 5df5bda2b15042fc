import type { ApplyMode, CertificateIdentity, DenyAction } from '@sallyport/domain';

export type { ApplyMode };

/** The zone of listeners that name none. */
export const DEFAULT_ZONE = 'default';

/** What is asked. `receive` is a delivery from the broker to a client; `unsubscribe` is allowed unless a rule denies it. */
export type Action = 'publish' | 'subscribe' | 'receive' | 'unsubscribe';

/** What a connection has proven by a certificate. */
export interface CertificateFacts {
  /** SHA-256 of the certificate in DER, 64 lower-case hex digits. */
  readonly fingerprintSha256?: string;
}

/** What is known of a connection, fixed at CONNECT. Placeholders are resolved from it while matching. */
export interface Facts {
  readonly clientId: string;
  readonly username?: string;
  /** Name of the listener, such as `tcp:default`. */
  readonly listener: string;
  /** Of that listener; absent: `DEFAULT_ZONE`. */
  readonly zone?: string;
  /** The listener lets in whoever comes; says nothing of who has proven something. */
  readonly open?: true;
  /** Address and port of the client as the listener knows it, after any PROXY header. */
  readonly peer?: string;
  /** The certificate that the client showed and the authorities of its listener vouch for. */
  readonly certificate?: CertificateIdentity;
  /** Ways in which it has proven who it is; known once it has. */
  readonly methods?: readonly ProofMethod[];
  /** Of the credential that let it in. */
  readonly attributes?: Readonly<Record<string, string>>;
}

export type Qos = 0 | 1 | 2;

/** What a rule may ask of a message or a subscription, beside its topic. All that is there must hold. */
export interface Condition {
  /** Of the message that is published, or asked for in SUBSCRIBE; not looked at for UNSUBSCRIBE. Not empty. */
  readonly qos?: readonly Qos[];
  /** Of the message that is published; not looked at for the other actions. */
  readonly retain?: boolean;
  /** Whether the filter of a SUBSCRIBE or UNSUBSCRIBE is one of `$share/…`; not looked at for a publish. */
  readonly shared?: boolean;
  /** Whether that filter holds a `+` or `#`; not looked at for a publish. */
  readonly wildcard?: boolean;
}

/** How a message is published, or how a filter is subscribed to; there `retain` means nothing. */
export interface Terms {
  readonly qos: Qos;
  readonly retain: boolean;
  /** Of a filter: whether it came behind `$share/<group>/`. */
  readonly shared?: boolean;
  /** Of a filter: whether it is granted when only a part of its topics is allowed. */
  readonly inPart?: boolean;
}

export const PROOF_METHODS = ['password', 'certificate', 'scram', 'token'] as const;

export type ProofMethod = (typeof PROOF_METHODS)[number];

export type Matcher =
  /** An MQTT filter; a level may be a placeholder (`parsePlaceholder` of the domain). */
  | { readonly kind: 'filter'; readonly filter: string }
  /** A text that the topic name, or the filter of a SUBSCRIBE, is equal to. Nothing in it is interpreted. */
  | { readonly kind: 'literal'; readonly text: string }
  /** A whole-match regular expression over the topic name, or over the text of a filter. */
  | { readonly kind: 'pattern'; readonly pattern: string }
  /** Everything. */
  | { readonly kind: 'any' };

/** One rule in normal form. Its rank is its index in the authority's list: the lowest that matches decides. */
export interface RuleSpec {
  /** Names the object that the rule came from: `acl:client:pump-7/3f…`, `credential:5b0e…/publish/0`. */
  readonly ruleId: string;
  readonly effect: 'allow' | 'deny';
  readonly actions: readonly Action[];
  readonly matcher: Matcher;
  /** Conditions beside the topic. For `receive` they count as in `check`. */
  readonly when?: Condition;
}

/** One system's opinion. */
export interface AuthoritySpec {
  readonly name: string;
  readonly rules: readonly RuleSpec[];
  /** What it says when no rule matches. */
  readonly noMatch: 'allow' | 'deny' | 'abstain';
  /**
   * A SUBSCRIBE whose topics are not all allowed is judged by the first rule that matches the text of its filter as if that were a
   * topic; it is still refused when none of them is allowed. Absent: by all topics that the filter matches.
   */
  readonly subscribeByText?: true;
  /**
   * A SUBSCRIBE whose topics are not all allowed is judged by the first rule that alone matches every topic of its filter, or the text
   * of it: what is delivered is judged by other rules, which keep nothing back of what these deny.
   */
  readonly subscribeByRule?: true;
}

/** Everything that decides for the sessions that share it. Plain data: it crosses the wire. */
export interface PolicySpec {
  /** Digest of all below; equal policies have equal ids and share one compiled object on a node. */
  readonly policyId: string;
  /** Skips everything but the guard of reserved topics. */
  readonly superuser: boolean;
  readonly authorities: readonly AuthoritySpec[];
  /** The verdict when every authority abstains. */
  readonly noMatch: 'allow' | 'deny';
  /** What a client meets that does what it has no right to; as of the setting. */
  readonly denyAction: DenyAction;
  /** Put in front of every topic that is published, before anything is checked; absent: nothing. Never empty. */
  readonly publishPrefix?: string;
  /** When a change reaches live sessions; absent means `live`. */
  readonly applyMode?: ApplyMode;
}

/** The answer to one question. */
export interface Decision {
  readonly allowed: boolean;
  /**
   * The deciding rule, `default` for `noMatch`, `superuser`, `guard` for reserved topics, or `coverage_limit` for a
   * subscription that is too costly to judge.
   */
  readonly ruleId: string;
}

/** The answer to a SUBSCRIBE. */
export interface SubscribeDecision extends Decision {
  /** Whether each delivery must be checked, because a deny rule cuts a hole into what was granted. */
  readonly checkDeliveries: boolean;
}
