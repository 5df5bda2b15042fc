import type { Revision } from '@sallyport/domain';
import { OperationalError } from '@sallyport/errors';
import type { ListenerTrust, PolicyClient } from '@sallyport/policy-client';
import type { Logger } from '@sallyport/telemetry';
import type { RunningListener } from './listener.ts';

/** Pause between two tries to learn what the listeners trust. */
const RETRY_MS = 250;

export interface ListenerTrustOptions {
  readonly client: Pick<PolicyClient, 'listenerTrust'>;
  readonly logger: Logger;
}

/** Keeps the TLS listeners of a node at what the log says that they show and trust. */
export class ListenerTrusts {
  readonly #options: ListenerTrustOptions;
  #latest: ReadonlyMap<string, ListenerTrust> = new Map();
  #listeners: readonly RunningListener[] = [];
  #closed = false;

  constructor(options: ListenerTrustOptions) {
    this.#options = options;
  }

  /** What is known now; undefined: the listener is what its configuration says. */
  of(listener: string): ListenerTrust | undefined {
    return this.#latest.get(listener);
  }

  /** From now on these are kept up to date; what has changed since they were opened is made up for. */
  attach(listeners: readonly RunningListener[]): void {
    this.#listeners = listeners;
    this.#apply();
  }

  /**
   * Resolves when the listeners are at this revision or a newer one. What cannot be learned is tried until it can: a node that goes
   * on with the old certificates does not say that it enforces the new ones. A listener that cannot use them refuses handshakes.
   */
  async reach(minRevision: Revision): Promise<void> {
    while (!this.#closed) {
      try {
        const { listeners } = await this.#options.client.listenerTrust({ minRevision });
        this.#latest = new Map(listeners.map((one) => [one.listener, one]));
        this.#apply();
        return;
      } catch (error) {
        if (!(error instanceof OperationalError)) throw error;
        const { code } = error;
        this.#options.logger.warn({ code, err: error }, 'the certificates of the listeners wait');
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  }

  #apply(): void {
    for (const listener of this.#listeners) {
      try {
        listener.override(this.#latest.get(listener.name));
      } catch (error) {
        if (!(error instanceof OperationalError)) throw error;
        const { code } = error;
        const { name } = listener;
        this.#options.logger.error(
          { code, err: error, listener: name },
          'no handshake is possible',
        );
      }
    }
  }

  close(): void {
    this.#closed = true;
  }
}
