import { parseTopicPattern, quotedPattern } from '@sallyport/topic';
import { mayName } from './certificate.ts';

/** Stands for the Common Name of the certificate, in patterns of a mapping. */
export const COMMON_NAME_PLACEHOLDER = '${cn}';
/** Stands for the client id, in patterns of a mapping and of a credential. */
export const CLIENT_ID_PLACEHOLDER = '${clientId}';

/** What placeholders stand for; one without a value is text like any other, and so refused by the syntax of patterns. */
export interface PatternValues {
  readonly commonName?: string;
  readonly clientId?: string;
}

const PLACEHOLDER = /\$\{(cn|clientId)\}/g;

export const namesClientId = (pattern: string): boolean => pattern.includes(CLIENT_ID_PLACEHOLDER);

/** The pattern with the values in place of the placeholders, each as text that means nothing but itself. */
export function withValues(pattern: string, { commonName, clientId }: PatternValues): string {
  // In one pass: what a value says is not looked at again.
  return pattern.replaceAll(PLACEHOLDER, (found, name) => {
    const value = name === 'cn' ? commonName : clientId;
    return value === undefined ? found : quotedPattern(value);
  });
}

/**
 * The pattern for one connection; undefined where it allows nothing, because a value cannot stand in a level or makes it too long.
 * @source compat C4
 */
export function resolvedPattern(pattern: string, values: PatternValues): string | undefined {
  const text = withValues(pattern, values);
  if (text === pattern) return pattern;
  const named = [
    ...(pattern.includes(COMMON_NAME_PLACEHOLDER) ? [values.commonName ?? ''] : []),
    ...(namesClientId(pattern) ? [values.clientId ?? ''] : []),
  ];
  return named.every(mayName) && parseTopicPattern(text).ok ? text : undefined;
}
