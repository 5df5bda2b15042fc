import { type AuthPacket, encodeAuth, ProtocolError, reasonCode } from '../codec/index.ts';
import type { EnhancedAuthentication, EnhancedStep } from '../hooks.ts';
import type { Session } from '../session/session.ts';
import type { Connection } from './connection.ts';

/** A connected client proves again who it is. It must be who it was. @source MQTT-5.0 §4.12.1 */
export class ReAuthentication {
  readonly #connection: Connection;
  readonly #session: Session;
  #exchange: EnhancedAuthentication | undefined;

  constructor(connection: Connection, session: Session) {
    this.#connection = connection;
    this.#session = session;
  }

  async handle({ code, properties }: AuthPacket): Promise<void> {
    const method = this.#connection.agreement?.packet.properties?.authenticationMethod;
    if (method === undefined || properties?.authenticationMethod !== method) {
      // MQTT-5.0 [MQTT-4.12.0-7] [MQTT-4.12.1-1]
      throw new ProtocolError(reasonCode.protocolError, 'an AUTH with another method than CONNECT');
    }
    if (code === reasonCode.reAuthenticate) this.#exchange = this.#begin(method);
    else if (code !== reasonCode.continueAuthentication || this.#exchange === undefined) {
      throw new ProtocolError(reasonCode.protocolError, 'an AUTH that does not fit');
    }
    if (this.#exchange === undefined) {
      await this.#connection.disconnect(reasonCode.badAuthenticationMethod);
      return;
    }
    await this.#stepped(method, await this.#exchange.step(properties.authenticationData));
  }

  #begin(method: string): EnhancedAuthentication | undefined {
    const connection = this.#connection;
    const { agreement, origin, version } = connection;
    if (agreement === undefined) return undefined;
    const { username, will } = agreement.packet;
    const { clientId } = agreement;
    const asked = { clientId, username, password: undefined, version, origin };
    const request = { ...asked, willTopic: will?.topic, willTerms: will };
    return connection.engine.hooks.authenticateEnhanced(
      connection,
      request,
      method,
      this.#session.rights,
    );
  }

  async #stepped(authenticationMethod: string, step: EnhancedStep): Promise<void> {
    const connection = this.#connection;
    if (connection.closed) {
      this.#discard(step);
      return;
    }
    if (step.outcome === 'continue') {
      const properties = { authenticationMethod, authenticationData: step.data };
      connection.send(
        encodeAuth({ type: 'auth', code: reasonCode.continueAuthentication, properties }),
      );
      return;
    }
    this.#exchange = undefined;
    if (!step.verdict.accepted) {
      await connection.disconnect(reasonCode.notAuthorized); // MQTT-5.0 [MQTT-4.12.1-2]
      return;
    }
    const { rights } = step.verdict;
    if (rights !== this.#session.rights) {
      connection.engine.hooks.ended(connection, this.#session.rights);
      this.#session.rights = rights;
    }
    const { data } = step;
    const properties = {
      authenticationMethod,
      ...(data !== undefined && { authenticationData: data }),
    };
    connection.send(encodeAuth({ type: 'auth', code: reasonCode.success, properties }));
  }

  #discard(step: EnhancedStep): void {
    if (step.outcome !== 'done' || !step.verdict.accepted) return;
    const { rights } = step.verdict;
    if (rights !== this.#session.rights) {
      this.#connection.engine.hooks.ended(this.#connection, rights);
    }
  }
}
