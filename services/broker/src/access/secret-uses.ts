import { OperationalError } from '@sallyport/errors';
import type { Principal } from '@sallyport/policy-client';
import type { SecretUse, SessionStore } from '@sallyport/session-store';
import type { LogThrottle } from '@sallyport/telemetry';

/** Credentials whose uses wait to be stored; of more, those that come are not noted. Some 20 MiB. */
export const WAITING_CREDENTIALS_MAX = 100_000;

/** Uses of one write. */
const USES_PER_WRITE = 500;

export interface SecretUsesOptions {
  readonly store: Pick<SessionStore, 'noteSecretUses' | 'secretUses'>;
  /** How often what was noted is stored: as much is lost when the process is killed. 0: nothing is noted. */
  readonly intervalMs: number;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  readonly logger: Pick<LogThrottle, 'warn'>;
  readonly waitingMax?: number;
}

/**
 * When secrets were last used on this node. A CONNECT costs a map entry; what many connections have done since is one write, now and
 * then. It is an observation, not a fact of the log: nothing is decided by it, and some of it may be lost.
 */
export class SecretUses implements AsyncDisposable {
  readonly #options: SecretUsesOptions;
  readonly #waitingMax: number;
  readonly #timer: NodeJS.Timeout | undefined;
  /** Times by secret, by credential. */
  #waiting = new Map<string, Map<string, number>>();
  #storing: Promise<void> | undefined;

  constructor(options: SecretUsesOptions) {
    this.#options = options;
    this.#waitingMax = options.waitingMax ?? WAITING_CREDENTIALS_MAX;
    if (options.intervalMs === 0) return;
    this.#timer = setInterval(() => void this.store(), options.intervalMs);
    this.#timer.unref();
  }

  /** Somebody was let in. O(1), and no I/O. */
  note({ credentialId, secretId = '' }: Pick<Principal, 'credentialId' | 'secretId'>): void {
    if (this.#options.intervalMs === 0) return;
    const known = this.#waiting.get(credentialId);
    const at = this.#options.clock();
    if (known !== undefined) known.set(secretId, at);
    else if (this.#waiting.size < this.#waitingMax) {
      this.#waiting.set(credentialId, new Map([[secretId, at]]));
    }
  }

  /** Stores what waits; what cannot be stored goes on waiting. Never rejects. */
  store(): Promise<void> {
    return (this.#storing ??= this.#store().finally(() => (this.#storing = undefined)));
  }

  async #store(): Promise<void> {
    const uses = [...this.#waiting].flatMap(([credentialId, times]) =>
      [...times].map(([secretId, at]): SecretUse => ({ credentialId, secretId, at })),
    );
    this.#waiting = new Map();
    for (let at = 0; at < uses.length; at += USES_PER_WRITE) {
      try {
        await this.#options.store.noteSecretUses(uses.slice(at, at + USES_PER_WRITE));
      } catch (error) {
        if (!(error instanceof OperationalError)) throw error;
        this.#putBack(uses.slice(at));
        const waiting = this.#waiting.size;
        this.#options.logger.warn(
          'secret uses',
          { code: error.code, err: error, waiting },
          'when secrets were last used cannot be stored; it waits',
        );
        return;
      }
    }
  }

  /** What was noted meanwhile is newer. */
  #putBack(uses: readonly SecretUse[]): void {
    for (const { credentialId, secretId, at } of uses) {
      const known = this.#waiting.get(credentialId);
      if (known === undefined) this.#waiting.set(credentialId, new Map([[secretId, at]]));
      else if (!known.has(secretId)) known.set(secretId, at);
    }
  }

  /** What is stored, from any node, and what waits here; milliseconds since 1970 by the ids of secrets. */
  async of(credentialId: string): Promise<Readonly<Record<string, number>>> {
    const times = new Map(await this.#options.store.secretUses(credentialId));
    for (const [secretId, at] of this.#waiting.get(credentialId) ?? []) {
      times.set(secretId, Math.max(at, times.get(secretId) ?? 0));
    }
    return Object.fromEntries(times);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    await this.#storing;
    await this.store();
  }
}
