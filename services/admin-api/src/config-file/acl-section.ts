import { type AclRule, type AclTable, aclTargetKey } from '@sallyport/domain';
import { type Static, Type } from 'typebox';
import type { CommandInputs } from '../http/write.ts';
import { replaceBody, sentTarget, targetBody } from '../routes/acl/schema.ts';
import { listSection } from './list-section.ts';
import { pages } from '../bulk/pages.ts';
import { sameValue } from './section.ts';

const entrySchema = Type.Object(
  { target: targetBody, ...replaceBody.properties },
  { additionalProperties: false },
);

type Entry = Static<typeof entrySchema>;

const KEPT = { keepEmpty: true } as const;
type FileRule = Omit<AclRule, 'ruleId'> & { readonly ruleId?: string };

/** Lists of rules, by whom they are for. */
export const aclSection = listSection<Entry, AclTable>({
  name: 'acl',
  entry: entrySchema,
  keyPointer: '/target',
  keyOf: (entry) => aclTargetKey(sentTarget(entry.target)),
  keyOfPresent: ({ target }) => aclTargetKey(target),
  find: (reads, entry) => reads.aclTable(sentTarget(entry.target)),
  pages: (snapshot) =>
    pages((after: AclTable | undefined, limit) => snapshot.aclTables(after, limit)),
  written: ({ target, rules }) => ({ target, rules, ...(rules.length === 0 && KEPT) }),

  compare(entry, table, { own }) {
    const target = sentTarget(entry.target);
    const { rules, keepEmpty = false } = entry;
    const before = table?.rules ?? [];
    const kept = rules.length === 0 && keepEmpty;
    // Without rules a list that is not to be kept is as good as none.
    const isMissing = kept && table === undefined;
    if (sameRules(rules, before) && !isMissing) return undefined;
    return {
      ...(table === undefined
        ? { after: { target, rules, ...(kept && KEPT) } }
        : { fields: [{ pointer: '/rules', before, after: rules }] }),
      rehearsal: (inputs) => ({
        type: 'ReplaceAclRules',
        data: {
          target,
          rules: withIds(rules, before, own(inputs)),
          keepEmpty,
          ifRevision: table?.updatedRevision ?? 0,
        },
      }),
    };
  },
  remove: ({ target, updatedRevision: ifRevision }) => ({
    type: 'RemoveAclRules',
    data: { target, ifRevision },
  }),
});

function sameRules(rules: readonly FileRule[], before: readonly AclRule[]): boolean {
  return (
    rules.length === before.length &&
    rules.every((rule, index) => {
      const ruleId = rule.ruleId ?? before[index]?.ruleId;
      return sameValue({ ...rule, ruleId }, before[index]);
    })
  );
}

/** Rules that name no id have that of the rule in their place, unless another one names it. */
function withIds(
  rules: readonly FileRule[],
  before: readonly AclRule[],
  inputs: CommandInputs,
): readonly AclRule[] {
  const written = new Set(rules.map((one) => one.ruleId));
  return rules.map((rule, index) => {
    const kept = before[index]?.ruleId;
    const free = kept !== undefined && !written.has(kept) ? kept : undefined;
    return { ...rule, ruleId: rule.ruleId ?? free ?? inputs.id(`rule-${index}`) };
  });
}
