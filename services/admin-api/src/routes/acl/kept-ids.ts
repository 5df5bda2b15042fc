import type { AclRule } from '@sallyport/domain';

type SentRule = Omit<AclRule, 'ruleId'> & { readonly ruleId?: string };

/**
 * The ids of rules that say none: that of a rule that was there before and says the same, else a new one. So a list that is put once more
 * changes nothing for anybody, and whoever asks when a rule came is not told of the last time that the list was written. O(rules).
 */
export function withKeptRuleIds(
  sent: readonly SentRule[],
  before: readonly AclRule[],
  newId: (index: number) => string,
): readonly AclRule[] {
  const named = new Set(sent.map(({ ruleId }) => ruleId));
  const free = new Map<string, string[]>();
  for (const { ruleId, ...said } of before) {
    if (named.has(ruleId)) continue;
    const text = textOf(said);
    const ids = free.get(text);
    if (ids === undefined) free.set(text, [ruleId]);
    else ids.push(ruleId);
  }
  return sent.map(({ ruleId, ...said }, index) => {
    const id = ruleId ?? free.get(textOf(said))?.shift() ?? newId(index);
    return { ...said, ruleId: id };
  });
}

/** The same for rules that say the same; the order of their members does not count. */
const textOf = (said: Omit<SentRule, 'ruleId'>): string =>
  JSON.stringify(Object.entries(said).sort(([one], [other]) => (one < other ? -1 : 1)));
