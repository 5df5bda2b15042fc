import { OperationalError } from '@sallyport/errors';
import type { Logger } from '@sallyport/telemetry';

/** One message is for one replica. */
const QUEUE_GROUP = 'admin-api';

/** What a connection to NATS can do, as far as it matters here. */
export interface MessageSource {
  subscribe(
    subject: string,
    options: {
      readonly queue: string;
      readonly callback: (error: Error | null, message: { readonly data: Uint8Array }) => void;
    },
  ): { unsubscribe(): void };
}

export interface PolicyInboxOptions<T> {
  readonly source: MessageSource;
  readonly subject: string;
  /** Most messages that wait to be written; one more is dropped, because what is in it comes again. */
  readonly messagesMax: number;
  /** What of a message may be written; nothing of a message that is not ours. */
  readonly read: (data: Uint8Array) => readonly T[];
  readonly write: (items: readonly T[]) => Promise<void>;
  /** Told once for each item that is not written; of a message that is not ours, once. */
  readonly lost: (outcome: 'invalid' | 'dropped' | 'failed') => void;
  readonly logger: Pick<Logger, 'warn'>;
  /** What the log says when something is not written. */
  readonly notWritten: string;
}

/**
 * Takes what policy replicas ask to be written to the log, which they may not write themselves.
 * INVARIANT: no message is answered. Its sender names the subject of an answer, and could name one of the log's.
 */
export class PolicyInbox<T> implements AsyncDisposable {
  readonly #options: PolicyInboxOptions<T>;
  readonly #subscription: { unsubscribe(): void };
  #queue: (readonly T[])[] = [];
  #working: Promise<void> | undefined;

  constructor(options: PolicyInboxOptions<T>) {
    this.#options = options;
    this.#subscription = options.source.subscribe(options.subject, {
      queue: QUEUE_GROUP,
      callback: (error, message) => {
        if (error === null) this.#take(message.data);
        else options.logger.warn({ err: error }, options.notWritten);
      },
    });
  }

  #take(data: Uint8Array): void {
    const { read, lost, messagesMax } = this.#options;
    const items = read(data);
    if (items.length === 0) {
      lost('invalid');
      return;
    }
    if (this.#queue.length >= messagesMax) {
      for (const _one of items) lost('dropped');
      return;
    }
    this.#queue.push(items);
    this.#working ??= this.#work().finally(() => (this.#working = undefined));
  }

  async #work(): Promise<void> {
    const { write, lost, logger, notWritten } = this.#options;
    for (let items = this.#queue.shift(); items; items = this.#queue.shift()) {
      try {
        await write(items);
      } catch (error) {
        if (!(error instanceof OperationalError)) throw error;
        for (const _one of items) lost('failed');
        logger.warn({ code: error.code, err: error }, notWritten);
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#subscription.unsubscribe();
    this.#queue = [];
    await this.#working;
  }
}
