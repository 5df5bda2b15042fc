import { addressOfPeer } from '@sallyport/domain';
import { PublishRate, type PublishRateLimits } from '@sallyport/mqtt-session';
import { networkOf } from '../listeners/source-address.ts';

/** Credentials and sources whose rate is remembered, each. Of more, the one that connected longest ago is forgotten. */
export const RATES_MAX = 16_384;

export interface PublishRateOptions {
  readonly credential: PublishRateLimits;
  /** An address; IPv6: a /64. */
  readonly source: PublishRateLimits;
  readonly listener: (name: string) => PublishRateLimits;
  readonly ratesMax?: number;
}

/** How fast all connections of a credential, of a source and of a listener may publish together, on this node. */
export class PublishRates {
  readonly #credentials: Rates;
  readonly #sources: Rates;
  readonly #listeners: Rates;

  constructor({ credential, source, listener, ratesMax = RATES_MAX }: PublishRateOptions) {
    this.#credentials = new Rates(() => credential, ratesMax);
    this.#sources = new Rates(() => source, ratesMax);
    this.#listeners = new Rates(listener, ratesMax);
  }

  /** Those that a connection shares with others; undefined when it shares none. */
  of(connection: {
    readonly credentialId: string;
    readonly peer: string;
    readonly listener: string;
  }): readonly PublishRate[] | undefined {
    const { credentialId, peer, listener } = connection;
    const rates = [
      this.#credentials.of(credentialId),
      this.#sources.of(networkOf(addressOfPeer(peer) ?? peer)),
      this.#listeners.of(listener),
    ].filter((one) => one !== undefined);
    return rates.length === 0 ? undefined : rates;
  }
}

/** One for each key. A connection keeps what it was given, also when it is forgotten here. */
class Rates {
  readonly #limitsOf: (key: string) => PublishRateLimits;
  readonly #ratesMax: number;
  /** The key that came last stands last. */
  readonly #rates = new Map<string, PublishRate>();

  constructor(limitsOf: (key: string) => PublishRateLimits, ratesMax: number) {
    this.#limitsOf = limitsOf;
    this.#ratesMax = ratesMax;
  }

  of(key: string): PublishRate | undefined {
    // It begins with its burst, so what it takes for now does not matter.
    const rate = this.#rates.get(key) ?? PublishRate.of(this.#limitsOf(key), 0);
    if (rate === undefined) return undefined;
    this.#rates.delete(key);
    this.#rates.set(key, rate);
    if (this.#rates.size > this.#ratesMax) {
      const oldest = this.#rates.keys().next();
      if (oldest.done !== true) this.#rates.delete(oldest.value);
    }
    return rate;
  }
}
