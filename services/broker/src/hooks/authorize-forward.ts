import { count } from '@sallyport/telemetry';
import type { LiveSession } from '../access/live-sessions.ts';

/** Whether a message may be handed to a subscriber: live, retained or from its queue. Synchronous, in memory. */
export function authorizeForward(session: LiveSession | undefined, topic: string): boolean {
  const allowed = session?.mayReceive(topic).allowed ?? false;
  if (!allowed) count('sallyport.deliveries.denied', {});
  return allowed;
}
