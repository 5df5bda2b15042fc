import type { SessionRights } from '@sallyport/mqtt-session';
import type { Decision, Qos } from '@sallyport/rules';
import { attributes as keys, count, type LogThrottle, withSpan } from '@sallyport/telemetry';
import type { TopicFilter } from '@sallyport/topic';
import type { DecidedBy } from '../access/doorkeeper.ts';
import type { LiveSession } from '../access/live-sessions.ts';

/** What was denied, as the log tells it. */
interface Asked {
  readonly topic?: string;
  readonly filter?: TopicFilter;
  readonly qos?: Qos;
  readonly retain?: boolean;
  readonly shared?: boolean;
}

/** The same rule and revision in a trace as in the log. */
export const deniedAttributes = (
  action: string,
  { ruleId, revision }: Partial<DecidedBy> = {},
): Record<string, string | number> => ({
  ...(ruleId !== undefined && { [keys.ruleId]: ruleId }),
  ...(revision !== undefined && { [keys.policyRevision]: revision }),
  [keys.action]: action,
});

const shareOf = (shared: boolean): Pick<Asked, 'shared'> => (shared ? { shared } : {});

/** What one connection may do, as the engine asks; denials are told to the log. Every answer is synchronous and in memory. */
export class ClientRights implements SessionRights {
  readonly session: LiveSession;
  readonly #logger: Pick<LogThrottle, 'info'>;
  /** Of the listener; undefined: what the policy says. */
  readonly #deniedPublish: SessionRights['deniedPublish'] | undefined;
  readonly publishRates: SessionRights['publishRates'];

  constructor(
    session: LiveSession,
    logger: Pick<LogThrottle, 'info'>,
    more: Partial<Pick<SessionRights, 'deniedPublish' | 'publishRates'>> = {},
  ) {
    this.session = session;
    this.#logger = logger;
    this.#deniedPublish = more.deniedPublish;
    this.publishRates = more.publishRates;
  }

  get deniedPublish(): SessionRights['deniedPublish'] {
    if (this.#deniedPublish !== undefined) return this.#deniedPublish;
    return this.session.denyAction === 'ignore' ? 'acknowledge' : 'disconnect';
  }

  get deniedEnds(): boolean {
    return this.session.denyAction === 'disconnect_always';
  }

  publishedTopic(topic: string): string | undefined {
    return this.session.publishedTopic(topic);
  }

  /** From a client, or as its will. */
  mayPublish(topic: string, qos: Qos, retain: boolean): boolean {
    const decision = this.session.mayPublish(topic, qos, retain);
    if (!decision.allowed) this.#tell('publish', { topic, qos, retain }, decision);
    return decision.allowed;
  }

  /** The same rule and revision in the log and in the trace. */
  #tell(action: 'publish' | 'subscribe' | 'unsubscribe', asked: Asked, { ruleId }: Decision): void {
    const { principal, revision } = this.session;
    const { clientId } = principal.facts;
    const attributes = deniedAttributes(action, { ruleId, revision });
    withSpan('mqtt.denied', { attributes }, () =>
      this.#logger.info(action, { clientId, ...asked, ruleId, revision }, `${action} denied`),
    );
  }

  /** Live, retained or from its queue. */
  mayReceive(topic: string): boolean {
    return this.session.mayReceive(topic).allowed;
  }

  /** By coverage of all topics that the filter can match, never as if it were a topic. */
  maySubscribe(filter: TopicFilter, qos: Qos, shared: boolean): boolean {
    const decision = this.session.maySubscribe(filter, qos, shared);
    count('sallyport.subscribes', { outcome: decision.allowed ? 'granted' : 'denied' });
    if (!decision.allowed) this.#tell('subscribe', { filter, qos, ...shareOf(shared) }, decision);
    return decision.allowed;
  }

  /** Allowed unless a rule denies it. */
  mayUnsubscribe(filter: TopicFilter, shared: boolean): boolean {
    const decision = this.session.mayUnsubscribe(filter, shared);
    if (!decision.allowed) this.#tell('unsubscribe', { filter, ...shareOf(shared) }, decision);
    return decision.allowed;
  }
}
