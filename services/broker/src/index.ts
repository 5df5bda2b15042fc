export { BanList } from './access/ban-list.ts';
export { Enforcer, type EnforcerOptions } from './access/enforcer.ts';
export { LiveSession, LiveSessions } from './access/live-sessions.ts';
export {
  type BrokerConfig,
  brokerConfigSchema,
  checkBrokerConfig,
  checkMqttConfig,
  type DeniedPublish,
  deniedPublishOf,
  type EnforcementConfig,
  enforcementSection,
  limitsOf,
  listenerNames,
  type MqttConfig,
  mqttSection,
} from './config.ts';
export { queueObserver } from './engine/engine-counters.ts';
export { BrokerNode, type BrokerOptions, type BrokerPorts } from './service.ts';
