import { OperationalError } from '@sallyport/errors';
import type {
  ConnectRefusal,
  ConnectRequest,
  ConnectVerdict,
  EnhancedAuthentication,
  EnhancedStep,
  Origin,
} from '@sallyport/mqtt-session';
import {
  type Admission,
  type EnhancedExchange,
  type EnhancedStep as Step,
  startEnhancedAuthentication,
} from '@sallyport/policy-client';
import { count, withSpan } from '@sallyport/telemetry';
import type { DecidedBy, Objection } from '../access/doorkeeper.ts';
import type { LiveSession } from '../access/live-sessions.ts';
import type { ClientCertificate } from '../listeners/client-certificate.ts';
import { deniedAttributes } from './client-rights.ts';
import {
  type AuthenticateContext,
  caughtUp,
  enter,
  factsOf,
  isGuess,
  placed,
  refusalOf,
  undecided,
} from './authenticate.ts';

const CHANGED_MEANWHILE = 'the policy has changed meanwhile';

export interface EnhancedLoginOptions {
  readonly context: AuthenticateContext;
  readonly request: ConnectRequest;
  readonly method: string;
  /** Whose rights are renewed: it must be the same credential. */
  readonly current: LiveSession | undefined;
  readonly close: (reason: string) => void;
  readonly accept: (session: LiveSession) => ConnectVerdict;
}

/** What the listener found in the client's certificate. The engine passes on what it was given with the socket. */
export const certificateOf = ({ certificate }: Origin): ClientCertificate | undefined =>
  certificate as ClientCertificate | undefined; // An AcceptedConnection.

/** What happens on AUTH, and on a CONNECT with an authentication method. Never throws: whatever cannot be decided is refused. */
export class EnhancedLogin implements EnhancedAuthentication {
  readonly #options: EnhancedLoginOptions;
  readonly #exchange: EnhancedExchange;
  #asked = false;

  private constructor(options: EnhancedLoginOptions, exchange: EnhancedExchange) {
    this.#options = options;
    this.#exchange = exchange;
  }

  /** Undefined for a method that nobody knows. */
  static start(options: EnhancedLoginOptions): EnhancedLogin | undefined {
    const { context, request, method } = options;
    const { clientId, username, origin } = request;
    const { listener, peer } = origin;
    const certificate = certificateOf(origin);
    const facts = factsOf({ clientId, username, listener, peer, certificate }, context);
    const exchange = startEnhancedAuthentication(context.cache, facts, method);
    return exchange && new EnhancedLogin(options, exchange);
  }

  async step(data: Buffer | undefined): Promise<EnhancedStep> {
    const { context } = this.#options;
    const staleness = context.staleness();
    if (staleness !== undefined) return this.#refused('server_unavailable', staleness);
    const objection = this.#objection();
    if (objection !== undefined) {
      return this.#refused(objection.verdict, objection.reason, objection.by);
    }
    await caughtUp(context);
    try {
      const step = await this.#exchange.step(data);
      if (step.outcome === 'continue') return step;
      if (step.outcome === 'refused') {
        const { clientId, username, origin } = this.#options.request;
        const { peer } = origin;
        // The proof is another each time, so that a wrong one is never the same again.
        if (isGuess(step.reason)) context.door.unproven({ clientId, username, peer }, undefined);
        return this.#refusedBy(step);
      }
      const { admitted } = step.admission;
      // The proof serves once; whoever meets a change just now comes again.
      if (admitted.policy.applyMode === 'pinned' && !(await context.cache.isNewest(admitted))) {
        return this.#refused('server_unavailable', CHANGED_MEANWHILE);
      }
      return await this.#admitted(step.admission, step.data);
    } catch (error) {
      if (!(error instanceof OperationalError)) throw error;
      return this.#refused(undecided(error.code), error.code);
    }
  }

  /** Asked once: a renewal is no CONNECT, and the second half of an exchange is of the same one. */
  #objection(): Objection | undefined {
    if (this.#asked) return undefined;
    this.#asked = true;
    const { context, request, current } = this.#options;
    const { clientId, username, origin } = request;
    if (current !== undefined) return undefined;
    return context.door.objection({ clientId, username, ...origin });
  }

  async #admitted(
    { admitted }: Extract<Admission, { ok: true }>,
    data: Buffer | undefined,
  ): Promise<EnhancedStep> {
    const { context, request, current, close, accept } = this.#options;
    const { credentialId } = admitted.principal;
    if (current !== undefined && current.principal.credentialId !== credentialId) {
      return this.#refused('not_authorized', 'another credential than before');
    }
    if (context.cache.isStale(admitted.revision, admitted.resolved.tags)) {
      return this.#refused('server_unavailable', CHANGED_MEANWHILE);
    }
    const entered = enter(context, request, admitted, 'policy', close);
    // A renewal is of the same connection, which has its place.
    const { answer, reason, by } = current === undefined ? await placed(context, entered) : entered;
    if (answer.session === undefined) {
      return this.#refused(refusalOf(answer.verdict), reason ?? answer.verdict, by);
    }
    if (current !== undefined) {
      answer.session.renew(current);
      context.places.renew(current, answer.session);
    }
    count('sallyport.connects', { outcome: 'accept', source: 'policy' });
    const verdict = accept(answer.session);
    return { outcome: 'done', verdict, ...(data !== undefined && { data }) };
  }

  #refusedBy({ reason, revision, ruleId }: Extract<Step, { outcome: 'refused' }>): EnhancedStep {
    const by = revision === undefined ? undefined : { revision, ...(ruleId && { ruleId }) };
    return this.#refused(reason === 'banned' ? 'banned' : 'not_authorized', reason, by);
  }

  #refused(refusal: ConnectRefusal, reason: string, by?: DecidedBy): EnhancedStep {
    const { context, request } = this.#options;
    const { clientId, clientIdAssigned, username, origin } = request;
    const { listener, peer } = origin;
    count('sallyport.connects', { outcome: refusal, source: 'policy' });
    const fields = { reason, clientId, username, listener, peer };
    context.door.refused({ ...fields, clientIdAssigned }, reason);
    const told = { ...fields, ...by };
    withSpan('mqtt.denied', { attributes: deniedAttributes('connect', by) }, () =>
      context.logger.info(`enhanced ${reason}`, told, 'enhanced authentication refused'),
    );
    return { outcome: 'done', verdict: { accepted: false, reason: refusal } };
  }
}
