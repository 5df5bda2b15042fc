export { type DecoderLimits, PacketDecoder } from './decoder.ts';
export {
  encodeAck,
  encodeAuth,
  encodeConnack,
  encodeDisconnect,
  encodePingresp,
  encodeSuback,
  encodeUnsuback,
} from './encoder.ts';
export {
  encodePublish,
  packetIdOffset,
  type PublishFields,
  withPacketId,
} from './encode-publish.ts';
export type {
  AckPacket,
  AuthPacket,
  ClientPacket,
  ConnackPacket,
  ConnectPacket,
  DisconnectPacket,
  PingreqPacket,
  PingrespPacket,
  Properties,
  ProtocolVersion,
  PublishPacket,
  Qos,
  ServerPacket,
  SubackPacket,
  SubscribePacket,
  SubscriptionRequest,
  UnsubackPacket,
  UnsubscribePacket,
  UserProperty,
  Will,
} from './packet.ts';
export {
  type ConnackReturnCode,
  connackReturnCode,
  ProtocolError,
  type ReasonCode,
  reasonCode,
} from './reason-code.ts';
