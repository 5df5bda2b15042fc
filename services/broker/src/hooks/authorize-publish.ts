import { count, type LogThrottle } from '@sallyport/telemetry';
import type { LiveSession } from '../access/live-sessions.ts';

export type PublishVerdict = 'allow' | 'drop' | 'disconnect';

/**
 * Whether a message may be published: from a client, or as its will. A session that is not known (the will of a node that
 * died) has nobody's rights and publishes nothing.
 */
export function authorizePublish(
  session: LiveSession | undefined,
  topic: string,
  logger: Pick<LogThrottle, 'info'>,
): PublishVerdict {
  if (session === undefined) {
    count('sallyport.publishes', { outcome: 'denied' });
    return 'drop';
  }
  const decision = session.mayPublish(topic);
  count('sallyport.publishes', { outcome: decision.allowed ? 'allowed' : 'denied' });
  if (decision.allowed) return 'allow';
  const { clientId } = session.principal.facts;
  logger.info('publish', { clientId, topic, ruleId: decision.ruleId }, 'publish denied');
  return session.denyAction === 'ignore' ? 'drop' : 'disconnect';
}
