import { unreachable } from '@sallyport/errors';
import { accept, type Decided, type EventContext, reject, type Revision } from './commit.ts';
import { Problems } from './text.ts';

export const OPERATOR_ROLES = ['administrator', 'viewer'] as const;

/** `administrator` may read and change everything; `viewer` may read everything but operators and keys. */
export type OperatorRole = (typeof OPERATOR_ROLES)[number];

/** Of keys also `publisher`, who may use nothing of what administers. */
export const API_KEY_ROLES = [...OPERATOR_ROLES, 'publisher'] as const;
export type ApiKeyRole = (typeof API_KEY_ROLES)[number];

/** Longest description of a key, in bytes of UTF-8. */
export const API_KEY_DESCRIPTION_BYTES_MAX = 1024;

/** A person who administers the system. */
export interface Operator {
  readonly id: string;
  readonly name: string;
  readonly email?: string;
  readonly role: OperatorRole;
  readonly enabled: boolean;
  /** Sealed. */
  readonly passwordVerifier: string;
  /** Tokens name the epoch that they were issued in; a later one ends them all. */
  readonly sessionEpoch: number;
  readonly createdAt: number;
  readonly updatedAt: number;
  readonly updatedRevision: Revision;
}

/** A key for programs; its id and secret are what HTTP basic authentication carries. */
export interface ApiKey {
  readonly id: string;
  readonly name: string;
  /** For people. */
  readonly description?: string;
  readonly role: ApiKeyRole;
  readonly enabled: boolean;
  /** Sealed. */
  readonly secretVerifier: string;
  readonly expiresAt?: number;
  readonly createdAt: number;
  readonly updatedRevision: Revision;
}

type NewOperator = Pick<
  Operator,
  'id' | 'name' | 'email' | 'role' | 'enabled' | 'passwordVerifier'
>;
type OperatorChanges = Partial<Pick<Operator, 'name' | 'email' | 'role' | 'enabled'>>;
type NewApiKey = Omit<ApiKey, 'createdAt' | 'updatedRevision'>;
/** `expiresAt` null: it never ends. A new secret replaces the present one at once. */
type ApiKeyChanges = Partial<
  Pick<ApiKey, 'name' | 'description' | 'role' | 'enabled' | 'secretVerifier'>
> & { readonly expiresAt?: number | null };

export type OperatorEvent =
  | { readonly type: 'OperatorAdded'; readonly data: NewOperator }
  | {
      readonly type: 'OperatorChanged';
      readonly data: { readonly id: string; readonly changes: OperatorChanges };
    }
  | {
      readonly type: 'OperatorPasswordChanged';
      readonly data: { readonly id: string; readonly passwordVerifier: string };
    }
  | { readonly type: 'OperatorSessionsEnded'; readonly data: { readonly id: string } }
  | { readonly type: 'OperatorRemoved'; readonly data: { readonly id: string } }
  | { readonly type: 'ApiKeyAdded'; readonly data: NewApiKey }
  | {
      readonly type: 'ApiKeyChanged';
      readonly data: { readonly id: string; readonly changes: ApiKeyChanges };
    }
  | { readonly type: 'ApiKeyRemoved'; readonly data: { readonly id: string } };

export type OperatorOnlyEvent = Extract<OperatorEvent, { type: `Operator${string}` }>;
export type ApiKeyEvent = Extract<OperatorEvent, { type: `ApiKey${string}` }>;

export function evolveOperator(
  state: Operator | undefined,
  event: OperatorOnlyEvent,
  context: EventContext,
): Operator | undefined {
  if (event.type === 'OperatorAdded') {
    const { at, revision } = context;
    return {
      ...event.data,
      sessionEpoch: 0,
      createdAt: at,
      updatedAt: at,
      updatedRevision: revision,
    };
  }
  if (event.type === 'OperatorRemoved' || state === undefined) return undefined;
  const updated = { ...state, updatedAt: context.at, updatedRevision: context.revision };
  const nextEpoch = state.sessionEpoch + 1;
  switch (event.type) {
    case 'OperatorChanged':
      // Less may be allowed now than a token says, so tokens end; the operator logs in again.
      return { ...updated, ...event.data.changes, sessionEpoch: nextEpoch };
    case 'OperatorPasswordChanged':
      return { ...updated, passwordVerifier: event.data.passwordVerifier, sessionEpoch: nextEpoch };
    case 'OperatorSessionsEnded':
      return { ...updated, sessionEpoch: nextEpoch };
    default:
      return unreachable(event);
  }
}

export function evolveApiKey(
  state: ApiKey | undefined,
  event: ApiKeyEvent,
  context: EventContext,
): ApiKey | undefined {
  switch (event.type) {
    case 'ApiKeyAdded':
      return { ...event.data, createdAt: context.at, updatedRevision: context.revision };
    case 'ApiKeyChanged':
      return state && changedKey(state, event.data.changes, context.revision);
    case 'ApiKeyRemoved':
      return undefined;
    default:
      return unreachable(event);
  }
}

function changedKey(
  { expiresAt: ended, ...state }: ApiKey,
  { expiresAt = ended, ...changes }: ApiKeyChanges,
  updatedRevision: Revision,
): ApiKey {
  const ends = typeof expiresAt === 'number' && { expiresAt };
  return { ...state, ...changes, ...ends, updatedRevision };
}

export interface OperatorReads {
  operator(id: string): Operator | undefined;
  /** By name or e-mail address, exact. */
  operatorByLogin(login: string): Operator | undefined;
  /** How many enabled operators have the role `administrator`. */
  administrators(): number;
  operatorCount(): number;
  apiKey(id: string): ApiKey | undefined;
  apiKeyByName(name: string): ApiKey | undefined;
}

interface Conditional {
  readonly id: string;
  readonly ifRevision?: Revision;
}

export type OperatorCommand =
  /** Creates the first administrator; refused with `already_bootstrapped` when any operator exists. */
  | { readonly type: 'Bootstrap'; readonly data: NewOperator }
  | { readonly type: 'AddOperator'; readonly data: NewOperator }
  | {
      readonly type: 'ChangeOperator';
      readonly data: Conditional & {
        readonly changes: OperatorChanges;
        readonly passwordVerifier?: string;
      };
    }
  | { readonly type: 'EndOperatorSessions'; readonly data: Conditional }
  | { readonly type: 'RemoveOperator'; readonly data: Conditional }
  | { readonly type: 'AddApiKey'; readonly data: NewApiKey }
  | {
      readonly type: 'ChangeApiKey';
      readonly data: Conditional & { readonly changes: ApiKeyChanges };
    }
  | { readonly type: 'RemoveApiKey'; readonly data: Conditional };

/** Never throws on input. */
export function decideOperator(
  reads: OperatorReads,
  command: OperatorCommand,
): Decided<OperatorEvent> {
  switch (command.type) {
    case 'Bootstrap':
      if (reads.operatorCount() > 0) return reject('already_bootstrapped');
      return decideAddOperator(reads, command.data);
    case 'AddOperator':
      return decideAddOperator(reads, command.data);
    case 'AddApiKey':
      return decideAddApiKey(reads, command.data);
    case 'ChangeApiKey':
    case 'RemoveApiKey':
      return decideApiKey(reads, command);
    case 'ChangeOperator':
    case 'EndOperatorSessions':
    case 'RemoveOperator':
      return decideOperatorChange(reads, command);
    default:
      return unreachable(command);
  }
}

function decideAddOperator(reads: OperatorReads, added: NewOperator): Decided<OperatorEvent> {
  const problems = operatorProblems(added);
  if (problems.found.length > 0) return reject('operator_invalid', { problems: problems.found });
  if (reads.operator(added.id) !== undefined || loginTaken(reads, added)) {
    return reject('operator_exists');
  }
  return accept({ type: 'OperatorAdded', data: added });
}

function decideOperatorChange(
  reads: OperatorReads,
  command: Extract<
    OperatorCommand,
    { type: 'ChangeOperator' | 'EndOperatorSessions' | 'RemoveOperator' }
  >,
): Decided<OperatorEvent> {
  const current = reads.operator(command.data.id);
  if (current === undefined) return reject('operator_not_found');
  const stale = conditionProblem(current, command.data);
  if (stale !== undefined) return stale;
  const { id } = current;
  if (command.type === 'EndOperatorSessions') {
    return accept({ type: 'OperatorSessionsEnded', data: { id } });
  }
  const next =
    command.type === 'RemoveOperator' ? undefined : { ...current, ...command.data.changes };
  if (isAdministrator(current) && !(next && isAdministrator(next)) && reads.administrators() <= 1) {
    return reject('last_administrator');
  }
  if (command.type === 'RemoveOperator' || next === undefined) {
    return accept({ type: 'OperatorRemoved', data: { id } });
  }
  return acceptOperatorChange(reads, next, command.data);
}

function acceptOperatorChange(
  reads: OperatorReads,
  next: Operator,
  data: { readonly changes: OperatorChanges; readonly passwordVerifier?: string },
): Decided<OperatorEvent> {
  const { id } = next;
  const { changes, passwordVerifier } = data;
  const problems = operatorProblems(next);
  if (problems.found.length > 0) return reject('operator_invalid', { problems: problems.found });
  if (loginTaken(reads, next)) return reject('operator_exists');
  const events: OperatorEvent[] = [];
  if (Object.keys(changes).length > 0) {
    events.push({ type: 'OperatorChanged', data: { id, changes } });
  }
  if (passwordVerifier !== undefined) {
    events.push({ type: 'OperatorPasswordChanged', data: { id, passwordVerifier } });
  }
  return accept(...events);
}

function decideAddApiKey(reads: OperatorReads, added: NewApiKey): Decided<OperatorEvent> {
  const problems = apiKeyProblems(added);
  problems.text('/id', added.id, 64);
  if (added.id.includes(':')) problems.add('/id', 'must not contain a colon');
  if (problems.found.length > 0) return reject('api_key_invalid', { problems: problems.found });
  if (reads.apiKey(added.id) !== undefined || reads.apiKeyByName(added.name) !== undefined) {
    return reject('api_key_exists');
  }
  return accept({ type: 'ApiKeyAdded', data: added });
}

function decideApiKey(
  reads: OperatorReads,
  command: Extract<OperatorCommand, { type: 'ChangeApiKey' | 'RemoveApiKey' }>,
): Decided<OperatorEvent> {
  const current = reads.apiKey(command.data.id);
  if (current === undefined) return reject('api_key_not_found');
  const stale = conditionProblem(current, command.data);
  if (stale !== undefined) return stale;
  if (command.type === 'RemoveApiKey') {
    return accept({ type: 'ApiKeyRemoved', data: { id: current.id } });
  }
  const { id } = current;
  const { changes } = command.data;
  const problems = apiKeyProblems({ ...current, ...changes });
  if (problems.found.length > 0) return reject('api_key_invalid', { problems: problems.found });
  const named = changes.name === undefined ? undefined : reads.apiKeyByName(changes.name);
  if (named !== undefined && named.id !== id) return reject('api_key_exists');
  return accept({ type: 'ApiKeyChanged', data: { id, changes } });
}

function apiKeyProblems({
  name,
  description = '',
}: Pick<ApiKey, 'name' | 'description'>): Problems {
  const problems = new Problems();
  problems.text('/name', name);
  if (description !== '') {
    problems.text('/description', description, API_KEY_DESCRIPTION_BYTES_MAX);
  }
  return problems;
}

const isAdministrator = (operator: Pick<Operator, 'role' | 'enabled'>): boolean =>
  operator.enabled && operator.role === 'administrator';

function loginTaken(
  reads: OperatorReads,
  wanted: Pick<Operator, 'id' | 'name' | 'email'>,
): boolean {
  return [wanted.name, wanted.email].some((login) => {
    const holder = login === undefined ? undefined : reads.operatorByLogin(login);
    return holder !== undefined && holder.id !== wanted.id;
  });
}

function conditionProblem(
  current: { readonly updatedRevision: Revision },
  data: Conditional,
): ReturnType<typeof reject> | undefined {
  if (data.ifRevision === undefined || data.ifRevision === current.updatedRevision) {
    return undefined;
  }
  return reject('precondition_failed', {
    detail: `The object was last changed by revision ${current.updatedRevision}.`,
  });
}

function operatorProblems(fields: Pick<Operator, 'name' | 'email'>): Problems {
  const problems = new Problems();
  problems.text('/name', fields.name);
  if (fields.email !== undefined) problems.text('/email', fields.email);
  return problems;
}
