import type { Problems } from './text.ts';

/** Placeholders that stand for a whole level of a filter; the last one names an attribute of the credential. */
export const PLACEHOLDERS = [
  '${clientid}',
  '${username}',
  '${cert_common_name}',
  '${client_attrs.<name>}',
] as const;

const ATTRIBUTE = /^\$\{client_attrs\.([^/+#{}]+)\}$/;

/** The fact of a connection that a placeholder stands for. */
export type Placeholder =
  | { readonly kind: 'clientId' }
  | { readonly kind: 'username' }
  | { readonly kind: 'commonName' }
  | { readonly kind: 'attribute'; readonly name: string };

/** What a level of a filter stands for, or undefined when it is a level like others. */
export function parsePlaceholder(level: string): Placeholder | undefined {
  if (!level.startsWith('${')) return undefined;
  if (level === '${clientid}') return { kind: 'clientId' };
  if (level === '${username}') return { kind: 'username' };
  if (level === '${cert_common_name}') return { kind: 'commonName' };
  const name = ATTRIBUTE.exec(level)?.[1];
  return name === undefined ? undefined : { kind: 'attribute', name };
}

/** Adds a problem for every level that looks as if it held a placeholder, and is none. */
export function checkPlaceholders(problems: Problems, pointer: string, topicFilter: string): void {
  for (const level of topicFilter.split('/')) {
    if (level.includes('${') && parsePlaceholder(level) === undefined) {
      const known = `${PLACEHOLDERS.slice(0, -1).join(', ')} and ${PLACEHOLDERS.at(-1)}`;
      problems.add(pointer, `may contain only the placeholders ${known}, alone in their level`);
    }
  }
}
