/**
 * Whether the filter matches the topic name; both given as levels, already parsed, so wildcards sit where they may.
 * O(levels), no allocation. A filter that starts with a wildcard never matches a name that starts with `$`.
 * @source MQTT-3.1.1 [MQTT-4.7.2-1], MQTT-5.0 [MQTT-4.7.2-1]
 * @example matches(['sport', '#'], ['sport']) // true: `#` includes its parent level
 */
export function matches(filter: readonly string[], name: readonly string[]): boolean {
  const reserved = name[0]?.startsWith('$') ?? false;
  for (let index = 0; index < filter.length; index++) {
    const level = filter[index];
    if (index === 0 && reserved && (level === '+' || level === '#')) return false;
    if (level === '#') return true; // The parent level too: name may be one shorter than the filter.
    if (index >= name.length) return false;
    if (level !== '+' && level !== name[index]) return false;
  }
  return filter.length === name.length;
}

/** Whether a topic name or filter lies in the reserved space: its first character is `$`. */
export function isReserved(topic: string): boolean {
  return topic.charCodeAt(0) === 0x24;
}
