import type { SessionRights } from '@sallyport/mqtt-session';
import { count, type LogThrottle } from '@sallyport/telemetry';
import type { TopicFilter } from '@sallyport/topic';
import type { LiveSession } from '../access/live-sessions.ts';

/** What one connection may do, as the engine asks; denials are told to the log. Every answer is synchronous and in memory. */
export class ClientRights implements SessionRights {
  readonly session: LiveSession;
  readonly #logger: Pick<LogThrottle, 'info'>;
  /** Of the listener; undefined: what the policy says. */
  readonly #deniedPublish: SessionRights['deniedPublish'] | undefined;

  constructor(
    session: LiveSession,
    logger: Pick<LogThrottle, 'info'>,
    deniedPublish?: SessionRights['deniedPublish'],
  ) {
    this.session = session;
    this.#logger = logger;
    this.#deniedPublish = deniedPublish;
  }

  get deniedPublish(): SessionRights['deniedPublish'] {
    if (this.#deniedPublish !== undefined) return this.#deniedPublish;
    return this.session.denyAction === 'ignore' ? 'acknowledge' : 'disconnect';
  }

  publishedTopic(topic: string): string | undefined {
    return this.session.publishedTopic(topic);
  }

  /** From a client, or as its will. */
  mayPublish(topic: string): boolean {
    const decision = this.session.mayPublish(topic);
    if (!decision.allowed) {
      const { clientId } = this.session.principal.facts;
      this.#logger.info('publish', { clientId, topic, ruleId: decision.ruleId }, 'publish denied');
    }
    return decision.allowed;
  }

  /** Live, retained or from its queue. */
  mayReceive(topic: string): boolean {
    return this.session.mayReceive(topic).allowed;
  }

  /** By coverage of all topics that the filter can match, never as if it were a topic. */
  maySubscribe(filter: TopicFilter): boolean {
    const decision = this.session.maySubscribe(filter);
    count('sallyport.subscribes', { outcome: decision.allowed ? 'granted' : 'denied' });
    if (!decision.allowed) {
      const { clientId } = this.session.principal.facts;
      this.#logger.info(
        'subscribe',
        { clientId, filter, ruleId: decision.ruleId },
        'subscribe denied',
      );
    }
    return decision.allowed;
  }
}
