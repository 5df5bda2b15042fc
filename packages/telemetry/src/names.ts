/** Seconds, from a cache hit to a hashing queue that is full. */
const REQUEST_SECONDS = [
  0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
];
/** Seconds from an append to the answer of the last node; design: `maxStaleness` is 30 s. */
const ENFORCEMENT_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

interface MetricFacts {
  readonly kind: 'counter' | 'gauge' | 'histogram';
  readonly unit: string;
  readonly description: string;
  /** INVARIANT: each label has a small fixed set of values; never a client id, a user name or a topic. */
  readonly labels: readonly string[];
  readonly buckets?: readonly number[];
}

/** Every metric: name, kind, unit, description and labels. */
export const metricFacts = {
  'sallyport.connections': {
    kind: 'gauge',
    unit: '{connection}',
    description: 'MQTT connections that are open now',
    labels: ['listener'],
  },
  'sallyport.connections.refused': {
    kind: 'counter',
    unit: '{connection}',
    description: 'Connections closed before a CONNECT was accepted, by reason',
    labels: ['listener', 'reason'],
  },
  'sallyport.connections.storm_brakes': {
    kind: 'counter',
    unit: '{brake}',
    description:
      'Times that connections were not read for a moment, because very many clients left or came at once; reason is leaving or arriving',
    labels: ['reason'],
  },
  'sallyport.tls.certificate.valid_until': {
    kind: 'gauge',
    unit: 's',
    description:
      'End of the validity of the server certificate of a listener, in seconds since 1970',
    labels: ['listener'],
  },
  'sallyport.connects': {
    kind: 'counter',
    unit: '{connect}',
    description: 'CONNECT packets answered; source says who decided: cache, policy or none',
    labels: ['outcome', 'source'],
  },
  'sallyport.enhanced_authentications': {
    kind: 'counter',
    unit: '{exchange}',
    description:
      'Exchanges of MQTT 5 enhanced authentication that ended, at CONNECT and again; outcome is success, refused or failed',
    labels: ['method', 'outcome'],
  },
  'sallyport.secrets.rehashed': {
    kind: 'counter',
    unit: '{secret}',
    description:
      'Secrets imported as hashes of others and proven, by what became of them: handed_on to whoever writes the log, stored by it, ' +
      'dropped because too many wait, failed, or invalid',
    labels: ['outcome'],
  },
  'sallyport.registrations': {
    kind: 'counter',
    unit: '{attempt}',
    description:
      'Refused connections under a user name that nobody has, while the registration window is open, by what became of them: handed_on to ' +
      'whoever writes the log, repeated, dropped because too many wait, failed, or invalid',
    labels: ['outcome'],
  },
  'sallyport.publishes': {
    kind: 'counter',
    unit: '{message}',
    description: 'PUBLISH packets received from clients, by outcome',
    labels: ['outcome'],
  },
  'sallyport.publishes.held_up': {
    kind: 'counter',
    unit: '{pause}',
    description: 'Times a client was not read for a while, because it published faster than it may',
    labels: [],
  },
  'sallyport.read_model.troubles': {
    kind: 'counter',
    unit: '{trouble}',
    description: 'Times that the read model had a damaged file, or a disk that refused a write',
    labels: ['reason'],
  },
  'sallyport.sessions.unavailable': {
    kind: 'counter',
    unit: '{connect}',
    description:
      'Clients that were let in and refused all the same, because the session store failed; among the accepted ones of sallyport.connects',
    labels: [],
  },
  'sallyport.flapping.blocks': {
    kind: 'counter',
    unit: '{block}',
    description:
      'Pairs of a source and a client id, or a credential, that were blocked because they connected too often',
    labels: ['kind'],
  },
  'sallyport.guessing.delays': {
    kind: 'counter',
    unit: '{delay}',
    description:
      'Delays after failed logins: of a user name or client id (name) from one source, or of all that comes from a source',
    labels: ['kind'],
  },
  'sallyport.deliveries': {
    kind: 'counter',
    unit: '{message}',
    description:
      'Messages for subscribers, by outcome: sent, or left out as expired, too_large for the client, dropped (QoS 0 for a slow ' +
      'client), queue_full',
    labels: ['outcome'],
  },
  'sallyport.deliveries.denied': {
    kind: 'counter',
    unit: '{message}',
    description: 'Messages not handed to a subscriber because its policy denies them',
    labels: [],
  },
  'sallyport.subscribes': {
    kind: 'counter',
    unit: '{subscription}',
    description: 'Topic filters of SUBSCRIBE packets, by outcome',
    labels: ['outcome'],
  },
  'sallyport.policy.cache': {
    kind: 'counter',
    unit: '{lookup}',
    description: 'Lookups in the policy cache; result is hit or miss',
    labels: ['result'],
  },
  'sallyport.policy.requests': {
    kind: 'histogram',
    unit: 's',
    description: 'Duration of requests to the policy service',
    labels: ['method', 'outcome'],
    buckets: REQUEST_SECONDS,
  },
  'sallyport.log.appends': {
    kind: 'counter',
    unit: '{commit}',
    description:
      'Commits handed to the event log, by outcome: appended, duplicate, conflict, failed',
    labels: ['outcome'],
  },
  'sallyport.log.append.duration': {
    kind: 'histogram',
    unit: 's',
    description: 'Duration of one append to the event log',
    labels: [],
    buckets: REQUEST_SECONDS,
  },
  'sallyport.log.revision': {
    kind: 'gauge',
    unit: '{revision}',
    description: 'Newest revision that this process has folded',
    labels: [],
  },
  'sallyport.enforced.revision': {
    kind: 'gauge',
    unit: '{revision}',
    description: 'Newest revision that this node has announced as enforced',
    labels: [],
  },
  'sallyport.policy.staleness': {
    kind: 'gauge',
    unit: 's',
    description:
      'For how long the log has been silent to this node, or a change waits to be enforced',
    labels: [],
  },
  'sallyport.policy.staleness_alarms': {
    kind: 'counter',
    unit: '{alarm}',
    description: 'Times that the staleness went past enforcement.stalenessAlarmSeconds',
    labels: [],
  },
  'sallyport.enforcement.duration': {
    kind: 'histogram',
    unit: 's',
    description: 'Time from an append until every live node enforced it, or the wait ended',
    labels: ['outcome'],
    buckets: ENFORCEMENT_SECONDS,
  },
  'sallyport.http.requests': {
    kind: 'histogram',
    unit: 's',
    description:
      'Duration of HTTP requests; route is the pattern with its method: GET /api/v1/x/:id',
    labels: ['route', 'status'],
    buckets: REQUEST_SECONDS,
  },
  'sallyport.bus.reconnects': {
    kind: 'counter',
    unit: '{reconnect}',
    description: 'Times the message bus was connected again',
    labels: [],
  },
  'sallyport.log_lines.suppressed': {
    kind: 'counter',
    unit: '{line}',
    description: 'Log lines left out by the throttle, by reason',
    labels: ['reason'],
  },
  'sallyport.process.memory': {
    kind: 'gauge',
    unit: 'By',
    description: 'Memory of the process; kind is rss or heap',
    labels: ['kind'],
  },
  'sallyport.process.event_loop_delay': {
    kind: 'gauge',
    unit: 's',
    description: 'Delay of the event loop since the last scrape; quantile is p50 or p99',
    labels: ['quantile'],
  },
} as const satisfies Record<string, MetricFacts>;

type Facts = typeof metricFacts;
export type MetricName = keyof Facts;
type NamesOf<Kind extends MetricFacts['kind']> = {
  [Name in MetricName]: Facts[Name]['kind'] extends Kind ? Name : never;
}[MetricName];
export type CounterName = NamesOf<'counter'>;
export type GaugeName = NamesOf<'gauge'>;
export type HistogramName = NamesOf<'histogram'>;
/** The labels of a metric: all of them, no others. */
export type LabelsOf<Name extends MetricName> = Readonly<
  Record<Facts[Name]['labels'][number], string>
>;

/** Every span of ours, and what it covers. Spans of HTTP requests are named by @fastify/otel. */
export const spanFacts = {
  command: 'One command: fold, decide, append, retry on conflict',
  'log.append': 'One append to the event log, with its retries',
  'log.fold': 'Commits folded into a read model or a cache; linked to the command that wrote them',
  'policy.reevaluate': 'Live sessions decided again after a change',
  'policy.announce': 'The enforced revision told to the other nodes',
  'policy.authenticate': 'A connection judged by the policy service',
  'policy.listener_trust': 'A broker told what its TLS listeners show and trust',
  'policy.scram_first': 'A SCRAM client challenged by the policy service',
  'policy.scram_final': 'The proof of a SCRAM client judged by the policy service',
  'policy.resolve': 'Policies resolved by the policy service',
  'policy.explain': 'One decision explained by the policy service',
  'policy.explain_login': 'One login explained by the policy service',
  'policy.status': 'The policy service asked how far it is',
  'policy.bans': 'The bans listed by the policy service, for a node that starts',
  'secret.verify': 'One secret verified, the wait for the hash pool included',
  'mqtt.connect': 'From CONNECT to CONNACK',
  'mqtt.denied': 'A publish or subscribe that was denied: by which rule, of which revision',
} as const satisfies Record<string, string>;

export type SpanName = keyof typeof spanFacts;

/** Attributes of spans that more than one place sets. */
export const attributes = {
  revision: 'sallyport.revision',
  policyRevision: 'policy.revision',
  ruleId: 'policy.rule_id',
  outcome: 'sallyport.outcome',
  action: 'sallyport.action',
  nodeId: 'sallyport.node.id',
  errorType: 'error.type',
} as const;
