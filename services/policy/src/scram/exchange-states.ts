import { createHmac, timingSafeEqual } from 'node:crypto';
import { SCRAM_MECHANISMS, type ScramMechanism } from '@sallyport/domain';
import { OperationalError } from '@sallyport/errors';
import { SCRAM_EXCHANGE_ID_BYTES } from '@sallyport/policy-client';
import type { Facts } from '@sallyport/rules';
import type { SecretBox } from '@sallyport/secrets';

/** How long a client may take for its proof, by the clock of the replica that judges it. */
export const EXCHANGE_MS_MAX = 30_000;

const MAC_BYTES = 32;

/** Whose exchange it is. */
export interface ExchangeBinding {
  readonly facts: Facts;
  readonly exchangeId: Uint8Array;
}

/** All that the second half needs of the first. None of it is secret from whoever saw the messages. */
export interface ExchangeState {
  readonly mechanism: ScramMechanism;
  /** client-first-message */
  readonly clientFirst: string;
  /** server-first-message */
  readonly serverFirst: string;
}

/**
 * Hands the state of an exchange to the caller and knows it again, on any replica with the same deployment key. It is
 * authenticated, not encrypted: it holds nothing that the two messages do not say, and a MAC has no nonces that a flood of
 * strangers could use up.
 */
export class ExchangeStates {
  readonly #key: Uint8Array;

  constructor(box: SecretBox) {
    this.#key = box.derive('scram-exchange');
  }

  seal(state: ExchangeState, binding: ExchangeBinding, at: number): Buffer {
    const { mechanism, clientFirst, serverFirst } = state;
    const body = JSON.stringify([at + EXCHANGE_MS_MAX, mechanism, clientFirst, serverFirst]);
    return Buffer.concat([this.#mac(body, binding), Buffer.from(body)]);
  }

  /** Undefined for what was changed, is too old, or belongs to another connection. */
  open(sealed: Uint8Array, binding: ExchangeBinding, at: number): ExchangeState | undefined {
    const mac = sealed.subarray(0, MAC_BYTES);
    const body = Buffer.from(sealed.subarray(MAC_BYTES)).toString();
    const expected = this.#mac(body, binding);
    if (mac.length !== MAC_BYTES || !timingSafeEqual(mac, expected)) return undefined;
    const [expiresAt, name, clientFirst, serverFirst] = JSON.parse(body) as [
      number,
      string,
      string,
      string,
    ]; // Written by `seal`: the MAC told.
    const mechanism = SCRAM_MECHANISMS.find((one) => one === name);
    if (mechanism === undefined || at >= expiresAt) return undefined;
    return { mechanism, clientFirst, serverFirst };
  }

  #mac(body: string, { facts, exchangeId }: ExchangeBinding): Buffer {
    if (exchangeId.length !== SCRAM_EXCHANGE_ID_BYTES) {
      const limit = `exchangeId must have ${SCRAM_EXCHANGE_ID_BYTES} bytes, it has ${exchangeId.length}`;
      throw new OperationalError('invalid_request', limit);
    }
    const { clientId, username = null, listener, peer = null, certificate } = facts;
    const shown = certificate?.fingerprintSha256 ?? null;
    const id = Buffer.from(exchangeId).toString('base64');
    // One JSON array of texts: no two different lists have the same.
    const bound = JSON.stringify([id, clientId, username, listener, peer, shown, body]);
    return createHmac('sha256', this.#key).update(bound).digest();
  }
}
