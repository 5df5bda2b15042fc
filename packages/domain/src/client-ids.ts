import { parseTopicPattern } from '@sallyport/topic';
import type { Problems } from './text.ts';

/** Client ids that a credential lets in, whatever else it matches; without members: all of them. At most one is there. */
export interface ClientIds {
  readonly exact?: string;
  /** A regular expression in Java's syntax that matches the whole client id. */
  readonly pattern?: string;
}

/** Whether a client id is one of them. A pattern that is none lets nobody in. Linear in the client id. */
export function letsIn({ exact, pattern }: ClientIds = {}, clientId: string): boolean {
  if (exact !== undefined) return clientId === exact;
  if (pattern === undefined) return true;
  const parsed = parseTopicPattern(pattern);
  return parsed.ok && parsed.value.matches(clientId);
}

export const isLimited = ({ exact, pattern }: ClientIds): boolean =>
  exact !== undefined || pattern !== undefined;

export function checkClientIds(problems: Problems, { exact, pattern }: ClientIds = {}): void {
  if (exact !== undefined && pattern !== undefined) {
    problems.add('/clientIds', 'must have exact or pattern, not both');
  }
  if (exact !== undefined) problems.text('/clientIds/exact', exact);
  if (pattern === undefined) return;
  const parsed = parseTopicPattern(pattern);
  if (pattern === '') problems.add('/clientIds/pattern', 'must not be empty');
  else if (!parsed.ok) problems.add('/clientIds/pattern', parsed.problem);
}
