import { type CertificateMapping, resolvedPattern } from '@sallyport/domain';
import { mappedRuleId, READ_ACTIONS } from '../assemble.ts';
import type { LintRule } from './rows.ts';

/** What a mapping says of every certificate, each rule with the entry that the certificate must select. */
export function mappingRules(
  credentialId: string,
  { keywordPattern, entries }: Pick<CertificateMapping, 'keywordPattern' | 'entries'>,
): readonly LintRule[] {
  const keyed = keywordPattern !== undefined;
  return entries.flatMap(({ key, ...lists }, index) =>
    (['publish', 'subscribe'] as const).flatMap((direction) =>
      lists[direction].flatMap((written, at): LintRule[] => {
        // What is stored can stand for a name of one character.
        const pattern = resolvedPattern(written, { commonName: 'x', clientId: 'x' });
        if (pattern === undefined) return [];
        const rule: LintRule = {
          ruleId: mappedRuleId(credentialId, direction, `${index}/${at}`),
          effect: 'allow',
          actions: direction === 'publish' ? ['publish'] : READ_ACTIONS,
          matcher: { kind: 'pattern', pattern },
          entry: { index, key: keyed ? null : key, ...(pattern !== written && { written }) },
        };
        return [rule];
      }),
    ),
  );
}
