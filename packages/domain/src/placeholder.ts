import type { Problems } from './text.ts';

/** Placeholders of filters; the last but one names an attribute of the credential, the last is a dollar sign as such. */
export const PLACEHOLDERS = [
  '${clientid}',
  '${username}',
  '${cert_common_name}',
  '${zone}',
  '${client_attrs.<name>}',
  '${$}',
] as const;

const PART = /\$\{([^/+#{}]*)\}/g;
const ATTRIBUTE_PREFIX = 'client_attrs.';

/** The fact of a connection that a placeholder stands for. */
export type FactPlaceholder =
  | { readonly kind: 'clientId' }
  | { readonly kind: 'username' }
  | { readonly kind: 'commonName' }
  | { readonly kind: 'zone' }
  | { readonly kind: 'attribute'; readonly name: string };

/** What a level stands for: a fact, or texts and facts that make up one level, in order. */
export type Placeholder =
  | FactPlaceholder
  | { readonly kind: 'joined'; readonly parts: readonly (string | FactPlaceholder)[] };

/**
 * What a level of a filter stands for; undefined when it is a level like others, or holds something that only looks like a placeholder.
 * @source compat emqx 5.4: anywhere in a topic
 */
export function parsePlaceholder(level: string): Placeholder | undefined {
  if (!level.includes('${')) return undefined;
  const parts: (string | FactPlaceholder)[] = [];
  let end = 0;
  for (const found of level.matchAll(PART)) {
    const part = partOf(found[1] ?? '');
    const before = level.slice(end, found.index);
    if (part === undefined || before.includes('${')) return undefined;
    if (before !== '') parts.push(before);
    parts.push(part);
    end = found.index + found[0].length;
  }
  const rest = level.slice(end);
  if (rest.includes('${')) return undefined;
  if (rest !== '') parts.push(rest);
  const [only] = parts;
  if (parts.length === 1 && typeof only === 'object') return only;
  return { kind: 'joined', parts };
}

function partOf(name: string): string | FactPlaceholder | undefined {
  switch (name) {
    case '$':
      return '$';
    case 'clientid':
      return { kind: 'clientId' };
    case 'username':
      return { kind: 'username' };
    case 'cert_common_name':
      return { kind: 'commonName' };
    case 'zone':
      return { kind: 'zone' };
    default: {
      const attribute = name.startsWith(ATTRIBUTE_PREFIX) && name.slice(ATTRIBUTE_PREFIX.length);
      return attribute ? { kind: 'attribute', name: attribute } : undefined;
    }
  }
}

/** The facts that a level asks for, each as often as it does. */
export function factsOf(placeholder: Placeholder): readonly FactPlaceholder[] {
  if (placeholder.kind !== 'joined') return [placeholder];
  return placeholder.parts.filter((part) => typeof part === 'object');
}

/** Adds a problem for every level that looks as if it held a placeholder, and holds none that is known. */
export function checkPlaceholders(problems: Problems, pointer: string, topicFilter: string): void {
  for (const level of topicFilter.split('/')) {
    if (level.includes('${') && parsePlaceholder(level) === undefined) {
      const known = `${PLACEHOLDERS.slice(0, -1).join(', ')} and ${PLACEHOLDERS.at(-1)}`;
      problems.add(pointer, `may contain only the placeholders ${known}`);
    }
  }
}
