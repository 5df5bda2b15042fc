import type { CredentialRehash } from '@sallyport/domain';
import { OperationalError } from '@sallyport/errors';
import { type SecretBox, sealingContext } from '@sallyport/secrets';
import { count, type Logger } from '@sallyport/telemetry';
import { decodeRehash, REHASH_SUBJECT } from '@sallyport/wire';
import { type RehashWriterPorts, writeRehashes } from './rehash-writer.ts';

/** Most messages that wait to be written; one more is dropped, and its secrets come again with their next login. */
export const REHASH_MESSAGES_MAX = 64;

/** One message is for one replica. */
const QUEUE_GROUP = 'admin-api';

/** What a connection to NATS can do, as far as it matters here. */
export interface RehashSource {
  subscribe(
    subject: string,
    options: {
      readonly queue: string;
      readonly callback: (error: Error | null, message: { readonly data: Uint8Array }) => void;
    },
  ): { unsubscribe(): void };
}

export interface RehashListenerOptions extends RehashWriterPorts {
  readonly source: RehashSource;
  readonly box: SecretBox;
  readonly logger: Pick<Logger, 'warn'>;
}

/**
 * Takes what policy replicas have made of imported hashes, and writes it. A replica may say nothing else to the log: a verifier is
 * taken only for a secret that was imported, in our own form, and sealed for its credential under the deployment key.
 * INVARIANT: no message is answered. Its sender names the subject of an answer, and could name one of the log's.
 */
export class RehashListener implements AsyncDisposable {
  readonly #options: RehashListenerOptions;
  readonly #subscription: { unsubscribe(): void };
  #queue: (readonly CredentialRehash[])[] = [];
  #working: Promise<void> | undefined;

  constructor(options: RehashListenerOptions) {
    this.#options = options;
    this.#subscription = options.source.subscribe(REHASH_SUBJECT, {
      queue: QUEUE_GROUP,
      callback: (error, message) => {
        if (error === null) this.#take(message.data);
        else options.logger.warn({ err: error }, 'imported secrets are not rehashed');
      },
    });
  }

  #take(data: Uint8Array): void {
    const secrets = decodeRehash(data)?.filter((one) => this.#isOurs(one)) ?? [];
    if (secrets.length === 0) {
      count('sallyport.secrets.rehashed', { outcome: 'invalid' });
      return;
    }
    if (this.#queue.length >= REHASH_MESSAGES_MAX) {
      for (const _one of secrets) count('sallyport.secrets.rehashed', { outcome: 'dropped' });
      return;
    }
    this.#queue.push(secrets);
    this.#working ??= this.#work().finally(() => (this.#working = undefined));
  }

  #isOurs({ id, verifier }: CredentialRehash): boolean {
    try {
      const context = sealingContext({ kind: 'credential', id });
      return this.#options.box.open(verifier, context).startsWith('$argon2id$');
    } catch (error) {
      if (error instanceof OperationalError) return false;
      throw error;
    }
  }

  async #work(): Promise<void> {
    for (let secrets = this.#queue.shift(); secrets; secrets = this.#queue.shift()) {
      try {
        await writeRehashes(this.#options, secrets);
      } catch (error) {
        if (!(error instanceof OperationalError)) throw error;
        const { code } = error;
        for (const _one of secrets) count('sallyport.secrets.rehashed', { outcome: 'failed' });
        this.#options.logger.warn({ code, err: error }, 'imported secrets could not be rehashed');
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#subscription.unsubscribe();
    this.#queue = [];
    await this.#working;
  }
}
