import { Type } from 'typebox';
import { ConnectAddress, Url } from './address.ts';

/** Shortest token or password between our own processes. */
export const TOKEN_LENGTH_MIN = 16;

const token = (description: string) =>
  Type.String({ description, secret: true, minLength: TOKEN_LENGTH_MIN, maxLength: 4096 });

/** Logs, traces, metrics: the same in every process. */
export const telemetrySection = Type.Object({
  otlpUrl: Type.Optional(
    Url({ description: 'Base URL of an OTLP/HTTP receiver. Traces are off without it.' }),
  ),
  samplingRatio: Type.Number({
    description: 'Share of new traces that are kept.',
    default: 1,
    minimum: 0,
    maximum: 1,
  }),
  logLevel: Type.Union(
    ['trace', 'debug', 'info', 'warn', 'error', 'fatal'].map(
      (level) => Type.Literal(level as 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal'), // The items of the list.
    ),
    { description: 'Least severe log line that is written.', default: 'info' },
  ),
  metricsToken: Type.Optional(
    token('Bearer token of /metrics. Without it only loopback peers may read them.'),
  ),
});

/** The ops port of a process: /livez, /readyz, /startupz, /metrics. */
export const opsSection = (port: number) =>
  Type.Object({
    listen: ConnectAddress({
      description: 'Where /livez, /readyz, /startupz and /metrics answer.',
      default: `127.0.0.1:${port}`,
    }),
  });

const natsProperties = {
  servers: Type.Array(ConnectAddress({ description: 'host:port' }), {
    description: 'Addresses of the NATS servers.',
    default: ['127.0.0.1:4222'],
    minItems: 1,
  }),
  user: Type.Optional(Type.String({ description: 'NATS user of this service.' })),
  password: Type.Optional(token('Password of the NATS user.')),
  replicas: Type.Integer({
    description:
      'Copies that JetStream keeps of the log and of the node registry; 3 in production.',
    default: 1,
    minimum: 1,
    maximum: 5,
  }),
};

/** The connection to NATS of a service that reads the log. */
export const natsSection = Type.Object({
  ...natsProperties,
  logApiPrefix: Type.Optional(
    Type.String({
      description:
        'Prefix under which the NATS account of this service reads the log, when another account holds it: LOG.API with the ' +
        'users of deploy/nats. $JS.API when left out.',
      pattern: '^[A-Za-z0-9_$-]+(\\.[A-Za-z0-9_$-]+)*$',
      maxLength: 128,
    }),
  ),
});

/** The connections to NATS of admin-api: one to where the log is, one to where the node registry is. */
export const adminNatsSection = Type.Object({
  ...natsProperties,
  nodesUser: Type.Optional(
    Type.String({
      description:
        'NATS user for the node registry, when another account than that of the log holds it: admin-api-nodes with the users ' +
        'of deploy/nats. nats.user when left out.',
    }),
  ),
  nodesPassword: Type.Optional(token('Password of that user.')),
});

/** How a process reaches the policy service. */
export const policyClientSection = Type.Object({
  endpoints: Type.Array(ConnectAddress({ description: 'host:port' }), {
    description: 'Addresses of the replicas of the policy service.',
    default: ['127.0.0.1:7070'],
    minItems: 1,
  }),
  token: Type.Optional(token('Token that the policy service asks for.')),
  caFile: Type.Optional(
    Type.String({
      description: 'PEM file of the authorities that sign its certificate; turns TLS on.',
    }),
  ),
  certFile: Type.Optional(
    Type.String({ description: 'PEM file of our certificate (mutual TLS).' }),
  ),
  keyFile: Type.Optional(Type.String({ description: 'PEM file of its key (mutual TLS).' })),
});

/** After how long without a word from the log a broker node fails closed; admin-api counts it as gone then. */
export const maxStalenessSeconds = Type.Number({
  description: 'After this long without a word from the log a broker node fails closed.',
  default: 30,
  minimum: 1,
  maximum: 3600,
});

/** Bounds of a rule of the password policy, and what it is when nobody says it. */
interface PasswordRules {
  readonly defaults: Readonly<Record<'min' | 'lower' | 'upper' | 'numeric' | 'symbol', number>>;
  readonly maximum: number;
}

/** What passwords that people choose must have; the same in every process that looks at one. */
export const passwordPolicySection = ({ defaults, maximum }: PasswordRules) => {
  const rule = (name: keyof PasswordRules['defaults'], what: string) =>
    Type.Integer({
      description: `Fewest ${what} of a password that somebody chooses; 0 asks for none.`,
      default: defaults[name],
      minimum: 0,
      maximum,
    });
  return Type.Object({
    min: rule('min', 'characters (code points)'),
    lower: rule('lower', 'lower-case letters (Ll)'),
    upper: rule('upper', 'upper-case letters (Lu)'),
    numeric: rule('numeric', 'decimal digits (Nd)'),
    symbol: rule('symbol', 'punctuation marks and symbols (P*, S*)'),
  });
};

/** The deployment key, under which every verifier is sealed. */
export const deploymentKey = Type.String({
  description: 'Deployment key: 32 random bytes in base64; the same in every process.',
  secret: true,
  pattern: '^[A-Za-z0-9+/]{43}=$',
});
