/** Bounds of the protocol engine. Each has its default in `defaultLimits`; the broker takes them from its configuration. */
export interface MqttLimits {
  /** From the accepted socket until its CONNACK is sent. */
  readonly connectTimeoutMs: number;
  /** Largest packet before a CONNECT has been accepted: that is, largest CONNECT or AUTH. */
  readonly connectPacketBytesMax: number;
  /** Largest packet of a connected client, in bytes, fixed header included. */
  readonly packetBytesMax: number;
  readonly clientIdBytesMax: number;
  readonly usernameBytesMax: number;
  readonly passwordBytesMax: number;
  readonly userPropertiesMax: number;
  /** Of all user properties of a packet together. */
  readonly userPropertiesBytesMax: number;
  readonly topicAliasMax: number;
  /** Longest Keep Alive; a longer one, and none, is replaced by it (MQTT 5: told as Server Keep Alive). */
  readonly keepAliveSecondsMax: number;
  readonly sessionExpirySecondsMax: number;
  /** For how long a node that stops holds the wills of its clients, which are gone when they are back; 0 = it publishes them. */
  readonly shutdownWillSeconds: number;
  readonly subscriptionsMax: number;
  /** Most filters of one SUBSCRIBE or UNSUBSCRIBE. */
  readonly filtersPerPacketMax: number;
  /** Publishes with QoS > 0 that a client may have unacknowledged: our Receive Maximum. */
  readonly inboundInflightMax: number;
  /** Publishes with QoS > 0 that we have unacknowledged at a client, whatever Receive Maximum it allows. */
  readonly outboundInflightMax: number;
  /** Messages that wait for one client, stored ones included. */
  readonly queueMessagesMax: number;
  readonly queueBytesMax: number;
  /** Bytes that a socket may hold back before QoS 0 messages for it are dropped. */
  readonly socketBufferBytesMax: number;
  /** A client that takes nothing for this long while we have something for it is cut. */
  readonly drainTimeoutMs: number;
  readonly retainedPayloadBytesMax: number;
  readonly retainedMessagesMax: number;
  /** Messages that a client may publish in a second for a long time; 0 = no limit. */
  readonly publishesPerSecond: number;
  /** Messages that a client may publish at once after it was quiet. */
  readonly publishesBurst: number;
  /** The same in bytes of topics and payloads; 0 = no limit. */
  readonly publishBytesPerSecond: number;
  readonly publishBytesBurst: number;
}

/** @source threats.md §6 */
export const defaultLimits: MqttLimits = {
  connectTimeoutMs: 10_000,
  connectPacketBytesMax: 64 * 1024,
  packetBytesMax: 1024 * 1024,
  clientIdBytesMax: 256,
  usernameBytesMax: 256,
  passwordBytesMax: 8192,
  userPropertiesMax: 32,
  userPropertiesBytesMax: 8192,
  topicAliasMax: 16,
  keepAliveSecondsMax: 1200,
  sessionExpirySecondsMax: 7 * 24 * 3600,
  shutdownWillSeconds: 10,
  subscriptionsMax: 100,
  filtersPerPacketMax: 32,
  inboundInflightMax: 100,
  outboundInflightMax: 32,
  queueMessagesMax: 1000,
  queueBytesMax: 8 * 1024 * 1024,
  socketBufferBytesMax: 1024 * 1024,
  drainTimeoutMs: 10_000,
  retainedPayloadBytesMax: 64 * 1024,
  retainedMessagesMax: 100_000,
  publishesPerSecond: 100,
  publishesBurst: 500,
  publishBytesPerSecond: 0,
  publishBytesBurst: 8 * 1024 * 1024,
};
