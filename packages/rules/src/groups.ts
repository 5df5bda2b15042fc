import {
  CONNECTION_GROUPS_MAX,
  type Group,
  type GroupRules,
  parseFingerprint,
} from '@sallyport/domain';
import { unreachable } from '@sallyport/errors';
import type { Action, AuthoritySpec, Facts, RuleSpec } from './policy-spec.ts';

/**
 * Most rows of all groups of one connection. With full ACL tables beside them they still fit into one policy; past it, as past
 * `CONNECTION_GROUPS_MAX`, everything is denied, because leaving out a deny row would widen what is allowed.
 */
export const CONNECTION_ROWS_MAX = 5000;

const NAME = 'groups';
const NO_GROUPS: readonly string[] = [];

/** A client id pattern, split at its stars: the texts that must follow each other, the first and the last at the ends. */
type ClientIdPattern = readonly [string, ...string[]];

/** The rules in the form in which they are asked: exact values by key, patterns one after the other. */
export class GroupMembership {
  readonly #byClientId = new Map<string, string[]>();
  readonly #byCredential = new Map<string, string[]>();
  readonly #byFingerprint = new Map<string, string[]>();
  readonly #byPattern: { readonly pattern: ClientIdPattern; readonly groups: readonly string[] }[] =
    [];

  constructor({ rules }: Pick<GroupRules, 'rules'>) {
    for (const { matchBy, value, groups } of rules) {
      if (groups.length === 0) continue;
      switch (matchBy) {
        case 'client_id': {
          const pattern = parsePattern(value);
          if (pattern.length === 1) add(this.#byClientId, pattern[0], groups);
          else this.#byPattern.push({ pattern, groups });
          break;
        }
        case 'credential':
          add(this.#byCredential, value, groups);
          break;
        case 'certificate_fingerprint':
          add(this.#byFingerprint, parseFingerprint(value) ?? value, groups);
          break;
        default:
          unreachable(matchBy);
      }
    }
  }

  /** Ids of the groups of a connection, sorted, each once: those of every rule that matches. */
  groupsOf({ clientId, certificate }: Facts, credentialId: string): readonly string[] {
    const found = new Set<string>();
    const take = (groups: readonly string[] = NO_GROUPS): void => {
      for (const group of groups) found.add(group);
    };
    take(this.#byClientId.get(clientId));
    take(this.#byCredential.get(credentialId));
    const fingerprint = certificate?.fingerprintSha256;
    if (fingerprint !== undefined) take(this.#byFingerprint.get(fingerprint));
    for (const { pattern, groups } of this.#byPattern) {
      if (matchesPattern(pattern, clientId)) take(groups);
    }
    return [...found].sort();
  }
}

// A Map and not an object: a client id may be `__proto__`.
function add(map: Map<string, string[]>, key: string, groups: readonly string[]): void {
  const known = map.get(key);
  if (known === undefined) map.set(key, [...groups]);
  else known.push(...groups);
}

/** `*` splits, `\*` is a star; any other backslash is itself. */
function parsePattern(text: string): ClientIdPattern {
  const parts: [string, ...string[]] = [''];
  for (let index = 0; index < text.length; index++) {
    const last = parts.length - 1;
    if (text.startsWith('\\*', index)) {
      parts[last] += '*';
      index++;
    } else if (text[index] === '*') parts.push('');
    else parts[last] += text[index] ?? '';
  }
  return parts;
}

/** Each part at the first place that is left for it, which is enough: no backtracking. */
function matchesPattern(pattern: ClientIdPattern, text: string): boolean {
  const [first] = pattern;
  const last = pattern.at(-1) ?? '';
  if (text.length < first.length + last.length) return false;
  if (!text.startsWith(first) || !text.endsWith(last)) return false;
  const end = text.length - last.length;
  let position = first.length;
  for (const part of pattern.slice(1, -1)) {
    const at = text.indexOf(part, position);
    if (at < 0 || at + part.length > end) return false;
    position = at + part.length;
  }
  return true;
}

/**
 * What the groups of a connection say: deny rows before allow rows, whatever their order and group, and nothing else is allowed.
 * A publish row speaks about publishing only, a subscribe row about subscriptions and deliveries.
 */
export function groupsAuthority(
  groups: readonly Pick<Group, 'id' | 'permissions'>[],
): AuthoritySpec {
  const rows = groups.reduce((sum, one) => sum + one.permissions.length, 0);
  if (groups.length > CONNECTION_GROUPS_MAX || rows > CONNECTION_ROWS_MAX) return tooMany(NAME);
  const ordered = [...groups].sort((a, b) => (a.id < b.id ? -1 : 1));
  const rules = ordered.flatMap(({ id, permissions }) =>
    permissions.map(({ permission, action, topic }, index): RuleSpec => ({
      ruleId: `group:${id}/${index}`,
      effect: permission,
      actions: rowActions[action],
      matcher: { kind: 'filter', filter: topic },
    })),
  );
  const denying = rules.filter((rule) => rule.effect === 'deny');
  const allowing = rules.filter((rule) => rule.effect === 'allow');
  return { name: NAME, rules: [...denying, ...allowing], noMatch: 'deny' };
}

const rowActions = {
  publish: ['publish'],
  subscribe: ['subscribe', 'receive'],
} as const satisfies Record<string, readonly Action[]>;

/** Of more rules than there may be: to leave out one that denies would widen what is allowed. */
export const tooMany = (name: string): AuthoritySpec => ({
  name,
  rules: [
    {
      ruleId: `${name}/too-many`,
      effect: 'deny',
      actions: ['publish', 'subscribe', 'receive'],
      matcher: { kind: 'any' },
    },
  ],
  noMatch: 'deny',
});
