import { parseTopicFilter, topicProblemText, utf8Bytes } from '@sallyport/topic';
import type { Problems } from '../text.ts';

/** @source mosquitto dynamic-security */
export const DYNSEC_ACL_TYPES = [
  'publishClientSend',
  'publishClientReceive',
  'subscribeLiteral',
  'subscribePattern',
  'unsubscribeLiteral',
  'unsubscribePattern',
] as const;

export type DynsecAclType = (typeof DYNSEC_ACL_TYPES)[number];

/** Priorities of rows, roles and groups are from `-DYNSEC_PRIORITY_MAX` to this; the highest is looked at first. */
export const DYNSEC_PRIORITY_MAX = 100_000;
/** Of what is given none. */
export const DYNSEC_PRIORITY_DEFAULT = -1;
/** Most ACLs of one role. */
export const DYNSEC_ACLS_MAX = 1000;
/** Most bytes that the ACLs of one role take as JSON: a role is one event, and must fit into a commit. */
export const DYNSEC_ACLS_BYTES_MAX = 192 * 1024;

/** One row of a role of dynamic security. */
export interface DynsecAcl {
  readonly aclType: DynsecAclType;
  /**
   * An MQTT filter. Of the literal types it is compared with the text of a filter, as it is; of all others a level may be `%c` or `%u`,
   * which stand for the client id and the user name.
   */
  readonly topic: string;
  /** Rows of one type with equal priorities are looked at as they are listed. */
  readonly priority: number;
  readonly allow: boolean;
}

/** Whether a row is compared with the text of a filter. */
export const isLiteralAcl = (aclType: DynsecAclType): boolean => aclType.endsWith('Literal');

/** One text per row; equal ones have equal texts. */
export const dynsecAclText = ({ aclType, topic, priority, allow }: DynsecAcl): string =>
  JSON.stringify([aclType, topic, priority, allow]);

const PLACEHOLDERS: ReadonlyMap<string, string> = new Map([
  ['%c', '${clientid}'],
  ['%u', '${username}'],
]);

/** The filter of a row in the language of all other rules: what looks like a placeholder there is none here. */
export const dynsecFilter = (topic: string): string =>
  topic
    .split('/')
    .map((level) => PLACEHOLDERS.get(level) ?? level.replaceAll('${', '${$}{'))
    .join('/');

export function checkDynsecAcls(
  problems: Problems,
  pointer: string,
  acls: readonly DynsecAcl[],
): void {
  if (acls.length > DYNSEC_ACLS_MAX) {
    problems.add(pointer, `must have at most ${DYNSEC_ACLS_MAX} entries`);
    return;
  }
  for (const [index, acl] of acls.entries()) checkAcl(problems, `${pointer}/${index}`, acl);
  if (utf8Bytes(JSON.stringify(acls)) > DYNSEC_ACLS_BYTES_MAX) {
    problems.add(pointer, `must be at most ${DYNSEC_ACLS_BYTES_MAX} bytes together`);
  }
}

function checkAcl(
  problems: Problems,
  pointer: string,
  { aclType, topic, priority }: DynsecAcl,
): void {
  if (!DYNSEC_ACL_TYPES.includes(aclType)) {
    problems.add(`${pointer}/aclType`, `must be one of ${DYNSEC_ACL_TYPES.join(', ')}`);
  }
  checkDynsecPriority(problems, `${pointer}/priority`, priority);
  const here = `${pointer}/topic`;
  const parsed = parseTopicFilter(topic);
  if (!parsed.ok) problems.add(here, topicProblemText[parsed.problem]);
  else if (!isLiteralAcl(aclType) && !parseTopicFilter(dynsecFilter(topic)).ok) {
    // Nothing longer is a filter, and a role that no policy can be made from would shut out whoever has it.
    problems.add(here, 'is too long with what stands for its placeholders');
  }
}

export function checkDynsecPriority(problems: Problems, pointer: string, priority: number): void {
  if (!Number.isInteger(priority) || Math.abs(priority) > DYNSEC_PRIORITY_MAX) {
    problems.add(
      pointer,
      `must be a whole number from ${-DYNSEC_PRIORITY_MAX} to ${DYNSEC_PRIORITY_MAX}`,
    );
  }
}
