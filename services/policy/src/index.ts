export { Authenticator } from './authenticator.ts';
export { checkPolicyConfig, type PolicyConfig, policyConfigSchema } from './config.ts';
export { type RunningGrpcServer, startGrpcServer } from './grpc/server.ts';
export { MIN_REVISION_WAIT_MS, type PolicyPorts, PolicyService } from './service.ts';
