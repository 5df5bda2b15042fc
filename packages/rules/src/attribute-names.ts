import { factsOf, parsePlaceholder } from '@sallyport/domain';
import { levelsOf } from '@sallyport/topic';
import type { PolicySpec } from './policy-spec.ts';

/** The attributes that the rules of a policy look at, each once. O(length of the rules). */
export function attributeNames(policy: Pick<PolicySpec, 'authorities'>): readonly string[] {
  const names = new Set<string>();
  for (const { rules } of policy.authorities) {
    for (const { matcher } of rules) {
      if (matcher.kind !== 'filter' || !matcher.filter.includes('${')) continue;
      for (const level of levelsOf(matcher.filter)) {
        const placeholder = parsePlaceholder(level);
        for (const fact of placeholder === undefined ? [] : factsOf(placeholder)) {
          if (fact.kind === 'attribute') names.add(fact.name);
        }
      }
    }
  }
  return [...names];
}
