import { isIP } from 'node:net';
import {
  allOrNone,
  type ConfigOf,
  type ConfigProblem,
  ListenAddress,
  maxStalenessSeconds,
  natsSection,
  opsSection,
  policyClientSection,
  telemetrySection,
  Url,
} from '@sallyport/config';
import { CREDENTIAL_SESSIONS_MAX, type Store, STORES } from '@sallyport/domain';
import { defaultLimits, type MqttLimits, type PublishRateLimits } from '@sallyport/mqtt-session';
import { DEFAULT_ZONE, type Facts } from '@sallyport/rules';
import { type TInteger, Type } from 'typebox';

const KIB = 1024;
const MIB = 1024 * KIB;

const deniedPublish = (description: string) =>
  Type.Union([Type.Literal('policy'), Type.Literal('acknowledge'), Type.Literal('disconnect')], {
    description,
  });

const deniedPublishHere = (transport: string) =>
  Type.Optional(deniedPublish(`mqtt.deniedPublish for clients over ${transport} only.`));

const partialSubscribeHere = (transport: string) =>
  Type.Optional(
    Type.Union([Type.Literal('refuse'), Type.Literal('filter')], {
      description: `mqtt.partialSubscribe for clients over ${transport} only.`,
    }),
  );

const acceptsPerSecondHere = (transport: string) =>
  Type.Integer({
    description: `Connections that the ${transport} listener takes up in a second, and at once; 0 is no limit but acceptsPerSecond.`,
    default: 0,
    minimum: 0,
    maximum: 100_000,
  });

const publishRate = (whose: string) =>
  Type.Object({
    publishesPerSecond: Type.Integer({
      description: `Messages that ${whose} may publish in a second for a long time; 0 is no limit.`,
      default: 0,
      minimum: 0,
      maximum: 10_000_000,
    }),
    publishesBurst: Type.Integer({
      description: 'Messages that may be published at once after it was quiet.',
      default: 5_000,
      minimum: 1,
      maximum: 10_000_000,
    }),
    publishBytesPerSecond: Type.Integer({
      description: 'The same in bytes of topics and payloads; 0 is no limit.',
      default: 0,
      minimum: 0,
      maximum: 10 * 1024 * MIB,
    }),
    publishBytesBurst: Type.Integer({
      description: 'Bytes that may be published at once after it was quiet.',
      default: 64 * MIB,
      minimum: KIB,
      maximum: 10 * 1024 * MIB,
    }),
  });

const publishRateHere = (transport: string) =>
  publishRate(`all clients over ${transport} together`);

const storesHere = (transport: string) =>
  Type.Optional(
    Type.Array(Type.String({ description: 'store', pattern: `^(${STORES.join('|')})$` }), {
      description:
        `Credential stores of clients over ${transport}, in order: the first that proves a connection decides. All when left ` +
        `out: ${STORES.join(', ')}.`,
      minItems: 1,
      maxItems: STORES.length,
    }),
  );

/** How clients of a listener are logged in. */
const loginHere = (transport: string) => ({
  zone: Type.String({
    description: `The zone of the ${transport} listener: rules may ask for it, and hold it as \${zone}.`,
    default: DEFAULT_ZONE,
    pattern: '^[A-Za-z0-9_-]{1,64}$',
  }),
  authentication: Type.Union(
    [Type.Literal('checked'), Type.Literal('named'), Type.Literal('none')],
    {
      description:
        `Whether clients over ${transport} must prove who they are. named: and whoever gives no user name and shows no certificate is ` +
        'refused unasked. none: nobody must; whoever proves nothing has no user name, and may do what the ACL tables allow, no more.',
      default: 'checked',
    },
  ),
  unknownClient: Type.Union([Type.Literal('bad_credentials'), Type.Literal('not_authorized')], {
    description:
      `What a client over ${transport} is told that nobody knows: the same as with a wrong password, or, as EMQX does, another code, ` +
      'by which names can be guessed.',
    default: 'bad_credentials',
  }),
});

const file = (description: string) => Type.Optional(Type.String({ description }));

/** Certificates of the TLS and the WSS listener. */
const tlsSection = Type.Object({
  listen: ListenAddress({
    description: 'MQTT over TLS, usually on port 8883; needs certFile and keyFile.',
    default: 'off',
  }),
  certFile: file('PEM file: the certificate of the TLS and WSS listeners and its intermediates.'),
  keyFile: file('PEM file of its private key, without a passphrase.'),
  caFile: file(
    'PEM file of the authorities, roots included, that sign client certificates. One that is taken out locks out every client ' +
      'that it signed.',
  ),
  crlFile: file(
    'PEM file of revocation lists: one of each authority in a chain, intermediates included. An authority without a list, or ' +
      'with one that is out of date, signs for nobody.',
  ),
  clientCertificate: Type.Union(
    [Type.Literal('none'), Type.Literal('optional'), Type.Literal('required')],
    {
      description:
        'Whether clients of the TLS and WSS listeners show a certificate. With optional a client without one may connect; a bad ' +
        'one is refused all the same.',
      default: 'none',
    },
  ),
  reloadSeconds: Type.Integer({
    description:
      'How often the files are looked at. Changed ones are taken once they have been still for this long; open connections go on.',
    default: 5,
    minimum: 1,
    maximum: 3600,
  }),
  deniedPublish: deniedPublishHere('TLS'),
  partialSubscribe: partialSubscribeHere('TLS'),
  acceptsPerSecond: acceptsPerSecondHere('TLS'),
  publishRate: publishRateHere('TLS'),
  stores: storesHere('TLS'),
  ...loginHere('TLS'),
});

function limit(
  name: keyof MqttLimits,
  [minimum, maximum]: readonly [number, number],
  description: string,
): TInteger {
  return Type.Integer({ description, default: defaultLimits[name], minimum, maximum });
}

/** INVARIANT: one key for each limit of the engine, under the same name. */
const limits = {
  connectTimeoutMs: limit(
    'connectTimeoutMs',
    [500, 120_000],
    'From the accepted socket, TLS handshake and WebSocket upgrade included, until the CONNECT is accepted.',
  ),
  connectPacketBytesMax: limit(
    'connectPacketBytesMax',
    [KIB, MIB],
    'Largest packet before a CONNECT has been accepted.',
  ),
  packetBytesMax: limit(
    'packetBytesMax',
    [KIB, 16 * MIB],
    'Largest packet of a connected client, fixed header included. In a cluster max_payload of NATS must be larger.',
  ),
  clientIdBytesMax: limit('clientIdBytesMax', [23, 65_535], 'Longest client id.'),
  usernameBytesMax: limit('usernameBytesMax', [1, 65_535], 'Longest username.'),
  passwordBytesMax: limit('passwordBytesMax', [1, 65_535], 'Longest password or token.'),
  userPropertiesMax: limit('userPropertiesMax', [0, 10_000], 'Most user properties of a packet.'),
  userPropertiesBytesMax: limit(
    'userPropertiesBytesMax',
    [0, MIB],
    'All user properties of a packet together.',
  ),
  topicAliasMax: limit(
    'topicAliasMax',
    [0, 65_535],
    'Topic aliases of a connection in each direction; 0 allows none.',
  ),
  keepAliveSecondsMax: limit(
    'keepAliveSecondsMax',
    [10, 65_535],
    'Longest Keep Alive; a longer one, and none, is replaced by it.',
  ),
  sessionExpirySecondsMax: limit(
    'sessionExpirySecondsMax',
    [0, 4_294_967_294],
    'Longest life of a session without a connection; a longer one, and an endless one, is replaced by it.',
  ),
  shutdownWillSeconds: limit(
    'shutdownWillSeconds',
    [0, 3600],
    'When a node is stopped, the wills of its clients wait for so long, and are gone when the clients are back by then, on whichever ' +
      'node; those with a longer Will Delay Interval wait for that. 0 publishes them before the node ends.',
  ),
  subscriptionsMax: limit('subscriptionsMax', [1, 100_000], 'Most subscriptions of a client.'),
  filtersPerPacketMax: limit(
    'filtersPerPacketMax',
    [1, 10_000],
    'Most filters of one SUBSCRIBE or UNSUBSCRIBE.',
  ),
  inboundInflightMax: limit(
    'inboundInflightMax',
    [1, 65_535],
    'Publishes with QoS 1 and 2 that a client may have unacknowledged: our Receive Maximum.',
  ),
  outboundInflightMax: limit(
    'outboundInflightMax',
    [1, 65_535],
    'Publishes with QoS 1 and 2 that we have unacknowledged at a client, whatever it would allow.',
  ),
  queueMessagesMax: limit('queueMessagesMax', [1, 1_000_000], 'Messages that wait for one client.'),
  queueBytesMax: limit('queueBytesMax', [KIB, 1024 * MIB], 'Bytes that wait for one client.'),
  socketBufferBytesMax: limit(
    'socketBufferBytesMax',
    [16 * KIB, 64 * MIB],
    'Bytes that a socket may hold back before QoS 0 messages for it are dropped.',
  ),
  drainTimeoutMs: limit(
    'drainTimeoutMs',
    [500, 600_000],
    'A client that takes nothing for this long while there is something for it is cut.',
  ),
  retainedPayloadBytesMax: limit(
    'retainedPayloadBytesMax',
    [0, 16 * MIB],
    'Largest payload of a retained message.',
  ),
  retainedMessagesMax: limit(
    'retainedMessagesMax',
    [0, 10_000_000],
    'Most retained messages of all nodes together; 0 allows none.',
  ),
  publishesPerSecond: limit(
    'publishesPerSecond',
    [0, 1_000_000],
    'Messages that a client may publish in a second for a long time. Who is faster is not read for a while; nothing is lost. 0 is ' +
      'no limit.',
  ),
  publishesBurst: limit(
    'publishesBurst',
    [1, 1_000_000],
    'Messages that a client may publish at once after it was quiet.',
  ),
  publishBytesPerSecond: limit(
    'publishBytesPerSecond',
    [0, 1024 * MIB],
    'The same in bytes of topics and payloads; 0 is no limit.',
  ),
  publishBytesBurst: limit(
    'publishBytesBurst',
    [KIB, 1024 * MIB],
    'Bytes that a client may publish at once after it was quiet.',
  ),
} satisfies Record<keyof MqttLimits, TInteger>;

const count = (description: string, standard: number, minimum: number, maximum: number) =>
  Type.Integer({ description, default: standard, minimum, maximum });

const exemptAddresses = (what: string) =>
  Type.Array(Type.String({ description: 'address or CIDR' }), {
    description: `Addresses that are never ${what}, such as that of a gateway.`,
    default: [],
  });

/** What becomes of a client that connects again and again. */
const flappingSection = Type.Object({
  connectsMax: count(
    'Connects of one client id from one address (IPv6: one /64) within windowSeconds; one more blocks the pair. 0 blocks nobody.',
    15,
    0,
    100_000,
  ),
  credentialConnectsMax: count(
    'Connections of one credential from one address, under any client ids, that end within windowSeconds and lasted no longer; the next ' +
      'connect blocks the pair. Those that stay do not count. 0 blocks nobody.',
    15,
    0,
    100_000,
  ),
  windowSeconds: count('The window of connectsMax and credentialConnectsMax.', 60, 1, 86_400),
  blockSeconds: count('How long the pair is blocked.', 300, 1, 86_400),
  exempt: exemptAddresses('blocked'),
});

/** What becomes of a client that tries secrets. */
const guessingSection = Type.Object({
  failuresMax: count(
    'Failed logins under one user name, and under one client id, from one address (IPv6: one /64), each with another password. From the ' +
      'next one on the pair is refused unseen for a while. A login that succeeds forgets them. 0 delays no pair.',
    5,
    0,
    100_000,
  ),
  sourceFailuresMax: count(
    'The same from one address under whatever names; a login that succeeds forgets none. 0 delays no address.',
    100,
    0,
    1_000_000,
  ),
  delaySeconds: count(
    'How long the first failure too many is waited for; each further one doubles it.',
    1,
    1,
    3600,
  ),
  delaySecondsMax: count('The longest delay.', 300, 1, 86_400),
  forgetSeconds: count(
    'All failures are forgotten when there was none for this long after the last delay.',
    900,
    1,
    604_800,
  ),
  exempt: exemptAddresses('delayed'),
});

/** When clients leave in such numbers that others are to be looked after in between. */
const leavingStormSection = Type.Object({
  leavesMin: count(
    'Clients that leave in one turn of the event loop before anything is done about it.',
    100,
    1,
    1_000_000,
  ),
  turnMsMax: count(
    'How long they may take of the turn. Then no open connection is read until timers and everybody else have had their turn, and ' +
      'all are read again in portions that take about as long. 0: it may take as long as it takes.',
    5,
    0,
    1000,
  ),
});

/** When clients come in such numbers that others are to be looked after in between. */
const arrivingStormSection = Type.Object({
  arrivalsMin: count(
    'Clients that log in, or shake hands before that, in one turn of the event loop before anything is done about it.',
    32,
    1,
    1_000_000,
  ),
  turnMsMax: count(
    'How long they may take of the turn. Then nobody whose CONNECT is still to come is read until timers and everybody else have had ' +
      'their turn, and they are read in portions that take about as long. 0: it may take as long as it takes.',
    5,
    0,
    1000,
  ),
  underWayMax: count(
    'CONNECTs that are being judged at once; while there are so many, nobody else whose CONNECT is still to come is read. It should be ' +
      'more than the hashing queues of all policy services hold, some 70 each, so that cheap secrets do not wait for those.',
    192,
    1,
    100_000,
  ),
});

/** The listeners of a node and the limits of its connections; the standalone profile has the same section. */
export const mqttSection = Type.Object({
  tcp: Type.Object({
    listen: ListenAddress({ description: 'MQTT over TCP.', default: '127.0.0.1:1883' }),
    deniedPublish: deniedPublishHere('TCP'),
    partialSubscribe: partialSubscribeHere('TCP'),
    acceptsPerSecond: acceptsPerSecondHere('TCP'),
    publishRate: publishRateHere('TCP'),
    stores: storesHere('TCP'),
    ...loginHere('TCP'),
  }),
  tls: tlsSection,
  ws: Type.Object({
    listen: ListenAddress({
      description: 'MQTT over WebSocket, path /mqtt.',
      default: '127.0.0.1:8084',
    }),
    originsAllowed: Type.Optional(
      Type.Array(Type.String({ description: 'origin', pattern: '^https?://[^/\\s]+$' }), {
        description:
          'Origins of web pages that may connect over WS and WSS, such as https://console.example. All when left out, none ' +
          'when empty. Clients that are no browsers send no origin and always may.',
      }),
    ),
    deniedPublish: deniedPublishHere('WebSocket'),
    partialSubscribe: partialSubscribeHere('WebSocket'),
    acceptsPerSecond: acceptsPerSecondHere('WebSocket'),
    publishRate: publishRateHere('WebSocket'),
    stores: storesHere('WebSocket'),
    ...loginHere('WebSocket'),
  }),
  wss: Type.Object({
    listen: ListenAddress({
      description:
        'MQTT over secure WebSocket, path /mqtt, usually on port 8085; the certificates are those of mqtt.tls.',
      default: 'off',
    }),
    deniedPublish: deniedPublishHere('secure WebSocket'),
    partialSubscribe: partialSubscribeHere('secure WebSocket'),
    acceptsPerSecond: acceptsPerSecondHere('secure WebSocket'),
    publishRate: publishRateHere('secure WebSocket'),
    stores: storesHere('secure WebSocket'),
    ...loginHere('secure WebSocket'),
  }),
  proxyFrom: Type.Array(Type.String({ description: 'address or CIDR' }), {
    description:
      'Load balancers: addresses that must begin with a PROXY protocol header, before a TLS handshake too.',
    default: [],
  }),
  connectionsMax: count(
    'Most connections of the node, over all listeners; one more is closed at once.',
    20_000,
    1,
    1_000_000,
  ),
  unauthenticatedPercentMax: count(
    'Share of connectionsMax that sockets without an accepted CONNECT may take.',
    20,
    1,
    100,
  ),
  connectsPerSourcePerSecond: count(
    'Connections that one address may open for a long time (IPv6: one /64), the client of a load balancer included; 0 is no limit.',
    20,
    0,
    100_000,
  ),
  connectsPerSourceBurst: count(
    'Connections that one address may open at once after it was quiet.',
    100,
    1,
    100_000,
  ),
  acceptsPerSecond: count(
    'Connections that the node takes up in a second, and at once; 0 is no limit.',
    1000,
    0,
    100_000,
  ),
  connectsPerCredentialPerSecond: count(
    'Connections that one credential may open for a long time, from everywhere to this node; 0 is no limit.',
    100,
    0,
    100_000,
  ),
  connectsPerCredentialBurst: count(
    'Connections that one credential may open at once after it was quiet.',
    1000,
    1,
    1_000_000,
  ),
  sessionsPerCredentialMax: count(
    'Clients that may be connected with one credential at once, over all nodes, where the credential itself does not say; 0 is no limit.',
    0,
    0,
    CREDENTIAL_SESSIONS_MAX,
  ),
  credentialPublishRate: publishRate('all connections of one credential to this node together'),
  sourcePublishRate: publishRate(
    'all connections from one address (IPv6: one /64) to this node together',
  ),
  flapping: flappingSection,
  guessing: guessingSection,
  leavingStorm: leavingStormSection,
  arrivingStorm: arrivingStormSection,
  lastUsedSeconds: count(
    'How often the node stores which secrets were used; as much of it is lost when the process is killed. 0 notes nothing.',
    60,
    0,
    86_400,
  ),
  refusedAttemptsMax: count(
    'Refused attempts that the node keeps for those who look; 0 keeps none.',
    1000,
    0,
    100_000,
  ),
  refusedAttemptsKeepSeconds: count(
    'How long a refused attempt is kept after it was last made.',
    3600,
    1,
    604_800,
  ),
  deniedPublish: Type.Union(
    [Type.Literal('policy'), Type.Literal('acknowledge'), Type.Literal('disconnect')],
    {
      description:
        'What an MQTT 3 client sees of a publish that is denied: what the deny action of its policy says, an acknowledgement though ' +
        'nobody gets the message, or the end of its connection. MQTT 5 has a reason code for it.',
      default: 'policy',
    },
  ),
  partialSubscribe: Type.Union([Type.Literal('refuse'), Type.Literal('filter')], {
    description:
      'What becomes of a subscription to a filter that is wider than the rules allow: it is refused, or granted with nothing delivered ' +
      'that the rules do not allow. A filter of which nothing is allowed is refused in both cases; regular expressions judge its text.',
    default: 'refuse',
  }),
  limits: Type.Object(limits),
});

export const enforcementSection = Type.Object({
  maxStalenessSeconds,
  stalenessAlarmSeconds: Type.Integer({
    description:
      'After this long without a word from the log, or with a change that is not enforced, the node says so in its log and metrics.',
    default: 5,
    minimum: 1,
    maximum: 3600,
  }),
  whenStale: Type.Union([Type.Literal('drop'), Type.Literal('keep')], {
    description:
      'What happens to live sessions then: drop closes them; keep lets them go on with their last policy, and a write ' +
      'with wait=enforced reports the node as pending.',
    default: 'drop',
  }),
});

export const brokerConfigSchema = Type.Object({
  node: Type.Object({
    id: Type.String({
      description: 'Name of this node, unique in the cluster.',
      pattern: '^[A-Za-z0-9_-]{1,64}$',
    }),
  }),
  mqtt: mqttSection,
  enforcement: enforcementSection,
  nats: natsSection,
  redis: Type.Object({
    url: Url({ description: 'Redis that holds the sessions.', default: 'redis://127.0.0.1:6379' }),
  }),
  policy: policyClientSection,
  ops: opsSection(9103),
  telemetry: telemetrySection,
});

export type BrokerConfig = ConfigOf<typeof brokerConfigSchema>;
export type MqttConfig = ConfigOf<typeof mqttSection>;
/** What an MQTT 3 client sees of a publish that is denied. */
export type DeniedPublish = MqttConfig['deniedPublish'];
export type EnforcementConfig = ConfigOf<typeof enforcementSection>;
export type LoginConfig = Pick<MqttConfig['tcp'], 'zone' | 'authentication' | 'unknownClient'>;
export type ListenerFacts = Pick<Facts, 'zone' | 'open'>;

/** The sections of the listeners, and what each is called in policies and logs. */
export const listenerNames = {
  tcp: 'tcp:default',
  tls: 'ssl:default',
  ws: 'ws:default',
  wss: 'wss:default',
} as const;

export type Transport = keyof typeof listenerNames;

export const transports = Object.keys(listenerNames) as readonly Transport[]; // The keys of the constant.

/** The bounds of the protocol engine, as configured. */
export function limitsOf({ limits: configured }: MqttConfig): MqttLimits {
  return configured;
}

/** The setting that holds on a listener, by its name; the general one for a name that is not ours. */
export function deniedPublishOf(config: MqttConfig, listener: string): DeniedPublish {
  const transport = transports.find((one) => listenerNames[one] === listener);
  const own = transport === undefined ? undefined : config[transport].deniedPublish;
  return own ?? config.deniedPublish;
}

/** As `deniedPublishOf`. */
export function partialSubscribeOf(
  config: MqttConfig,
  listener: string,
): MqttConfig['partialSubscribe'] {
  const transport = transports.find((one) => listenerNames[one] === listener);
  const own = transport === undefined ? undefined : config[transport].partialSubscribe;
  return own ?? config.partialSubscribe;
}

/** How a listener logs in its clients, by its name; the first transport's for a name that is not ours. */
export function loginOf(config: MqttConfig, listener: string): LoginConfig {
  return config[transports.find((one) => listenerNames[one] === listener) ?? 'tcp'];
}

/** What of a listener is a fact of its connections. */
export function listenerFactsOf(config: MqttConfig, listener: string): ListenerFacts {
  const { zone, authentication } = loginOf(config, listener);
  return {
    ...(zone !== DEFAULT_ZONE && { zone }),
    ...(authentication === 'none' && { open: true as const }),
  };
}

/** The stores of a listener, by its name; undefined: all, in the usual order. */
export function storesOf(config: MqttConfig, listener: string): readonly Store[] | undefined {
  const transport = transports.find((one) => listenerNames[one] === listener);
  const own = transport === undefined ? undefined : config[transport].stores;
  return own as readonly Store[] | undefined; // The pattern of the schema.
}

/** The publish rate that all clients of a listener share, by its name; the first transport's for a name that is not ours. */
export function listenerPublishRateOf(config: MqttConfig, listener: string): PublishRateLimits {
  const transport = transports.find((one) => listenerNames[one] === listener) ?? 'tcp';
  return config[transport].publishRate;
}

export function checkBrokerConfig(config: BrokerConfig): readonly ConfigProblem[] {
  const problems = [
    ...checkMqttConfig(config.mqtt),
    ...allOrNone(config, ['nats.user', 'nats.password']),
    ...allOrNone(config, ['policy.certFile', 'policy.keyFile']),
  ];
  if (config.policy.token === undefined && config.policy.certFile === undefined) {
    problems.push({ key: 'policy.token', problem: 'is needed unless policy.certFile is set' });
  }
  return problems;
}

/** Rules between the keys of the section that every profile has. */
export function checkMqttConfig(config: MqttConfig): readonly ConfigProblem[] {
  const problems = [...checkTls(config), ...checkStores(config)];
  if (transports.every((transport) => config[transport].listen === 'off')) {
    problems.push({ key: 'mqtt.tcp.listen', problem: 'is off, and so is every other listener' });
  }
  for (const from of config.proxyFrom) {
    if (!isAddressOrCidr(from)) {
      problems.push({ key: 'mqtt.proxyFrom', problem: `${from} is no address and no CIDR` });
    }
  }
  for (const section of ['flapping', 'guessing'] as const) {
    for (const exempt of config[section].exempt) {
      if (isAddressOrCidr(exempt)) continue;
      const key = `mqtt.${section}.exempt`;
      problems.push({ key, problem: `${exempt} is no address and no CIDR` });
    }
  }
  if (config.guessing.delaySeconds > config.guessing.delaySecondsMax) {
    const problem = 'is more than mqtt.guessing.delaySecondsMax';
    problems.push({ key: 'mqtt.guessing.delaySeconds', problem });
  }
  if (config.limits.connectPacketBytesMax > config.limits.packetBytesMax) {
    const problem = 'is more than mqtt.limits.packetBytesMax';
    problems.push({ key: 'mqtt.limits.connectPacketBytesMax', problem });
  }
  return problems;
}

function checkStores(config: MqttConfig): readonly ConfigProblem[] {
  return transports
    .filter((one) => new Set(config[one].stores).size < (config[one].stores?.length ?? 0))
    .map((one) => ({ key: `mqtt.${one}.stores`, problem: 'must name each store once' }));
}

/** A TLS section that is half set promises what it does not keep. */
function checkTls(config: MqttConfig): readonly ConfigProblem[] {
  const { tls, wss } = config;
  const problems = [...allOrNone({ mqtt: { tls } }, ['mqtt.tls.certFile', 'mqtt.tls.keyFile'])];
  const listens = tls.listen !== 'off' || wss.listen !== 'off';
  if (listens && tls.certFile === undefined && tls.keyFile === undefined) {
    const listener = tls.listen === 'off' ? 'mqtt.wss.listen' : 'mqtt.tls.listen';
    const problem = `is needed, with mqtt.tls.keyFile, because ${listener} is not off`;
    problems.push({ key: 'mqtt.tls.certFile', problem });
  }
  if (!listens && (tls.certFile !== undefined || tls.clientCertificate !== 'none')) {
    const key = tls.certFile === undefined ? 'mqtt.tls.clientCertificate' : 'mqtt.tls.certFile';
    problems.push({ key, problem: 'is set, but mqtt.tls.listen and mqtt.wss.listen are off' });
  }
  return [...problems, ...checkClientCertificates(config)];
}

function checkClientCertificates({ tls, ws, wss }: MqttConfig): readonly ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const add = (key: string, problem: string): void => void problems.push({ key, problem });
  const asked = tls.clientCertificate !== 'none';
  if (asked && tls.caFile === undefined) {
    add('mqtt.tls.caFile', `is needed because clientCertificate is ${tls.clientCertificate}`);
  }
  if (!asked && tls.caFile !== undefined) {
    add('mqtt.tls.caFile', 'is set, but clientCertificate is none, so that nobody is asked');
  }
  if (tls.crlFile !== undefined && tls.caFile === undefined) {
    add('mqtt.tls.crlFile', 'is set, but mqtt.tls.caFile is not');
  }
  // A browser shows its certificate whatever page opens the connection.
  if (asked && wss.listen !== 'off' && ws.originsAllowed === undefined) {
    const problem = 'is needed when mqtt.wss asks for client certificates; empty for no browser';
    add('mqtt.ws.originsAllowed', problem);
  }
  return problems;
}

function isAddressOrCidr(text: string): boolean {
  const [address = '', bits, ...rest] = text.split('/');
  const family = isIP(address);
  if (family === 0 || rest.length > 0) return false;
  return (
    bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128))
  );
}
