import { createHmac, timingSafeEqual } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { hash } from '@node-rs/argon2';
import { DEFAULT_HASH, type HashAlgorithm, type ScramMechanism } from '@sallyport/domain';
import { OperationalError } from '@sallyport/errors';
import { ARGON2ID, parseArgon2id, verifyArgon2id } from './argon2id.ts';
import { chosenHash } from './chosen-hash.ts';
import { importedCost, verifyImportedFast, verifyImportedSlow } from './imported-hash.ts';
import { RandomPool } from './random-pool.ts';
import { deriveScram, formatScramVerifier, SCRAM_ITERATIONS, SCRAM_SALT_BYTES } from './scram.ts';
import type { SecretBox } from './secret-box.ts';
import { SECRET_BYTES_MAX } from './secret-limit.ts';

/** Secrets that we generate: 32 random bytes. */
export const MACHINE_SECRET_BYTES = 32;

/** Most verifications that wait for a place in the pool; one more is refused. */
export const HASH_QUEUE_MAX = 64;

/** RFC 9106 §3.1 recommends 16. */
const ARGON2ID_SALT_BYTES = 16;

const MACHINE_FORMAT = 'm1';

/** Cost of a verifier: `fast` is microseconds on the caller's thread, `slow` milliseconds in the pool. */
export type VerifierCost = 'fast' | 'slow';

/** Creates and verifies secrets. Expensive work runs off the event loop, in a bounded pool that sheds load. */
export class SecretHasher {
  readonly #machineKey: Uint8Array;
  readonly #saltKey: Uint8Array;
  readonly #registrationSaltKey: Uint8Array;
  readonly #random = new RandomPool();
  readonly #concurrencyMax: number;
  readonly #queueMax: number;
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(
    box: SecretBox,
    limits: { readonly concurrencyMax?: number; readonly queueMax?: number } = {},
  ) {
    this.#machineKey = box.derive('machine-secret');
    this.#saltKey = box.derive('scram-salt');
    this.#registrationSaltKey = box.derive('registration-salt');
    this.#concurrencyMax = limits.concurrencyMax ?? availableParallelism();
    this.#queueMax = limits.queueMax ?? HASH_QUEUE_MAX;
  }

  /**
   * The verifier of a secret that a person chose: argon2id in PHC form, unless an authenticator wants another form, which is that of an
   * imported hash. @throws OperationalError `hash_pool_full`
   */
  hashPassword(
    password: string | Uint8Array,
    algorithm: HashAlgorithm = DEFAULT_HASH,
  ): Promise<string> {
    if (algorithm.name !== 'argon2id') return this.#pooled(() => chosenHash(algorithm, password));
    return this.#argon2id(password, {});
  }

  /**
   * argon2id with a salt that belongs to the user name, under the deployment key: so one user name and password have one verifier,
   * and whether two are the same is seen without the password. @throws OperationalError `hash_pool_full`
   */
  hashPasswordOf(username: string, password: Uint8Array): Promise<string> {
    const mac = createHmac('sha256', this.#registrationSaltKey).update(username).digest();
    return this.#argon2id(password, { salt: mac.subarray(0, ARGON2ID_SALT_BYTES) });
  }

  #argon2id(password: string | Uint8Array, more: { readonly salt?: Uint8Array }): Promise<string> {
    return this.#pooled(() =>
      hash(password, {
        memoryCost: ARGON2ID.memoryKiB,
        timeCost: ARGON2ID.iterations,
        parallelism: ARGON2ID.parallelism,
        ...more,
      }),
    );
  }

  /** A new secret of `MACHINE_SECRET_BYTES` random bytes with its verifier: keyed SHA-256, cheap to check. */
  generateSecret(): { readonly secret: string; readonly verifier: string } {
    const secret = this.#random.take(MACHINE_SECRET_BYTES).toString('base64url');
    return { secret, verifier: this.machineVerifier(secret) };
  }

  /** The verifier of a secret that somebody else generated with at least 128 random bits. */
  machineVerifier(secret: string): string {
    return `${MACHINE_FORMAT}:${this.#mac(Buffer.from(secret)).toString('base64')}`;
  }

  #mac(secret: Uint8Array): Buffer {
    return createHmac('sha256', this.#machineKey).update(secret).digest();
  }

  /**
   * The salt of a user name: the same whether anybody has the name or not, so that a challenge tells nothing, and the same
   * for two secrets of one rotation, so that one challenge does for both. `username` is as SASLprep leaves it.
   */
  scramSalt(mechanism: ScramMechanism, username: string): Buffer {
    const mac = createHmac('sha256', this.#saltKey).update(`${mechanism}:${username}`).digest();
    return mac.subarray(0, SCRAM_SALT_BYTES);
  }

  /**
   * The text to seal for one mechanism, in the pool. The password must have a form under SASLprep.
   * @throws OperationalError `hash_pool_full`
   */
  scramVerifier(
    mechanism: ScramMechanism,
    { username, password }: { readonly username: string; readonly password: string },
  ): Promise<string> {
    const salt = this.scramSalt(mechanism, username);
    return this.#pooled(async () =>
      formatScramVerifier(
        await deriveScram({ mechanism, iterations: SCRAM_ITERATIONS, salt }, password),
      ),
    );
  }

  /** What verifying against this verifier costs. */
  costOf(verifier: string): VerifierCost {
    if (verifier.startsWith(`${MACHINE_FORMAT}:`)) return 'fast';
    return importedCost(verifier) ?? 'slow';
  }

  /**
   * Whether `secret` is what `verifier` was made from. A verifier of an unknown form matches nothing.
   * @throws OperationalError `hash_pool_full`
   */
  async verify(verifier: string, secret: Uint8Array): Promise<boolean> {
    if (secret.length > SECRET_BYTES_MAX) return false;
    if (this.costOf(verifier) === 'fast') return this.verifyFast(verifier, secret);
    if (importedCost(verifier) === 'slow') {
      return this.#pooled(() => verifyImportedSlow(verifier, secret));
    }
    const parsed = parseArgon2id(verifier);
    return parsed !== undefined && this.#pooled(() => verifyArgon2id(parsed, secret));
  }

  /** The same for a verifier of cost `fast`, at once. */
  verifyFast(verifier: string, secret: Uint8Array): boolean {
    if (!verifier.startsWith(`${MACHINE_FORMAT}:`)) return verifyImportedFast(verifier, secret);
    const expected = Buffer.from(verifier.slice(MACHINE_FORMAT.length + 1), 'base64');
    const found = this.#mac(secret);
    return expected.length === found.length && timingSafeEqual(expected, found);
  }

  async #pooled<T>(work: () => Promise<T>): Promise<T> {
    if (this.#running >= this.#concurrencyMax) {
      if (this.#waiting.length >= this.#queueMax) {
        throw new OperationalError('hash_pool_full', `${this.#queueMax} verifications are waiting`);
      }
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else this.#running++;
    try {
      return await work();
    } finally {
      // The place goes straight to the next one, so that nobody overtakes who waits.
      const next = this.#waiting.shift();
      if (next === undefined) this.#running--;
      else next();
    }
  }
}
