import { unreachable } from '@sallyport/errors';
import type { AuthenticatorId, ChainMember } from './chain-member.ts';
import { accept, type Decided, type EventContext, reject, type Revision } from './commit.ts';
import type { CredentialEvent } from './credential.ts';
import { checkHashAlgorithm, type HashAlgorithm } from './hash-algorithm.ts';
import { SCRAM_MECHANISMS, type ScramMechanism } from './scram.ts';
import { Problems } from './text.ts';

export const AUTHENTICATOR_MECHANISMS = ['password_based', 'scram'] as const;
export const AUTHENTICATOR_BACKENDS = ['built_in_database'] as const;
/** What of a CONNECT an authenticator compares with its users: with `either` each user has one of the two, or both. */
export const AUTHENTICATOR_MATCHES = ['username', 'clientId', 'either'] as const;

/** Most chains that say something. */
export const AUTH_CHAINS_MAX = 256;
/** Most authenticators of one chain: one of each id. */
export const AUTHENTICATORS_MAX = AUTHENTICATOR_MECHANISMS.length * AUTHENTICATOR_BACKENDS.length;
/** Most users that one commit removes together with their authenticator. */
export const AUTHENTICATOR_USERS_REMOVED_MAX = 1000;

interface AuthenticatorFields {
  readonly backend: (typeof AUTHENTICATOR_BACKENDS)[number];
  /** One that is not is passed over, and keeps its users. */
  readonly enabled: boolean;
}

/** One step of a chain. Its id is `mechanism:backend`. */
export type Authenticator =
  | (AuthenticatorFields & {
      readonly mechanism: 'password_based';
      readonly matchBy: (typeof AUTHENTICATOR_MATCHES)[number];
      /** Of passwords that are set from now on. */
      readonly hash: HashAlgorithm;
    })
  | (AuthenticatorFields & {
      readonly mechanism: 'scram';
      /** SCRAM proves a user name. */
      readonly matchBy: 'username';
      /** The one that new users get keys for, unless others are asked for. */
      readonly scram: ScramMechanism;
    });

/** Whom the store `emqx` lets in, by whom it asks in order. */
export interface AuthChainFields {
  readonly authenticators: readonly Authenticator[];
  /** Whether whoever comes is let in, unproven and without a user name, while no authenticator is enabled. */
  readonly anonymous: boolean;
  /** Whether also whoever no enabled authenticator knows is let in like that. Absent: they are refused. */
  readonly admitsUnknown?: true;
}

export interface AuthChain extends AuthChainFields {
  readonly scope: string;
  /** Authenticators that are gone and some of whose users are not yet; they open nothing. */
  readonly removing: readonly AuthenticatorId[];
  readonly updatedAt: number;
  readonly updatedRevision: Revision;
}

export type AuthChainEvent =
  | {
      readonly type: 'AuthChainReplaced';
      readonly data: AuthChainFields & Pick<AuthChain, 'scope' | 'removing'>;
    }
  /** The last user of an authenticator that is gone was removed. */
  | { readonly type: 'AuthenticatorUsersRemoved'; readonly data: ChainMember };

/** What `decideAuthChain` needs to know of the world. */
export interface AuthChainReads {
  /** Undefined for a scope that says nothing; `global` also says something once it was set to nothing. */
  authChain(scope: string): AuthChain | undefined;
  authChainCount(): number;
  /** Ids of credentials that belong to an authenticator, at most `max`. */
  credentialIdsByAuthenticator(member: ChainMember, max: number): readonly string[];
}

export type AuthChainCommand =
  | {
      /** Removes an authenticator that the chain had, and so its users; more than one commit can hold are left to the other command. */
      readonly type: 'ReplaceAuthChain';
      readonly data: AuthChainFields & {
        readonly scope: string;
        /** Refused with `authenticator_has_users` when it would remove users. */
        readonly keepUsers?: true;
        /** Refused with `precondition_failed` unless the chain was last changed by this revision; 0 = says nothing. */
        readonly ifRevision?: Revision;
      };
    }
  /** The next users of an authenticator that is gone; nothing when there are none. Never refused. */
  | { readonly type: 'RemoveAuthenticatorUsers'; readonly data: ChainMember };

const LISTENER = /^listener:(tcp|ssl|ws|wss|quic):[A-Za-z0-9_-]{1,64}$/;
// With the name of one of its listeners, or without.
const GATEWAY = /^gateway:[a-z][a-z0-9]{0,31}(:(tcp|ssl|udp|dtls|ws|wss):[A-Za-z0-9_-]{1,64})?$/;

export const GLOBAL_SCOPE = 'global';
export const listenerScope = (listener: string): string => `listener:${listener}`;

/** Whether a text names a chain: `global`, `listener:<type>:<name>`, `gateway:<name>`, `gateway:<name>:<type>:<listener>`. */
export function isChainScope(text: string): boolean {
  return text === GLOBAL_SCOPE || LISTENER.test(text) || GATEWAY.test(text);
}

export const authenticatorId = ({
  mechanism,
  backend,
}: Pick<Authenticator, 'mechanism' | 'backend'>): AuthenticatorId => `${mechanism}:${backend}`;

/** The authenticator of a chain with this id. */
export const authenticatorOf = (
  chain: Pick<AuthChain, 'authenticators'> | undefined,
  id: AuthenticatorId,
): Authenticator | undefined => chain?.authenticators.find((one) => authenticatorId(one) === id);

/**
 * The chain that the store `emqx` goes by on a listener: the listener's own if it says anything, also with all of it disabled, else
 * the global one. Undefined as long as neither was ever set: credentials without a chain then open as those of other stores.
 */
export function chainInForce(
  reads: Pick<AuthChainReads, 'authChain'>,
  listener: string,
): AuthChain | undefined {
  const own = reads.authChain(listenerScope(listener));
  return own !== undefined && saysSomething(own) ? own : reads.authChain(GLOBAL_SCOPE);
}

/** Whether a document says more than that nobody is let in. */
export const saysSomething = ({
  authenticators,
  anonymous,
  admitsUnknown,
}: AuthChainFields): boolean => authenticators.length > 0 || anonymous || admitsUnknown === true;

export function evolveAuthChain(
  state: AuthChain | undefined,
  event: AuthChainEvent,
  context: EventContext,
): AuthChain | undefined {
  switch (event.type) {
    case 'AuthChainReplaced': {
      const { at: updatedAt, revision: updatedRevision } = context;
      return unlessSilent({ ...event.data, updatedAt, updatedRevision });
    }
    case 'AuthenticatorUsersRemoved': {
      if (state === undefined) return undefined;
      // Nobody has decided anything: who has read the chain may still write on what they saw.
      const removing = state.removing.filter((one) => one !== event.data.authenticator);
      return unlessSilent({ ...state, removing });
    }
    default:
      return unreachable(event);
  }
}

/** The global chain is never as before it was set: an administrator who empties it wants nobody in. */
function unlessSilent(chain: AuthChain): AuthChain | undefined {
  const { scope, removing } = chain;
  const speaks = saysSomething(chain) || removing.length > 0;
  return speaks || scope === GLOBAL_SCOPE ? chain : undefined;
}

/** Never throws on input. */
export function decideAuthChain(
  reads: AuthChainReads,
  command: AuthChainCommand,
): Decided<AuthChainEvent | CredentialEvent> {
  switch (command.type) {
    case 'ReplaceAuthChain':
      return decideReplace(reads, command.data);
    case 'RemoveAuthenticatorUsers':
      return decideRemoveUsers(reads, command.data);
    default:
      return unreachable(command);
  }
}

type Replacement = Extract<AuthChainCommand, { type: 'ReplaceAuthChain' }>['data'];

function decideReplace(
  reads: AuthChainReads,
  data: Replacement,
): Decided<AuthChainEvent | CredentialEvent> {
  const { scope, authenticators, anonymous, admitsUnknown, keepUsers } = data;
  const current = reads.authChain(scope);
  const refusal = refusalOf(reads, current, data);
  if (refusal !== undefined) return refusal;
  const kept = authenticators.map(authenticatorId);
  const gone = (current?.authenticators ?? [])
    .map(authenticatorId)
    .filter((id) => !kept.includes(id));
  const removed = removalOf(reads, scope, gone);
  if (keepUsers === true && removed.events.length > 0) {
    const detail = `has users, and is not among them: ${gone.join(', ')}`;
    const problems = [{ pointer: '/authenticators', detail }];
    return reject('authenticator_has_users', { problems });
  }
  const removing = [...(current?.removing ?? []), ...removed.unfinished];
  return accept<AuthChainEvent | CredentialEvent>(
    {
      type: 'AuthChainReplaced',
      data: {
        scope,
        authenticators,
        anonymous,
        ...(admitsUnknown === true && { admitsUnknown }),
        removing,
      },
    },
    ...removed.events,
  );
}

/** Everything that stands against a document but the users that it would remove. */
function refusalOf(
  reads: AuthChainReads,
  current: AuthChain | undefined,
  data: Replacement,
): ReturnType<typeof reject> | undefined {
  const { scope, authenticators, ifRevision } = data;
  const currentRevision = current?.updatedRevision ?? 0;
  if (ifRevision !== undefined && ifRevision !== currentRevision) {
    const detail = `The chain was last changed by revision ${currentRevision}.`;
    return reject('precondition_failed', { detail });
  }
  const problems = problemsOf(scope, authenticators);
  if (problems.length > 0) return reject('auth_chain_invalid', { problems });
  return overfull(reads, current, data) ?? clashOf(reads, scope, authenticators, current);
}

/** What is wrong with the document, whatever is there. */
function problemsOf(scope: string, authenticators: readonly Authenticator[]): Problems['found'] {
  const problems = new Problems();
  if (!isChainScope(scope)) problems.add('/scope', 'is not a scope');
  const ids = authenticators.map(authenticatorId);
  authenticators.forEach((one, index) => {
    const [pointer, id] = [`/authenticators/${index}`, authenticatorId(one)];
    checkAuthenticator(problems, pointer, one);
    if (ids.indexOf(id) !== index) problems.add(pointer, `is the second ${id}`);
  });
  return problems.found;
}

function overfull(
  reads: AuthChainReads,
  current: AuthChain | undefined,
  document: AuthChainFields & { readonly scope: string },
): ReturnType<typeof reject> | undefined {
  const speaks = saysSomething(document) || document.scope === GLOBAL_SCOPE;
  if (current !== undefined || !speaks || reads.authChainCount() < AUTH_CHAINS_MAX)
    return undefined;
  return reject('too_many_auth_chains', { detail: `There are at most ${AUTH_CHAINS_MAX} chains.` });
}

/** What stands against the document besides what it says itself. */
function clashOf(
  reads: AuthChainReads,
  scope: string,
  authenticators: readonly Authenticator[],
  current: AuthChain | undefined,
): ReturnType<typeof reject> | undefined {
  for (const [index, one] of authenticators.entries()) {
    const id = authenticatorId(one);
    const pointer = `/authenticators/${index}`;
    if (current?.removing.includes(id) === true) {
      const detail = 'has users of the one that was removed, who are still being removed';
      return reject('authenticator_has_users', { problems: [{ pointer, detail }] });
    }
    const before = authenticatorOf(current, id);
    // With `either` whoever it knows stays who they are.
    if (before === undefined || [before.matchBy, 'either'].includes(one.matchBy)) continue;
    // Else every user would silently become somebody else: a client id is chosen by the client.
    if (reads.credentialIdsByAuthenticator({ scope, authenticator: id }, 1).length > 0) {
      const detail = 'cannot be changed while there are users';
      const problems = [{ pointer: `${pointer}/matchBy`, detail }];
      return reject('authenticator_has_users', { problems });
    }
  }
  return undefined;
}

/** The first users of authenticators that go, as many as a commit holds. */
function removalOf(
  reads: AuthChainReads,
  scope: string,
  gone: readonly AuthenticatorId[],
): {
  readonly events: readonly CredentialEvent[];
  readonly unfinished: readonly AuthenticatorId[];
} {
  const events: CredentialEvent[] = [];
  const unfinished: AuthenticatorId[] = [];
  for (const authenticator of gone) {
    const room = AUTHENTICATOR_USERS_REMOVED_MAX - events.length;
    const ids = reads.credentialIdsByAuthenticator({ scope, authenticator }, room + 1);
    if (ids.length > room) unfinished.push(authenticator);
    events.push(...ids.slice(0, room).map(removalEvent));
  }
  return { events, unfinished };
}

const removalEvent = (id: string): CredentialEvent => ({ type: 'CredentialRemoved', data: { id } });

function decideRemoveUsers(
  reads: AuthChainReads,
  member: ChainMember,
): Decided<AuthChainEvent | CredentialEvent> {
  const { scope, authenticator } = member;
  if (reads.authChain(scope)?.removing.includes(authenticator) !== true) return accept();
  const { events, unfinished } = removalOf(reads, scope, [authenticator]);
  const over: AuthChainEvent = {
    type: 'AuthenticatorUsersRemoved',
    data: { scope, authenticator },
  };
  return accept<AuthChainEvent | CredentialEvent>(
    ...events,
    ...(unfinished.length > 0 ? [] : [over]),
  );
}

/** Names come from outside, and some of them are only known elsewhere. */
function checkAuthenticator(problems: Problems, pointer: string, one: Authenticator): void {
  const known = (names: readonly string[], name: string): boolean => names.includes(name);
  if (!known(AUTHENTICATOR_MECHANISMS, one.mechanism)) {
    const here = AUTHENTICATOR_MECHANISMS.join(', ');
    problems.add(`${pointer}/mechanism`, `is not run here; these are: ${here}`);
  }
  if (!known(AUTHENTICATOR_BACKENDS, one.backend)) {
    const here = AUTHENTICATOR_BACKENDS.join(', ');
    problems.add(`${pointer}/backend`, `is not run here; these are: ${here}`);
  }
  if (one.mechanism === 'password_based') checkHashAlgorithm(problems, `${pointer}/hash`, one.hash);
  if (one.mechanism === 'scram') {
    if (!known(AUTHENTICATOR_MATCHES.slice(0, 1), one.matchBy)) {
      problems.add(`${pointer}/matchBy`, 'must be username, because SCRAM proves a user name');
    }
    if (!known(SCRAM_MECHANISMS, one.scram)) problems.add(`${pointer}/scram`, 'is not known');
  }
}
