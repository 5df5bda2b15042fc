import { randomUUID } from 'node:crypto';
import {
  type AuthPacket,
  type ClientPacket,
  type ConnectPacket,
  connackReturnCode,
  encodeAuth,
  encodeConnack,
  type Properties,
  ProtocolError,
  type ReasonCode,
  reasonCode,
} from '../codec/index.ts';
import { isOperational } from '@sallyport/errors';
import type {
  ConnectRefusal,
  ConnectRequest,
  ConnectVerdict,
  EnhancedAuthentication,
  EnhancedStep,
} from '../hooks.ts';
import type { Agreement, Connection } from './connection.ts';

const RECEIVE_MAXIMUM_DEFAULT = 65_535;

const refusalReasons: Readonly<Record<ConnectRefusal, ReasonCode>> = {
  not_authorized: reasonCode.notAuthorized,
  bad_credentials: reasonCode.badUserNameOrPassword,
  banned: reasonCode.banned,
  rate_exceeded: reasonCode.connectionRateExceeded,
  quota_exceeded: reasonCode.quotaExceeded,
  server_unavailable: reasonCode.serverUnavailable,
  server_busy: reasonCode.serverBusy,
};

/** Before MQTT 5 a CONNACK can say less; what it cannot say is not answered. @source MQTT-3.1.1 §3.2.2.3 */
const returnCodes = new Map<ReasonCode, number>([
  [reasonCode.unsupportedProtocolVersion, connackReturnCode.unacceptableProtocolVersion],
  [reasonCode.clientIdentifierNotValid, connackReturnCode.identifierRejected],
  [reasonCode.serverUnavailable, connackReturnCode.serverUnavailable],
  [reasonCode.serverBusy, connackReturnCode.serverUnavailable],
  [reasonCode.badUserNameOrPassword, connackReturnCode.badUserNameOrPassword],
  [reasonCode.notAuthorized, connackReturnCode.notAuthorized],
  [reasonCode.banned, connackReturnCode.notAuthorized],
  // It may come back; what was wrong was its haste.
  [reasonCode.connectionRateExceeded, connackReturnCode.serverUnavailable],
  // Likewise: a place may become free. What it has shown was right, and 5 makes clients give up.
  [reasonCode.quotaExceeded, connackReturnCode.serverUnavailable],
]);

/** From the first byte to the CONNACK. */
export class Handshake {
  readonly #connection: Connection;
  #packet: ConnectPacket | undefined;
  #request: ConnectRequest | undefined;
  #exchange: EnhancedAuthentication | undefined;
  #exchangeData: Buffer | undefined;
  #abandoned = false;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  get clientId(): string {
    return this.#request?.clientId ?? '';
  }

  handle(packet: ClientPacket): void {
    if (packet.type === 'connect' && this.#packet === undefined) {
      this.#packet = packet;
      this.#connection.origin.arriving?.();
      this.#onConnect(packet);
    } else if (packet.type === 'auth' && this.#exchange !== undefined) {
      this.#onAuth(packet, this.#exchange);
    } else if (packet.type === 'disconnect') {
      this.#connection.refuse(undefined);
    } else {
      throw new ProtocolError(reasonCode.protocolError, `${packet.type} before the CONNACK`);
    }
  }

  /** The connection is over; an answer that is still to come is not for us any more. */
  abandon(): void {
    this.#abandoned = true;
  }

  /** `packetBytesMax`: of a CONNECT that could not be read to its end. */
  refuse(reason: ReasonCode, packetBytesMax = this.#packetBytesMax): void {
    this.#connection.origin.settled?.();
    if (this.#abandoned) return;
    this.#connection.refuse(this.#refusal(reason, packetBytesMax));
  }

  #refusal(reason: ReasonCode, packetBytesMax: number): Buffer | undefined {
    const { version } = this.#connection;
    if (version === 5) {
      const connack = encodeConnack(
        { type: 'connack', sessionPresent: false, code: reason },
        version,
      );
      // MQTT-5.0 [MQTT-3.1.2-24]
      return connack.length > packetBytesMax ? undefined : connack;
    }
    const code = returnCodes.get(reason);
    if (code === undefined) return undefined;
    return encodeConnack({ type: 'connack', sessionPresent: false, code }, version);
  }

  get #packetBytesMax(): number {
    return this.#packet?.properties?.maximumPacketSize ?? Number.POSITIVE_INFINITY;
  }

  #onConnect(packet: ConnectPacket): void {
    const connection = this.#connection;
    const { version, username, password, will } = packet;
    if (packet.clientId === '' && (version === 3 || (version === 4 && !packet.cleanStart))) {
      // MQTT-3.1.1 [MQTT-3.1.3-8]; MQTT 3.1 knows no empty one.
      this.refuse(reasonCode.clientIdentifierNotValid);
      return;
    }
    const clientIdAssigned = packet.clientId === '';
    const clientId = clientIdAssigned ? `auto-${randomUUID()}` : packet.clientId;
    const { origin } = connection;
    this.#request = {
      ...{ clientId, clientIdAssigned, username, password, version, origin },
      willTopic: will?.topic,
      willTerms: will,
    };
    const method = packet.properties?.authenticationMethod;
    if (method !== undefined) {
      this.#beginExchange(this.#request, method, packet.properties?.authenticationData);
      return;
    }
    const verdict = connection.engine.hooks.authenticate(connection, this.#request);
    if (verdict instanceof Promise) {
      connection.wait(verdict.then((decided) => this.#decided(decided)));
      return;
    }
    const opening = this.#decided(verdict);
    if (opening !== undefined) connection.wait(opening);
  }

  #beginExchange(request: ConnectRequest, method: string, data: Buffer | undefined): void {
    const connection = this.#connection;
    const exchange = connection.engine.hooks.authenticateEnhanced(connection, request, method);
    if (exchange === undefined) {
      this.refuse(reasonCode.badAuthenticationMethod); // MQTT-5.0 [MQTT-4.12.0-1]
      return;
    }
    this.#exchange = exchange;
    connection.wait(exchange.step(data).then((step) => this.#stepped(step)));
  }

  /** @source MQTT-5.0 [MQTT-4.12.0-3] [MQTT-4.12.0-5] */
  #onAuth({ code, properties }: AuthPacket, exchange: EnhancedAuthentication): void {
    const expected = this.#packet?.properties?.authenticationMethod;
    if (
      code !== reasonCode.continueAuthentication ||
      properties?.authenticationMethod !== expected
    ) {
      throw new ProtocolError(reasonCode.protocolError, 'an AUTH that does not fit');
    }
    this.#connection.wait(
      exchange.step(properties?.authenticationData).then((step) => this.#stepped(step)),
    );
  }

  async #stepped(step: EnhancedStep): Promise<void> {
    this.#connection.origin.settled?.();
    if (step.outcome === 'done') {
      this.#exchangeData = step.data;
      await this.#decided(step.verdict);
      return;
    }
    const authenticationMethod = this.#packet?.properties?.authenticationMethod;
    if (this.#abandoned || authenticationMethod === undefined) return;
    const auth = encodeAuth({
      type: 'auth',
      code: reasonCode.continueAuthentication,
      properties: { authenticationMethod, authenticationData: step.data },
    });
    // MQTT-5.0 [MQTT-3.1.2-24]
    if (auth.length > this.#packetBytesMax) this.refuse(reasonCode.packetTooLarge);
    else this.#connection.send(auth);
  }

  /** Undefined when there is nothing to wait for. */
  #decided(verdict: ConnectVerdict): Promise<void> | undefined {
    const connection = this.#connection;
    connection.origin.settled?.();
    const { engine } = connection;
    const packet = this.#packet;
    if (!verdict.accepted) {
      this.refuse(refusalReasons[verdict.reason]);
      return undefined;
    }
    if (this.#abandoned || packet === undefined) {
      engine.hooks.ended(connection, verdict.rights);
      return undefined;
    }
    const agreement = this.#agree(packet);
    const { packetBytesMax } = agreement;
    const isBounded = packetBytesMax < Number.POSITIVE_INFINITY;
    if (isBounded && this.#connack(agreement, true).length > packetBytesMax) {
      // What must be said cannot be said.
      engine.hooks.ended(connection, verdict.rights);
      this.refuse(reasonCode.packetTooLarge);
      return undefined;
    }
    const connack = (present: boolean): Buffer => this.#connack(agreement, present);
    return engine.establish({ connection, agreement, verdict, connack })?.catch((error) => {
      if (!isOperational(error, 'session_store_unavailable')) throw error;
      engine.observer.count('session_unavailable');
      engine.observer.problem(error);
      this.refuse(reasonCode.serverUnavailable);
    });
  }

  #agree(packet: ConnectPacket): Agreement {
    const { limits } = this.#connection.engine;
    const { version, cleanStart, keepAliveSeconds, properties } = packet;
    const most = limits.keepAliveSecondsMax;
    const asked =
      version === 5
        ? (properties?.sessionExpiryInterval ?? 0)
        : cleanStart
          ? 0
          : limits.sessionExpirySecondsMax;
    return {
      packet: withoutPassword(packet),
      clientId: this.clientId,
      keepAliveSeconds: keepAliveSeconds === 0 ? most : Math.min(keepAliveSeconds, most),
      expirySeconds: Math.min(asked, limits.sessionExpirySecondsMax),
      packetBytesMax: this.#packetBytesMax,
      receiveMax: properties?.receiveMaximum ?? RECEIVE_MAXIMUM_DEFAULT,
      topicAliasMax: Math.min(properties?.topicAliasMaximum ?? 0, limits.topicAliasMax),
    };
  }

  #connack(agreement: Agreement, sessionPresent: boolean): Buffer {
    const { version } = this.#connection;
    if (version !== 5) {
      // MQTT 3.1 has no Session Present.
      const present = sessionPresent && version === 4;
      return encodeConnack(
        { type: 'connack', sessionPresent: present, code: connackReturnCode.accepted },
        version,
      );
    }
    const properties = this.#connackProperties(agreement);
    const { packetBytesMax } = agreement;
    return encodeConnack(
      { type: 'connack', sessionPresent, code: reasonCode.success, properties },
      version,
      packetBytesMax,
    );
  }

  /** What differs from what the client asked for or may assume. @source MQTT-5.0 §3.2.2.3 */
  #connackProperties({ packet, clientId, keepAliveSeconds, expirySeconds }: Agreement): Properties {
    const { limits } = this.#connection.engine;
    const { properties } = packet;
    const { authenticationMethod } = properties ?? {};
    return {
      receiveMaximum: limits.inboundInflightMax,
      maximumPacketSize: limits.packetBytesMax,
      topicAliasMaximum: limits.topicAliasMax,
      ...(expirySeconds !== (properties?.sessionExpiryInterval ?? 0) && {
        sessionExpiryInterval: expirySeconds,
      }),
      ...(packet.clientId === '' && { assignedClientIdentifier: clientId }),
      ...(keepAliveSeconds !== packet.keepAliveSeconds && { serverKeepAlive: keepAliveSeconds }),
      ...(authenticationMethod !== undefined && { authenticationMethod }),
      ...(this.#exchangeData !== undefined && { authenticationData: this.#exchangeData }),
    };
  }
}

/** What is kept of a CONNECT as long as the connection is open. Field by field: it happens in storms, and copies by `...` are slow. */
function withoutPassword(packet: ConnectPacket): Agreement['packet'] {
  const { type, version, cleanStart, keepAliveSeconds, clientId } = packet;
  const { will, username, properties } = packet;
  const kept: { -readonly [Key in keyof Agreement['packet']]: Agreement['packet'][Key] } = {
    type,
    version,
    cleanStart,
    keepAliveSeconds,
    clientId,
  };
  if (will !== undefined) kept.will = will;
  if (username !== undefined) kept.username = username;
  if (properties !== undefined) kept.properties = properties;
  return kept;
}
