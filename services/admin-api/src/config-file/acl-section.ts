import { type AclRule, type AclTable, type AclTarget, aclTargetKey } from '@sallyport/domain';
import { Type } from 'typebox';
import { turn } from '../bulk/turn.ts';
import { refused } from '../http/problems.ts';
import type { CommandInputs } from '../http/write.ts';
import { replaceBody } from '../routes/acl/schema.ts';
import { type Change, type ConfigSection, pages, sameValue } from './section.ts';

type FileRule = Omit<AclRule, 'ruleId'> & { readonly ruleId?: string };

interface Entry {
  readonly target: { readonly kind: AclTarget['kind']; readonly name?: string };
  readonly rules: readonly FileRule[];
}

const targetSchema = Type.Object(
  {
    kind: Type.Enum(['client', 'username', 'everyone']),
    name: Type.Optional(Type.String({ description: 'Of the client id or username.' })),
  },
  { additionalProperties: false },
);

/** Lists of rules by whom they are for. */
export const aclSection: ConfigSection = {
  name: 'acl',
  schema: Type.Array(
    Type.Object(
      { target: targetSchema, ...replaceBody.properties },
      { additionalProperties: false },
    ),
  ),

  async compare(value, { context, prune }) {
    const { reads } = context.ports.model;
    const changes: Change[] = [];
    const named = new Set<string>();
    for (const [index, entry] of (value as readonly Entry[]).entries()) {
      const pointer = `/acl/${index}`;
      const target = targetOf(entry, pointer);
      const key = aclTargetKey(target);
      if (named.has(key)) throw problem(`${pointer}/target`, 'is there twice');
      named.add(key);
      const change = compareOne(pointer, target, entry.rules, reads.aclTable(target));
      if (change !== undefined) changes.push(change);
      if (index % 100 === 99) await turn();
    }
    if (!prune) return changes;
    using snapshot = context.ports.model.snapshot();
    for (const page of tablePages(snapshot)) {
      const unnamed = page.filter((one) => !named.has(aclTargetKey(one.target)));
      changes.push(...unnamed.map(deletion));
      await turn();
    }
    return changes;
  },

  *export(snapshot) {
    for (const page of tablePages(snapshot))
      yield page.map(({ target, rules }) => ({ target, rules }));
  },
};

const tablePages = (snapshot: Parameters<ConfigSection['export']>[0]) =>
  pages(
    (after, limit) => snapshot.aclTables(after, limit),
    (one) => aclTargetKey(one.target),
  );

const problem = (pointer: string, detail: string): Error =>
  refused('invalid_request', { problems: [{ pointer, detail }] });

function targetOf({ target: { kind, name } }: Entry, pointer: string): AclTarget {
  if (kind === 'everyone') {
    if (name === undefined) return { kind };
    throw problem(`${pointer}/target/name`, 'is not known for everyone');
  }
  if (name !== undefined) return { kind, name };
  throw problem(`${pointer}/target/name`, 'is required');
}

const withoutId = ({ ruleId: _ruleId, ...members }: FileRule) => members;

function compareOne(
  pointer: string,
  target: AclTarget,
  rules: readonly FileRule[],
  table: AclTable | undefined,
): Change | undefined {
  const before = table?.rules ?? [];
  const same =
    rules.length === before.length &&
    rules.every((rule, index) => {
      const there = before[index];
      if (there === undefined || !sameValue(withoutId(rule), withoutId(there))) return false;
      return rule.ruleId === undefined || rule.ruleId === there.ruleId;
    });
  if (same) return undefined;
  const rehearsal = (inputs: CommandInputs) => {
    const ruleIds = before.map((one) => one.ruleId);
    const written = new Set(rules.map((one) => one.ruleId));
    const whole = rules.map((rule, index) => {
      const kept = ruleIds[index];
      const free = kept !== undefined && !written.has(kept) ? kept : undefined;
      return { ...rule, ruleId: rule.ruleId ?? free ?? inputs.id(`${pointer}/${index}`) };
    });
    const ifRevision = table?.updatedRevision ?? 0;
    return { type: 'ReplaceAclRules', data: { target, rules: whole, ifRevision } } as const;
  };
  return {
    section: 'acl',
    action: table === undefined ? 'create' : 'update',
    key: aclTargetKey(target),
    pointer,
    ...(table === undefined
      ? { after: { target, rules } }
      : {
          fields: [{ pointer: '/rules', before, after: rules }],
          updatedRevision: table.updatedRevision,
        }),
    command: async (inputs) => rehearsal(inputs),
    rehearsal,
  };
}

function deletion({ target, rules, updatedRevision }: AclTable): Change {
  const rehearsal = () =>
    ({ type: 'RemoveAclRules', data: { target, ifRevision: updatedRevision } }) as const;
  return {
    section: 'acl',
    action: 'delete',
    key: aclTargetKey(target),
    pointer: '/acl',
    before: { target, rules },
    updatedRevision,
    command: async () => rehearsal(),
    rehearsal,
  };
}
