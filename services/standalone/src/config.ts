import {
  adminConfigCheck,
  bootstrapSection,
  chosenPasswordsSection,
  httpSection,
  registrationSection,
} from '@sallyport/admin-api';
import { checkMqttConfig, enforcementSection, mqttSection } from '@sallyport/broker';
import {
  type ConfigOf,
  type ConfigProblem,
  deploymentKey,
  telemetrySection,
} from '@sallyport/config';
import { Type } from 'typebox';

/** All roles in one process. */
export const standaloneConfigSchema = Type.Object({
  dataDir: Type.String({
    description:
      'Folder of the log, the read model and, unless secrets.key is set, the deployment key.',
    default: './data',
  }),
  http: httpSection,
  bootstrap: bootstrapSection,
  passwordPolicy: chosenPasswordsSection,
  registration: registrationSection,
  mqtt: mqttSection,
  enforcement: enforcementSection,
  sessions: Type.Object({
    synchronous: Type.Union([Type.Literal('full'), Type.Literal('normal')], {
      description:
        'What an acknowledgement survives: full also a power cut, at the price of a wait for the disk; normal a crash of the ' +
        'process.',
      default: 'full',
    }),
  }),
  secrets: Type.Object({ key: Type.Optional(deploymentKey) }),
  telemetry: telemetrySection,
});

export type StandaloneConfig = ConfigOf<typeof standaloneConfigSchema>;

export const checkStandaloneConfig = (config: StandaloneConfig): readonly ConfigProblem[] => [
  ...adminConfigCheck(config),
  ...checkMqttConfig(config.mqtt),
];
