import {
  allOrNone,
  type ConfigOf,
  type ConfigProblem,
  deploymentKey,
  ListenAddress,
  natsSection,
  opsSection,
  parseListenAddress,
  passwordPolicySection,
  telemetrySection,
  TOKEN_LENGTH_MIN,
} from '@sallyport/config';
import { DEFAULT_PASSWORD_POLICY, PASSWORD_RULE_MAX } from '@sallyport/domain';
import { Type } from 'typebox';

const file = (description: string) => Type.Optional(Type.String({ description }));

export const policyConfigSchema = Type.Object({
  dataDir: Type.String({
    description: 'Folder of the read model; may be lost, is rebuilt from the log.',
    default: './data',
  }),
  grpc: Type.Object({
    listen: ListenAddress({
      description: 'Where the gRPC service listens; beyond loopback only with TLS.',
      default: '127.0.0.1:7070',
    }),
    token: Type.Optional(
      Type.String({
        description: 'Token that callers must send.',
        secret: true,
        minLength: TOKEN_LENGTH_MIN,
      }),
    ),
    certFile: file('PEM file of the server certificate; turns TLS on.'),
    keyFile: file('PEM file of its key.'),
    clientCaFile: file('PEM file of the authorities that sign the certificates of callers.'),
  }),
  passwordPolicy: passwordPolicySection({
    defaults: DEFAULT_PASSWORD_POLICY,
    maximum: PASSWORD_RULE_MAX,
  }),
  secrets: Type.Object({ key: deploymentKey }),
  nats: natsSection,
  ops: opsSection(9102),
  telemetry: telemetrySection,
});

export type PolicyConfig = ConfigOf<typeof policyConfigSchema>;

const LOOPBACK = /^(127\.\d+\.\d+\.\d+|::1|localhost)$/;

export function checkPolicyConfig(config: PolicyConfig): readonly ConfigProblem[] {
  const { grpc } = config;
  const problems = [
    ...allOrNone(config, ['nats.user', 'nats.password']),
    ...allOrNone(config, ['grpc.certFile', 'grpc.keyFile']),
  ];
  const listen = parseListenAddress(grpc.listen);
  if (listen === 'off') problems.push({ key: 'grpc.listen', problem: 'cannot be off' });
  else if (!LOOPBACK.test(listen.host) && grpc.certFile === undefined) {
    problems.push({ key: 'grpc.certFile', problem: `is needed to listen on ${grpc.listen}` });
  }
  if (grpc.clientCaFile !== undefined && grpc.certFile === undefined) {
    problems.push({ key: 'grpc.certFile', problem: 'is needed by grpc.clientCaFile' });
  }
  if (grpc.token === undefined && grpc.clientCaFile === undefined) {
    problems.push({ key: 'grpc.token', problem: 'is needed unless grpc.clientCaFile is set' });
  }
  return problems;
}
