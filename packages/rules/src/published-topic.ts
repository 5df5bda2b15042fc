import { parseTopicName } from '@sallyport/topic';
import type { CompiledPolicy } from './compile.ts';

/**
 * The topic that a message is published under when its client names `topic`, a parsed topic name: it is what rules and the guard
 * judge, and what is retained, stored and delivered. Undefined when the prefix makes it longer or deeper than a topic may be.
 */
export function publishedTopic(
  { publishPrefix }: Pick<CompiledPolicy, 'publishPrefix'>,
  topic: string,
): string | undefined {
  if (publishPrefix === '') return topic;
  const parsed = parseTopicName(publishPrefix + topic);
  return parsed.ok ? parsed.value : undefined;
}
