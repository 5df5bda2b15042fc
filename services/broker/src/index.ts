export { LiveSession } from './access/live-sessions.ts';
export {
  type BrokerConfig,
  brokerConfigSchema,
  checkBrokerConfig,
  checkMqttConfig,
  type EnforcementConfig,
  enforcementSection,
  type MqttConfig,
  mqttSection,
} from './config.ts';
export { BrokerNode, type BrokerOptions, type BrokerPorts } from './service.ts';
