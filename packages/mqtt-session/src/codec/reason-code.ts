/** Reason codes of MQTT 5. @source MQTT-5.0 §2.4 */
export const reasonCode = {
  success: 0x00,
  grantedQos1: 0x01,
  grantedQos2: 0x02,
  disconnectWithWill: 0x04,
  noMatchingSubscribers: 0x10,
  noSubscriptionExisted: 0x11,
  continueAuthentication: 0x18,
  reAuthenticate: 0x19,
  unspecifiedError: 0x80,
  malformedPacket: 0x81,
  protocolError: 0x82,
  implementationSpecificError: 0x83,
  unsupportedProtocolVersion: 0x84,
  clientIdentifierNotValid: 0x85,
  badUserNameOrPassword: 0x86,
  notAuthorized: 0x87,
  serverUnavailable: 0x88,
  serverBusy: 0x89,
  banned: 0x8a,
  serverShuttingDown: 0x8b,
  badAuthenticationMethod: 0x8c,
  keepAliveTimeout: 0x8d,
  sessionTakenOver: 0x8e,
  topicFilterInvalid: 0x8f,
  topicNameInvalid: 0x90,
  packetIdentifierInUse: 0x91,
  packetIdentifierNotFound: 0x92,
  receiveMaximumExceeded: 0x93,
  topicAliasInvalid: 0x94,
  packetTooLarge: 0x95,
  messageRateTooHigh: 0x96,
  quotaExceeded: 0x97,
  administrativeAction: 0x98,
  payloadFormatInvalid: 0x99,
  retainNotSupported: 0x9a,
  qosNotSupported: 0x9b,
  useAnotherServer: 0x9c,
  serverMoved: 0x9d,
  sharedSubscriptionsNotSupported: 0x9e,
  connectionRateExceeded: 0x9f,
  maximumConnectTime: 0xa0,
  subscriptionIdentifiersNotSupported: 0xa1,
  wildcardSubscriptionsNotSupported: 0xa2,
} as const;

export type ReasonCode = (typeof reasonCode)[keyof typeof reasonCode];

/** Return codes of a CONNACK of MQTT 3.1 and 3.1.1. @source MQTT-3.1.1 §3.2.2.3 */
export const connackReturnCode = {
  accepted: 0,
  unacceptableProtocolVersion: 1,
  identifierRejected: 2,
  serverUnavailable: 3,
  badUserNameOrPassword: 4,
  notAuthorized: 5,
} as const;

export type ConnackReturnCode = (typeof connackReturnCode)[keyof typeof connackReturnCode];

/** The client broke the protocol; the connection must end. `reason` is what a DISCONNECT or CONNACK of MQTT 5 says. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError';
  readonly reason: ReasonCode;
  /** The largest answer that the client takes, when it was a CONNECT that got so far as to say it. */
  packetBytesMax: number | undefined;

  constructor(reason: ReasonCode, message: string) {
    super(message);
    this.reason = reason;
  }
}

/** The bytes are no packet of the standard. */
export const malformed = (message: string): ProtocolError =>
  new ProtocolError(reasonCode.malformedPacket, message);

/** A packet of the standard that must not be sent, or not now. */
export const violation = (message: string): ProtocolError =>
  new ProtocolError(reasonCode.protocolError, message);
