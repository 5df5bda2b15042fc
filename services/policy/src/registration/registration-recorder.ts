import { createHmac, randomBytes } from 'node:crypto';
import {
  addressOfPeer,
  failedPasswordRules,
  isRegistrationOpen,
  type PasswordPolicy,
  pendingRegistrations,
  REGISTRATION_ATTEMPTS_MAX,
  REGISTRATION_PASSWORD_LENGTH_MIN,
  REGISTRATION_SEEN_INTERVAL_MS,
  REGISTRATION_USERNAME_LENGTH_MIN,
  type RegistrationAttempt,
  type RegistrationReads,
  REGISTRATIONS_PENDING_MAX,
  withLengthMin,
} from '@sallyport/domain';
import { OperationalError } from '@sallyport/errors';
import type { Facts } from '@sallyport/rules';
import { makeRegistration, type SecretBox, type SecretHasher } from '@sallyport/secrets';
import { count, type Logger } from '@sallyport/telemetry';
import { hashBehindLogins } from '../hash-behind-logins.ts';
import type { RefusedConnections } from './refused-connections.ts';

/** Most passwords that wait to be hashed; one more is dropped, and comes again with its next attempt. */
export const REGISTRATION_QUEUE_MAX = 64;

/** Most pairs of user name and password whose hash is not made again; the oldest is forgotten first. */
export const REGISTRATIONS_KNOWN_MAX = 2 * REGISTRATIONS_PENDING_MAX;

/** How often repetitions are looked through; which of them are told, what was recorded last decides. */
export const REGISTRATION_TELL_MS = 2000;

export interface RegistrationRecorderOptions {
  readonly box: SecretBox;
  readonly hasher: Pick<SecretHasher, 'hashPasswordOf'>;
  readonly reads: Pick<
    RegistrationReads,
    | 'registrationWindow'
    | 'registration'
    | 'registrationCounts'
    | 'registrationsOf'
    | 'usernameTaken'
  >;
  /** Of what passwords must have; one that has not is not taken up. */
  readonly passwordPolicy: PasswordPolicy;
  /**
   * Has them written to the log by whoever may. Rejects with an `OperationalError` when that is not possible now; may be given the same
   * again later.
   */
  readonly store: (attempts: readonly RegistrationAttempt[]) => Promise<void>;
  readonly logger: Pick<Logger, 'warn'>;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
}

/** What is told of the attempts of one device since it was told last. */
interface Tries {
  count: number;
  /** Address and port of the last one. */
  peer: string | undefined;
  clientId: string;
}

interface Device {
  readonly username: string;
  readonly password: Uint8Array;
}

interface Waiting extends Tries, Device {
  readonly password: Buffer;
}

interface Known extends Tries {
  readonly secret: Pick<RegistrationAttempt, 'id' | 'username' | 'verifier'>;
}

/**
 * Makes requests for access of refused connections while the registration window is open: user name and password are hashed behind the
 * logins, one pair at a time and once only, and whoever comes again is counted. Passwords are in its memory for as long as they wait.
 */
export class RegistrationRecorder implements RefusedConnections, AsyncDisposable {
  readonly #options: RegistrationRecorderOptions;
  readonly #policy: PasswordPolicy;
  readonly #key = randomBytes(32);
  /** By `#keyOf`, like `#known`. */
  readonly #waiting = new Map<string, Waiting>();
  readonly #known = new Map<string, Known>();
  #working: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: RegistrationRecorderOptions) {
    this.#options = options;
    this.#policy = withLengthMin(options.passwordPolicy, REGISTRATION_PASSWORD_LENGTH_MIN);
  }

  refused(facts: Facts, password: Uint8Array | undefined): void {
    if (this.#closed || !this.#isOpen()) return;
    const { username, certificate } = facts;
    // Where a certificate is needed nobody gets in by what could be registered here; where one is shown it is what they mean.
    if (username === undefined || password === undefined || certificate !== undefined) return;
    if (!mayBeRegistered(this.#policy, username, password)) return;
    const key = this.#keyOf(username, password);
    const tries = this.#waiting.get(key) ?? this.#known.get(key);
    if (tries !== undefined) this.#repeated(tries, facts);
    else this.#takeUp(key, { ...triesOf(facts, 1), username, password });
  }

  #repeated(tries: Tries, facts: Facts): void {
    // A node that finds the log ahead of an answer asks again for the same connection.
    if (facts.peer !== undefined && facts.peer === tries.peer) return;
    Object.assign(tries, triesOf(facts, tries.count + 1));
    count('sallyport.registrations', { outcome: 'repeated' });
    this.#tellLater();
  }

  #takeUp(key: string, { password, ...device }: Tries & Device): void {
    if (this.#waiting.size >= REGISTRATION_QUEUE_MAX) {
      count('sallyport.registrations', { outcome: 'dropped' });
      return;
    }
    // A copy: the caller's bytes may be a part of what a socket has read.
    this.#waiting.set(key, { ...device, password: Buffer.from(password) });
    this.#working ??= this.#work().finally(() => (this.#working = undefined));
  }

  #isOpen(): boolean {
    const { reads, clock } = this.#options;
    return isRegistrationOpen(reads.registrationWindow(), clock());
  }

  /** Under a key of this process, so that a dump of its memory tells nobody a password. */
  #keyOf(username: string, password: Uint8Array): string {
    const mac = createHmac('sha256', this.#key).update(`${username.length}:${username}`);
    return mac.update(password).digest('base64');
  }

  async #work(): Promise<void> {
    // The login that has begun this goes first.
    await new Promise((resolve) => setImmediate(resolve));
    while (this.#waiting.size > 0 && !this.#closed) {
      const batch: Known[] = [];
      for (const [key, waiting] of this.#waiting) {
        const known = await this.#hash(waiting);
        waiting.password.fill(0);
        this.#waiting.delete(key);
        if (known === undefined) continue;
        this.#remember(key, known);
        batch.push(known);
        if (batch.length >= REGISTRATION_ATTEMPTS_MAX) break;
      }
      if (batch.length > 0) await this.#tell(batch);
    }
  }

  async #hash(waiting: Waiting): Promise<Known | undefined> {
    const { username, password } = waiting;
    // Most wrong passwords are of names that exist: they cost no hash, and nothing is kept of them.
    if (!this.#isOpen() || this.#options.reads.usernameTaken(username)) return undefined;
    const secret = this.#mayHaveRoom(username)
      ? await hashBehindLogins(
          () => makeRegistration(this.#options, { username, password }),
          () => this.#closed,
        )
      : undefined;
    if (secret === undefined) {
      count('sallyport.registrations', { outcome: 'dropped' });
      return undefined;
    }
    const { password: _password, username: _username, ...tries } = waiting;
    return { ...tries, secret: { ...secret, username } };
  }

  /** No hash for what would not be stored; of a name that waits already it may be a request that is there. */
  #mayHaveRoom(username: string): boolean {
    const { reads, clock } = this.#options;
    const full = reads.registrationCounts().pending >= REGISTRATIONS_PENDING_MAX;
    return !full || pendingRegistrations(reads, username, clock()).length > 0;
  }

  #remember(key: string, known: Known): void {
    if (this.#known.size >= REGISTRATIONS_KNOWN_MAX) {
      const oldest = this.#known.keys().next();
      if (oldest.done !== true) this.#known.delete(oldest.value);
    }
    this.#known.set(key, known);
  }

  /** Repetitions are told together, and each device's not more often than they are recorded. */
  #tellLater(): void {
    if (this.#timer !== undefined || this.#closed) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      void this.#tellRepeated();
    }, REGISTRATION_TELL_MS);
    this.#timer.unref();
  }

  async #tellRepeated(): Promise<void> {
    if (!this.#isOpen()) {
      // Nothing that comes now is recorded any more.
      this.#known.clear();
      return;
    }
    const repeated = [...this.#known.values()].filter((one) => one.count > 0);
    const due = repeated.filter((one) => this.#isDue(one));
    for (let start = 0; start < due.length; start += REGISTRATION_ATTEMPTS_MAX) {
      await this.#tell(due.slice(start, start + REGISTRATION_ATTEMPTS_MAX));
    }
    if (due.length < repeated.length) this.#tellLater();
  }

  /** Another replica may have told of the same device; or the request was denied, and this is the next one. */
  #isDue({ secret }: Known): boolean {
    const { reads, clock } = this.#options;
    const found = reads.registration(secret.id);
    if (found?.status !== 'pending') return true;
    return clock() - found.lastSeenAt >= REGISTRATION_SEEN_INTERVAL_MS;
  }

  async #tell(batch: readonly Known[]): Promise<void> {
    const attempts = batch.map(attemptOf);
    for (const one of batch) one.count = 0;
    try {
      await this.#options.store(attempts);
      for (const _one of batch) count('sallyport.registrations', { outcome: 'handed_on' });
    } catch (error) {
      if (!(error instanceof OperationalError)) throw error;
      for (const [index, one] of batch.entries()) one.count += attempts[index]?.count ?? 0;
      for (const _one of batch) count('sallyport.registrations', { outcome: 'failed' });
      const { code } = error;
      this.#options.logger.warn({ code, err: error }, 'requests for access could not be recorded');
      this.#tellLater();
    }
  }

  /** What waits is dropped: it comes again. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#working;
    for (const { password } of this.#waiting.values()) password.fill(0);
    this.#waiting.clear();
    this.#known.clear();
  }
}

const triesOf = ({ clientId, peer }: Facts, tries: number): Tries => ({
  count: tries,
  clientId,
  peer,
});

function attemptOf({ secret, count: tries, clientId, peer }: Known): RegistrationAttempt {
  const address = peer === undefined ? undefined : addressOfPeer(peer);
  return {
    ...{ ...secret, origin: 'mqtt', count: tries, clientId },
    ...(address !== undefined && { address }),
  };
}

/** A password that is no text could not be set or typed by anybody: it is left out. */
function mayBeRegistered(policy: PasswordPolicy, username: string, password: Uint8Array): boolean {
  if ([...username].length < REGISTRATION_USERNAME_LENGTH_MIN) return false;
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(password);
    return failedPasswordRules(policy, text).length === 0;
  } catch {
    return false; // Not UTF-8.
  }
}
