export { Authenticator } from './authenticator.ts';
export { checkPolicyConfig, type PolicyConfig, policyConfigSchema } from './config.ts';
export { type RunningGrpcServer, startGrpcServer } from './grpc/server.ts';
export type { ImportedSecrets } from './rehash/imported-secrets.ts';
export {
  REHASH_QUEUE_MAX,
  REHASH_REPEAT_MS,
  Rehasher,
  type RehasherOptions,
} from './rehash/rehasher.ts';
export type { RefusedConnections } from './registration/refused-connections.ts';
export {
  REGISTRATION_QUEUE_MAX,
  REGISTRATIONS_KNOWN_MAX,
  RegistrationRecorder,
  type RegistrationRecorderOptions,
} from './registration/registration-recorder.ts';
export { MIN_REVISION_WAIT_MS, type PolicyPorts, PolicyService } from './service.ts';
