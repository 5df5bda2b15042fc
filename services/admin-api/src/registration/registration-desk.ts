import { createPublicKey, randomUUID } from 'node:crypto';
import {
  isRegistrationOpen,
  liveRegistration,
  type PasswordPolicy,
  REGISTRATION_PASSWORD_LENGTH_MIN,
  type RegistrationAsked,
  withLengthMin,
} from '@sallyport/domain';
import { makeRegistration } from '@sallyport/secrets';
import { RefusedError, refused } from '../http/problems.ts';
import { RateLimit } from '../http/rate-limit.ts';
import type { ReadBarrier } from '../http/read-barrier.ts';
import { readSigningRequest, type SigningRequest } from '../issuing/signing-request.ts';
import { checkChosenPassword } from '../passwords.ts';
import type { AdminApiPorts } from '../ports.ts';
import { NO_ISSUER, unsigned } from './grant.ts';
import { REGISTRATION_ACTOR } from './registration-writer.ts';

/** Most requests of one address in a minute, and as many at once. */
export const REGISTRATIONS_PER_MINUTE_MAX = 10;

/** When whoever waits is to ask again, in seconds: not before an attempt is recorded anew, and within the rate. */
export const REGISTRATION_RETRY_AFTER_SECONDS = 10;

/** What somebody sends who would like to have access. */
export interface RegistrationRequest {
  readonly username: string;
  readonly password: string;
  readonly asked: RegistrationAsked;
  /** Address of the peer, without its port. */
  readonly address: string;
}

export type Registered =
  { readonly state: 'pending' } | { readonly state: 'granted'; readonly certificate?: string };

type DeskPorts = Pick<
  AdminApiPorts,
  'executor' | 'model' | 'secretBox' | 'hasher' | 'clock' | 'passwordPolicy' | 'issuer'
>;

/**
 * Where strangers ask for access, and ask again until it is decided: for every API that lets them.
 * @source compat A7.2
 */
export class RegistrationDesk {
  readonly #ports: DeskPorts;
  readonly #barrier: Pick<ReadBarrier, 'pass'>;
  readonly #rate: RateLimit;
  readonly #policy: PasswordPolicy;

  constructor(ports: DeskPorts, barrier: Pick<ReadBarrier, 'pass'>) {
    this.#ports = ports;
    this.#barrier = barrier;
    this.#policy = withLengthMin(ports.passwordPolicy, REGISTRATION_PASSWORD_LENGTH_MIN);
    const perSecond = REGISTRATIONS_PER_MINUTE_MAX / 60;
    this.#rate = new RateLimit(perSecond, ports.clock, REGISTRATIONS_PER_MINUTE_MAX);
  }

  /** Before anything else is done for the address. @throws RefusedError `rate_limited` */
  admit(source: string): void {
    const waitMs = this.#rate.take(source);
    if (waitMs === 0) return;
    const retryAfter = String(Math.ceil(waitMs / 1000));
    throw refused('rate_limited', { headers: { 'retry-after': retryAfter } });
  }

  /**
   * Takes a request up, or tells what became of it.
   * @throws RefusedError `registration_locked`, `registration_conflict`, `registration_denied`, `registration_invalid`,
   * `too_many_registrations`; OperationalError `hash_pool_full` and as `CommandExecutor.execute`
   */
  async register(request: RegistrationRequest): Promise<Registered> {
    const { executor, model, secretBox: box, hasher, clock } = this.#ports;
    checkChosenPassword(this.#policy, request.password, 'registration_invalid');
    await this.#barrier.pass();
    // While nobody may ask, and this one has not asked before, it costs no hash to say so.
    if (!this.#mayBeKnown(request.username)) throw refused('registration_locked');
    const { username, address } = request;
    const signing = this.#signingRequest(request);
    const asked = Object.keys(request.asked).length === 0 ? {} : { asked: request.asked };
    const password = Buffer.from(request.password);
    const secret = await makeRegistration({ box, hasher }, { username, password });
    const at = clock();
    const data = { ...secret, username, origin: 'http', count: 1, address, ...asked } as const;
    const executed = await executor.execute(
      { type: 'Register', data },
      { commitId: randomUUID(), at, actor: REGISTRATION_ACTOR },
    );
    if (!executed.ok) throw new RefusedError(executed.rejection);
    const denied = executed.events.some(
      (event) => event.type === 'RegistrationRemoved' && event.data.reason === 'told',
    );
    if (denied) throw refused('registration_denied');
    const found = liveRegistration(model.reads, secret.id, at);
    if (found?.status !== 'granted') return { state: 'pending' };
    const { certificate } = found;
    if (certificate !== undefined && signing !== undefined) checkSameKey(certificate, signing);
    return { state: 'granted', ...(certificate !== undefined && { certificate }) };
  }

  /** Looked at before anything is hashed or stored. @throws RefusedError `registration_invalid` */
  #signingRequest({ username, asked: { csr } }: RegistrationRequest): SigningRequest | undefined {
    if (csr === undefined) return undefined;
    if (this.#ports.issuer === undefined) throw unsigned('registration_invalid', NO_ISSUER);
    const read = readSigningRequest(csr, username);
    if (!read.ok) throw unsigned('registration_invalid', read.problem);
    return read.request;
  }

  #mayBeKnown(username: string): boolean {
    const { model, clock } = this.#ports;
    const { reads } = model;
    return (
      isRegistrationOpen(reads.registrationWindow(), clock()) ||
      reads.registrationsOf(username).length > 0
    );
  }
}

/** A device that has made itself another key since would have a certificate that it cannot use. */
function checkSameKey(certificate: string, { publicKey }: SigningRequest): void {
  if (createPublicKey(certificate).equals(publicKey)) return;
  throw unsigned('registration_conflict', 'is of another key than the one that was granted');
}
