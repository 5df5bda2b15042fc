import { type CredentialRehash, REHASH_SECRETS_MAX } from '@sallyport/domain';
import { OperationalError } from '@sallyport/errors';
import { type SecretBox, type SecretHasher, sealingContext } from '@sallyport/secrets';
import { count, type Logger } from '@sallyport/telemetry';
import { hashBehindLogins } from '../hash-behind-logins.ts';
import type { ImportedSecrets } from './imported-secrets.ts';

/** Most passwords that wait to be hashed; one more is dropped, and comes again with its next login. */
export const REHASH_QUEUE_MAX = 256;

/** For how long a secret that was handed on is not taken again: the log has to come back first. */
export const REHASH_REPEAT_MS = 30_000;
const REMEMBERED_MAX = 10_000;

export interface RehasherOptions {
  readonly box: SecretBox;
  readonly hasher: Pick<SecretHasher, 'hashPassword'>;
  /**
   * Has them written to the log by whoever may. Rejects with an `OperationalError` when that is not possible now; may be given the
   * same secret again later.
   */
  readonly store: (secrets: readonly CredentialRehash[]) => Promise<void>;
  readonly logger: Pick<Logger, 'warn'>;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
}

interface Waiting {
  readonly id: string;
  readonly secretId: string;
  readonly password: Buffer;
}

const keyOf = ({ id, secretId }: Pick<Waiting, 'id' | 'secretId'>): string =>
  JSON.stringify([id, secretId]);

/**
 * Hashes passwords anew behind the logins that have proven them, one at a time, and has the verifiers stored in batches. Passwords
 * are in its memory for as long as they wait, and nowhere else.
 */
export class Rehasher implements ImportedSecrets, AsyncDisposable {
  readonly #options: RehasherOptions;
  readonly #waiting = new Map<string, Waiting>();
  /** When a secret may be taken again; in the order in which they were taken. */
  readonly #taken = new Map<string, number>();
  #working: Promise<void> | undefined;
  #closed = false;

  constructor(options: RehasherOptions) {
    this.#options = options;
  }

  proven(secret: { readonly id: string; readonly secretId: string }, password: Uint8Array): void {
    const key = keyOf(secret);
    const repeatAt = this.#taken.get(key);
    if (this.#closed || this.#waiting.has(key)) return;
    if (repeatAt !== undefined && this.#options.clock() < repeatAt) return;
    if (this.#waiting.size >= REHASH_QUEUE_MAX) {
      count('sallyport.secrets.rehashed', { outcome: 'dropped' });
      return;
    }
    // A copy: the caller's bytes may be a part of what a socket has read.
    this.#waiting.set(key, { ...secret, password: Buffer.from(password) });
    this.#working ??= this.#work().finally(() => (this.#working = undefined));
  }

  async #work(): Promise<void> {
    // The login that has begun this goes first.
    await new Promise((resolve) => setImmediate(resolve));
    while (this.#waiting.size > 0 && !this.#closed) {
      const batch: CredentialRehash[] = [];
      for (const [key, waiting] of this.#waiting) {
        const rehash = await this.#hash(waiting);
        waiting.password.fill(0);
        this.#waiting.delete(key);
        this.#take(key);
        if (rehash !== undefined) batch.push(rehash);
        if (batch.length >= REHASH_SECRETS_MAX) break;
      }
      if (batch.length > 0) await this.#store(batch);
    }
  }

  async #hash({ id, secretId, password }: Waiting): Promise<CredentialRehash | undefined> {
    const { box, hasher } = this.#options;
    const verifier = await hashBehindLogins(
      () => hasher.hashPassword(password),
      () => this.#closed,
    );
    if (verifier === undefined) {
      count('sallyport.secrets.rehashed', { outcome: 'dropped' });
      return undefined;
    }
    const context = sealingContext({ kind: 'credential', id });
    return { id, secretId, verifier: box.seal(verifier, context) };
  }

  #take(key: string): void {
    if (this.#taken.size >= REMEMBERED_MAX) {
      const oldest = this.#taken.keys().next();
      if (oldest.done !== true) this.#taken.delete(oldest.value);
    }
    this.#taken.delete(key);
    this.#taken.set(key, this.#options.clock() + REHASH_REPEAT_MS);
  }

  async #store(batch: readonly CredentialRehash[]): Promise<void> {
    try {
      await this.#options.store(batch);
      for (const _one of batch) count('sallyport.secrets.rehashed', { outcome: 'handed_on' });
    } catch (error) {
      if (!(error instanceof OperationalError)) throw error;
      for (const one of batch) this.#taken.delete(keyOf(one));
      for (const _one of batch) count('sallyport.secrets.rehashed', { outcome: 'failed' });
      const { code } = error;
      this.#options.logger.warn({ code, err: error }, 'imported secrets could not be rehashed');
    }
  }

  /** What waits is dropped: it comes again. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    await this.#working;
    for (const { password } of this.#waiting.values()) password.fill(0);
    this.#waiting.clear();
  }
}
