export {
  CertificateAuthority,
  type Issued,
  type IssueOptions,
  makeSigningRequest,
} from './certificate-authority.ts';
export {
  type AdminApiNode,
  type BrokerNode,
  type Cluster,
  type ClusterNode,
  type ClusterOptions,
  NO_CONNECT_RATES,
  type PolicyNode,
  type ServiceName,
  startCluster,
} from './cluster.ts';
export { FakeClock } from './fake-clock.ts';
export { freePort, freePorts } from './free-port.ts';
export {
  type ClusterAddresses,
  clusterHaproxyConfig,
  type Haproxy,
  type HaproxyOptions,
  startHaproxy,
} from './haproxy.ts';
export {
  NATS_LOG_API_PREFIX,
  NATS_LOG_STREAM,
  NATS_NODES_BUCKET,
  type NatsCluster,
  type NatsPasswords,
  type NatsServer,
  type NatsServerOptions,
  type NatsUser,
  startNatsCluster,
  startNatsServer,
} from './nats-server.ts';
export { type OtlpReceiver, type OtlpSpan, startOtlpReceiver } from './otlp-receiver.ts';
export { RawMqttClient } from './raw-mqtt-client.ts';
export {
  decodePacket,
  decodePublish,
  DISCONNECT,
  encodeAck,
  encodeConnect,
  encodeField,
  encodePacket,
  encodePublish,
  encodeRemainingLength,
  encodeSubscribe,
  encodeUint16,
  encodeUnsubscribe,
  packetTypes,
  PINGREQ,
  type RawConnect,
  type RawPacket,
  type RawPublish,
  type RawSubscription,
} from './raw-mqtt.ts';
export { RawMqtt5Client } from './raw-mqtt5-client.ts';
export {
  encodeMqtt5Properties,
  encodeMqtt5Property,
  type Mqtt5Properties,
  type Mqtt5PropertyName,
  type RawMqtt5Properties,
} from './raw-mqtt5-properties.ts';
export {
  decodeMqtt5Packet,
  encodeAck5,
  encodeAuth5,
  encodeConnect5,
  encodeDisconnect5,
  encodePublish5,
  encodeSubscribe5,
  encodeUnsubscribe5,
  type Mqtt5AckType,
  type Mqtt5PacketOf,
  mqtt5PacketTypes,
  type Mqtt5ServerPacket,
  type RawConnect5,
  type RawPublish5,
  type RawSubscription5,
} from './raw-mqtt5.ts';
export { type RedisServer, type RedisServerOptions, startRedisServer } from './redis-server.ts';
export { repositoryPath } from './repository.ts';
export { ScramClient, type ScramClientOptions } from './scram-client.ts';
export {
  findProgram,
  type ProcessExit,
  ServerProcess,
  type ServerProcessOptions,
} from './server-process.ts';
export { diskPath, type ServiceProcessOptions, startProcess } from './service-process.ts';
export { removeFolder, removeTempFolders, tempFolder } from './temp-folder.ts';
export { answers, until } from './until.ts';
