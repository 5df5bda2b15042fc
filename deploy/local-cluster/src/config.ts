import { type ConfigOf, Url } from '@sallyport/config';
import { Type } from 'typebox';

const port = (what: string, standard: number) =>
  Type.Integer({
    description: `Port of ${what} on the load balancer.`,
    default: standard,
    minimum: 1,
    maximum: 65_535,
  });

export const configSchema = Type.Object({
  dataDir: Type.Optional(
    Type.String({ description: 'Folder that is kept; without it a temporary one is removed.' }),
  ),
  cluster: Type.Object({
    host: Type.String({
      description: 'IPv4 address on which the load balancer listens.',
      default: '127.0.0.1',
      pattern: '^\\d{1,3}(?:\\.\\d{1,3}){3}$',
    }),
    mqttPort: port('MQTT', 1883),
    wsPort: port('MQTT over WebSocket', 8084),
    httpPort: port('the REST API', 8083),
    verbose: Type.Boolean({
      description: 'Writes every line of every process, with its name.',
      default: false,
    }),
  }),
  bootstrap: Type.Object({
    adminPassword: Type.Optional(
      Type.String({
        description: "First administrator's password; generated when left out.",
        secret: true,
        minLength: 12,
      }),
    ),
  }),
  telemetry: Type.Object({
    otlpUrl: Type.Optional(Url({ description: 'Base URL of an OTLP/HTTP receiver for traces.' })),
  }),
});

export type LocalClusterConfig = ConfigOf<typeof configSchema>;
