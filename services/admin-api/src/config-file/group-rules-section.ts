import {
  type ChainMember,
  fingerprintText,
  GROUP_RULES_MAX,
  type GroupRule,
  type GroupRules,
  parseFingerprint,
  storedMember,
  type Store,
  STORES,
} from '@sallyport/domain';
import { type Static, Type } from 'typebox';
import { replaceBody } from '../routes/group-rules/schema.ts';
import { chainSchema } from '../routes/credentials/schema.ts';
import { credentialKey } from './credentials-section.ts';
import { entryProblem, locating } from './list-section.ts';
import { inputsOf, type Reference } from './references.ts';
import {
  type ComparedWith,
  type ConfigSection,
  type Names,
  sameValue,
  withKeptIds,
} from './section.ts';

const NAME = 'groupRules';
/** Where a rule looks for its credential unless it says otherwise. */
const DEFAULT_STORE: Store = 'clients';

const { rules: rulesSchema } = replaceBody.properties;
const { inert: _inert, groups, value, ...members } = rulesSchema.items.properties;

const schema = Type.Object(
  {
    rules: Type.Array(
      Type.Object(
        {
          ...members,
          value: Type.String({
            ...value,
            description: 'As in the API; of `credential` it is the name of the credential.',
          }),
          store: Type.Optional(
            Type.Enum([...STORES], {
              description: `Of \`credential\`: the store of the credential; ${DEFAULT_STORE} when left out.`,
            }),
          ),
          chain: Type.Optional({
            ...chainSchema,
            description: 'Of `credential` in the store `emqx`: what it belongs to.',
          }),
          groups: Type.Array(Type.String(), {
            ...groups,
            minItems: 1,
            description: 'Names of groups.',
          }),
        },
        { additionalProperties: false },
      ),
      { maxItems: GROUP_RULES_MAX },
    ),
  },
  {
    additionalProperties: false,
    description:
      'One document, which takes the place of the present one. Rules that give nothing, because their groups or their credential are ' +
      'gone, are not written, and go with the first change.',
  },
);

type FileRule = Static<typeof schema>['rules'][number];
type WrittenRule = FileRule & { readonly id: string };

/** The rules that give connections their groups. They name groups and credentials as people do. */
export const groupRulesSection: ConfigSection = {
  name: NAME,
  schema,

  async compare(file, against) {
    const { reads } = against.context.ports.model;
    const current = reads.groupRules();
    const before = written(current, reads);
    const rules = rulesOf((file as Static<typeof schema>).rules, before);
    // First, because a document that stays as it is may name what the rest of the file takes away.
    const references = await locating(`/${NAME}`, async () =>
      rules.map((rule, index) => referencesOf(rule, `/rules/${index}`, against)),
    );
    if (sameValue(before, rules)) return [];
    const { updatedRevision } = current;
    return [
      {
        section: NAME,
        action: 'update',
        key: NAME,
        pointer: `/${NAME}`,
        fields: [{ pointer: '/rules', before, after: rules }],
        updatedRevision,
        rehearsal: (inputs) => {
          const own = inputsOf(inputs, NAME, '');
          const stored = rules.map((rule, index): GroupRule => {
            const { id = own.id(`rule-${index}`), matchBy } = rule;
            const { groups: named = [], credential } = references[index] ?? {};
            const found = credential?.(inputs) ?? rule.value;
            return { id, matchBy, value: found, groups: named.map((one) => one(inputs)) };
          });
          return {
            type: 'ReplaceGroupRules',
            data: { rules: stored, ifRevision: updatedRevision },
          };
        },
      },
    ];
  },

  *export(snapshot) {
    yield { rules: written(snapshot.groupRules(), snapshot) };
  },
};

/** Rules as they are compared: values in the form in which they are kept, ids where rules are those that are there. */
function rulesOf(sent: readonly FileRule[], before: readonly WrittenRule[]): readonly FileRule[] {
  const canonical = sent.map((rule) => {
    if (rule.matchBy !== 'credential') return { ...rule, value: canonicalValue(rule) };
    const { store = DEFAULT_STORE, chain, ...others } = rule;
    return { ...others, ...placeMembers(store, storedMember(chain)) };
  });
  return withKeptIds(
    canonical,
    before,
    (one, other) =>
      one.matchBy === other.matchBy &&
      one.value === other.value &&
      one.store === other.store &&
      sameValue(one.chain, other.chain),
  );
}

const placeMembers = (
  store: Store,
  chain: ChainMember | undefined,
): Pick<FileRule, 'store' | 'chain'> => ({
  ...(store === DEFAULT_STORE ? {} : { store }),
  ...(chain === undefined ? {} : { chain }),
});

/** What cannot be read stays, for the domain to refuse. */
function canonicalValue({ matchBy, value: sent }: FileRule): string {
  if (matchBy !== 'certificate_fingerprint') return sent;
  const hex = parseFingerprint(sent);
  return hex === undefined ? sent : fingerprintText(hex);
}

/** What the file says of the rules, without those that give nothing. */
function written({ rules }: GroupRules, names: Names): readonly WrittenRule[] {
  return rules.flatMap<WrittenRule>(({ id, matchBy, value: kept, groups: ids }) => {
    const named = ids.map((group) => names.group(group)?.name).filter((one) => one !== undefined);
    if (named.length === 0) return [];
    if (matchBy !== 'credential') return [{ id, matchBy, value: kept, groups: named }];
    const credential = names.credential(kept);
    if (credential === undefined) return [];
    const { name, store, chain } = credential;
    return [{ id, matchBy, value: name, ...placeMembers(store, chain), groups: named }];
  });
}

interface RuleReferences {
  readonly groups: readonly Reference[];
  readonly credential?: Reference;
}

function referencesOf(
  { matchBy, value: name, store, chain, groups: named }: FileRule,
  pointer: string,
  { references }: ComparedWith,
): RuleReferences {
  const invalid = (member: string, detail: string) =>
    entryProblem('group_rule_invalid', `${pointer}${member}`, detail);
  const found = named.map((group, index) => {
    const reference = references.to('groups', group);
    if (reference === undefined) throw invalid(`/groups/${index}`, 'is the name of no group');
    return reference;
  });
  if (matchBy !== 'credential') {
    if (store !== undefined) throw invalid('/store', 'is for rules by credential only');
    if (chain !== undefined) throw invalid('/chain', 'is for rules by credential only');
    return { groups: found };
  }
  const place = { store: store ?? DEFAULT_STORE, name, ...(chain && { chain }) };
  const key = credentialKey(place);
  const credential = references.to('credentials', key);
  if (credential === undefined)
    throw invalid('/value', 'is the name of no credential of the store');
  return { groups: found, credential };
}
