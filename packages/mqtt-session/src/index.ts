export { PublishRate, type PublishRateLimits } from './connection/publish-rate.ts';
export { Engine, type EngineOptions } from './engine.ts';
export type {
  ConnectedClient,
  ConnectRefusal,
  ConnectRequest,
  ConnectVerdict,
  EngineEvent,
  EngineObserver,
  EnhancedAuthentication,
  EnhancedStep,
  MqttClient,
  MqttHooks,
  MqttKernel,
  Origin,
  SessionRights,
  StoredWill,
} from './hooks.ts';
export { defaultLimits, type MqttLimits } from './limits.ts';
export type { Message, MessageProperties, Routing, SharedTarget } from './message.ts';
