import { count, type LogThrottle } from '@sallyport/telemetry';
import type { TopicFilter } from '@sallyport/topic';
import type { LiveSession } from '../access/live-sessions.ts';

/** Whether a filter of a SUBSCRIBE is granted: by coverage of all topics that it can match, never as if it were a topic. */
export function authorizeSubscribe(
  session: LiveSession | undefined,
  filter: TopicFilter,
  logger: Pick<LogThrottle, 'info'>,
): boolean {
  const decision = session?.maySubscribe(filter) ?? { allowed: false, ruleId: 'no session' };
  count('sallyport.subscribes', { outcome: decision.allowed ? 'granted' : 'denied' });
  if (!decision.allowed) {
    const clientId = session?.principal.facts.clientId;
    logger.info('subscribe', { clientId, filter, ruleId: decision.ruleId }, 'subscribe denied');
  }
  return decision.allowed;
}
