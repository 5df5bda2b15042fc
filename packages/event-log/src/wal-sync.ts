import { closeSync, fdatasync, openSync } from 'node:fs';
import { promisify } from 'node:util';
import type { Revision } from '@sallyport/domain';
import { OperationalError } from '@sallyport/errors';

/** Resolves when all that was written to the file before the call is on the disk. */
export type SyncFile = (descriptor: number) => Promise<void>;

interface Waiter {
  readonly revision: Revision;
  readonly resolve: () => void;
  readonly reject: (failure: OperationalError) => void;
}

/**
 * Brings SQLite's write-ahead log to the disk without holding this thread, and knows up to which revision it is there. One sync serves
 * all that were committed before it began, whoever wrote them.
 */
export class WalSync implements AsyncDisposable {
  readonly #descriptor: number;
  readonly #sync: SyncFile;
  readonly #listener: { durable(): void; failed(failure: OperationalError): void };
  #durable: Revision = 0;
  #waiting: Waiter[] = [];
  #running: Promise<void> | undefined;
  #failure: OperationalError | undefined;

  /** `path` is the file of a connection that is open, and keeps it from being put away. */
  constructor(
    path: string,
    listener: { durable(): void; failed(failure: OperationalError): void },
    sync: SyncFile = promisify(fdatasync),
  ) {
    this.#descriptor = openSync(path, 'r+');
    this.#listener = listener;
    this.#sync = sync;
  }

  /** What is behind it may be lost when the machine loses its power. */
  get durable(): Revision {
    return this.#durable;
  }

  /** A sync has failed. */
  get failure(): OperationalError | undefined {
    return this.#failure;
  }

  /** Resolves when a revision that is committed is on the disk, in the order of the calls. @throws OperationalError `log_unavailable` */
  until(revision: Revision): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (revision <= this.#durable) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#waiting.push({ revision, resolve, reject });
      this.#running ??= this.#run();
    });
  }

  async #run(): Promise<void> {
    // Whoever asks in the same turn is served by the same sync.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      // All of them are written, and so is what comes before the newest.
      const newest = Math.max(...this.#waiting.map((one) => one.revision));
      try {
        await this.#sync(this.#descriptor);
      } catch (cause) {
        this.#fail(cause);
        break;
      }
      this.#durable = newest;
      const served = this.#waiting.filter((one) => one.revision <= newest);
      this.#waiting = this.#waiting.filter((one) => one.revision > newest);
      for (const one of served) one.resolve();
      this.#listener.durable();
    }
    this.#running = undefined;
  }

  // INVARIANT: never tried again. The system may have dropped what it could not write, and would say that all is well.
  #fail(cause: unknown): void {
    const failure = new OperationalError(
      'log_unavailable',
      'the disk did not take what was appended; the log has to be opened again',
      { cause },
    );
    this.#failure = failure;
    for (const one of this.#waiting.splice(0)) one.reject(failure);
    this.#listener.failed(failure);
  }

  /** Waits for the syncs that were asked for. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#running;
    closeSync(this.#descriptor);
  }
}
