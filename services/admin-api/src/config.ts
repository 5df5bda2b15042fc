import {
  adminNatsSection,
  allOrNone,
  type ConfigOf,
  type ConfigProblem,
  deploymentKey,
  ListenAddress,
  maxStalenessSeconds,
  opsSection,
  passwordPolicySection,
  policyClientSection,
  telemetrySection,
} from '@sallyport/config';
import { DEFAULT_PASSWORD_POLICY, PASSWORD_RULE_MAX } from '@sallyport/domain';
import { Type } from 'typebox';
import { OPERATOR_PASSWORD_LENGTH_MIN } from './routes/operators/schema.ts';

/** Fewest characters of an API secret that is set in the configuration. */
export const API_SECRET_LENGTH_MIN = 16;

/** The HTTP side; the standalone profile has the same section. */
export const httpSection = Type.Object({
  listen: Type.Array(ListenAddress({ description: 'host:port' }), {
    description: 'Where the API answers.',
    default: ['127.0.0.1:8083'],
    minItems: 1,
    maxItems: 8,
  }),
  trustedProxies: Type.Array(Type.String({ description: 'address or CIDR' }), {
    description: 'Load balancers whose X-Forwarded-For names the peer; nobody else is believed.',
    default: [],
  }),
  requestsPerSecondMax: Type.Integer({
    description:
      'Most requests a second of one operator or API key, and of one address before it is known.',
    default: 20,
    minimum: 1,
    maximum: 100_000,
  }),
  loginFailuresMax: Type.Integer({
    description: 'Failed logins on one account from one address after which it is locked.',
    default: 5,
    minimum: 1,
    maximum: 100,
  }),
  loginWindowSeconds: Type.Integer({
    description: 'For how long a failed login counts.',
    default: 300,
    minimum: 1,
    maximum: 86_400,
  }),
  loginLockSeconds: Type.Integer({
    description: 'How long a locked account stays locked for that address.',
    default: 600,
    minimum: 1,
    maximum: 86_400,
  }),
  importRowsMax: Type.Integer({
    description: 'Most rows of one import.',
    default: 100_000,
    minimum: 1,
    maximum: 10_000_000,
  }),
  importBytesMax: Type.Integer({
    description: 'Most bytes of one import.',
    default: 20 * 1024 * 1024,
    minimum: 1024,
    maximum: 4 * 1024 * 1024 * 1024,
  }),
});

/** What the first start makes; the standalone profile has the same section. */
export const bootstrapSection = Type.Object({
  adminPassword: Type.Optional(
    Type.String({
      description:
        'Password of the first administrator, `admin`; generated and printed when left out.',
      secret: true,
      minLength: OPERATOR_PASSWORD_LENGTH_MIN,
    }),
  ),
  adminEmail: Type.Optional(
    Type.String({
      description: 'E-mail address under which `admin` may log in too.',
      maxLength: 256,
    }),
  ),
  apiKey: Type.Optional(
    Type.String({
      description: 'Id of the first API key.',
      pattern: '^[\\x21-\\x39\\x3b-\\x7e]{1,64}$',
    }),
  ),
  apiSecret: Type.Optional(
    Type.String({
      description: 'Its secret.',
      secret: true,
      minLength: API_SECRET_LENGTH_MIN,
    }),
  ),
  builtInRoles: Type.Optional(
    Type.Boolean({
      description:
        'Whether the roles connectware-admin and minimum-access are made, which nobody changes or removes; not when left out.',
    }),
  ),
});

/** Longest time for which certificates are made, in days. */
export const CERTIFICATE_VALIDITY_DAYS_MAX = 3650;

/** What those who are granted access get; the standalone profile has the same section. */
export const registrationSection = Type.Object({
  caCertificateFile: Type.Optional(
    Type.String({
      description:
        'PEM file of the authority that signs what a stranger asks to be signed (CSR), once access is granted. Without it such requests are refused. ' +
        'Listeners trust it only where they are told to.',
    }),
  ),
  caKeyFile: Type.Optional(
    Type.String({ description: 'PEM file of its private key, unencrypted.' }),
  ),
  certificateValidityDays: Type.Integer({
    description: 'For how long a certificate is made, unless the authority ends before.',
    default: 365,
    minimum: 1,
    maximum: CERTIFICATE_VALIDITY_DAYS_MAX,
  }),
});

/** The password policy; the standalone profile has the same section. */
export const chosenPasswordsSection = passwordPolicySection({
  defaults: DEFAULT_PASSWORD_POLICY,
  maximum: PASSWORD_RULE_MAX,
});

export const adminApiConfigSchema = Type.Object({
  dataDir: Type.String({
    description: 'Folder of the read model; may be lost, is rebuilt from the log.',
    default: './data',
  }),
  http: httpSection,
  bootstrap: bootstrapSection,
  passwordPolicy: chosenPasswordsSection,
  registration: registrationSection,
  enforcement: Type.Object({ maxStalenessSeconds }),
  log: Type.Object({
    replicas: Type.Optional(
      Type.Integer({
        description: 'Copies that JetStream keeps of the log; nats.replicas when left out.',
        minimum: 1,
        maximum: 5,
      }),
    ),
  }),
  secrets: Type.Object({ key: deploymentKey }),
  nats: adminNatsSection,
  policy: policyClientSection,
  ops: opsSection(9101),
  telemetry: telemetrySection,
});

export type HttpConfig = ConfigOf<typeof httpSection>;
export type BootstrapConfig = ConfigOf<typeof bootstrapSection>;
export type RegistrationConfig = ConfigOf<typeof registrationSection>;
export type AdminApiConfig = ConfigOf<typeof adminApiConfigSchema>;

/** Rules between the keys of the sections that every profile has. */
export function adminConfigCheck(config: {
  readonly http: HttpConfig;
  readonly bootstrap: BootstrapConfig;
  readonly registration: RegistrationConfig;
}): readonly ConfigProblem[] {
  const problems = [
    ...allOrNone(config, ['bootstrap.apiKey', 'bootstrap.apiSecret']),
    ...allOrNone(config, ['registration.caCertificateFile', 'registration.caKeyFile']),
  ];
  if (config.http.listen.includes('off') && config.http.listen.length > 1) {
    problems.push({ key: 'http.listen', problem: 'is off and an address at the same time' });
  }
  return problems;
}

/** Rules between the keys of the service in a cluster. */
export function checkAdminApiConfig(config: AdminApiConfig): readonly ConfigProblem[] {
  const problems = [
    ...adminConfigCheck(config),
    ...allOrNone(config, ['nats.user', 'nats.password']),
    ...allOrNone(config, ['nats.nodesUser', 'nats.nodesPassword']),
    ...allOrNone(config, ['policy.certFile', 'policy.keyFile']),
  ];
  if (config.policy.token === undefined && config.policy.certFile === undefined) {
    problems.push({ key: 'policy.token', problem: 'is needed unless policy.certFile is set' });
  }
  return problems;
}
