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
import { Type } from 'typebox';

/** The listeners of a node; the standalone profile has the same section. */
export const mqttSection = Type.Object({
  tcp: Type.Object({
    listen: ListenAddress({ description: 'MQTT over TCP.', default: '127.0.0.1:1883' }),
  }),
  ws: Type.Object({
    listen: ListenAddress({
      description: 'MQTT over WebSocket, path /mqtt.',
      default: '127.0.0.1:8084',
    }),
  }),
  proxyFrom: Type.Array(Type.String({ description: 'address or CIDR' }), {
    description: 'Load balancers: addresses that must begin with a PROXY protocol header.',
    default: [],
  }),
  connectionsMax: Type.Integer({
    description: 'Most connections of each listener; one more is closed at once.',
    default: 20_000,
    minimum: 1,
    maximum: 1_000_000,
  }),
});

export const enforcementSection = Type.Object({
  maxStalenessSeconds,
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
export type EnforcementConfig = ConfigOf<typeof enforcementSection>;

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
export function checkMqttConfig({ tcp, ws, proxyFrom }: MqttConfig): readonly ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  if (tcp.listen === 'off' && ws.listen === 'off') {
    problems.push({ key: 'mqtt.tcp.listen', problem: 'is off, and so is every other listener' });
  }
  for (const from of proxyFrom) {
    if (!isAddressOrCidr(from)) {
      problems.push({ key: 'mqtt.proxyFrom', problem: `${from} is no address and no CIDR` });
    }
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
