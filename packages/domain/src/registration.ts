import { unreachable } from '@sallyport/errors';
import { utf8Bytes } from '@sallyport/topic';
import { accept, type Decided, type EventContext, reject } from './commit.ts';
import type { CredentialEvent, NewCredential } from './credential.ts';
import { type CredentialReads, decideCredential } from './decide-credential.ts';
import type { IssuedCertificateEvent, IssuedFields } from './issued-certificate.ts';
import { checkPermission, type Permission } from './permission.ts';
import { ROLE_ID_BYTES_MAX } from './role.ts';
import { CREDENTIAL_ROLES_MAX } from './roles-access.ts';
import { Problems } from './text.ts';

/** For how long the window opens when nobody says it, and for how long at most. */
export const REGISTRATION_OPEN_MS_DEFAULT = 30_000;
export const REGISTRATION_OPEN_MS_MAX = 60 * 60 * 1000;

/** Most requests that wait for an administrator, in all and of one user name. */
export const REGISTRATIONS_PENDING_MAX = 1000;
export const REGISTRATIONS_OF_USERNAME_MAX = 8;
/** Most outcomes that are kept for who asks; of more than these nobody is told. */
export const REGISTRATIONS_SETTLED_MAX = 1000;

/** From its first attempt to its end, when nobody decides about a request. */
export const REGISTRATION_PENDING_MS = 24 * 60 * 60 * 1000;
/** For how long whoever asks is told what was decided. */
export const REGISTRATION_OUTCOME_MS = 60 * 60 * 1000;

/** Attempts that repeat a request are recorded at most this often. */
export const REGISTRATION_SEEN_INTERVAL_MS = 10_000;

/** Most attempts of one `RecordRegistrations`. */
export const REGISTRATION_ATTEMPTS_MAX = 32;
/** Requests and outcomes that have ended and are removed by one command. */
export const ENDED_REGISTRATIONS_REMOVED_MAX = 100;

/** Fewest characters (code points) of what is taken up. */
export const REGISTRATION_USERNAME_LENGTH_MIN = 3;
export const REGISTRATION_PASSWORD_LENGTH_MIN = 5;

export const REGISTRATION_CONTEXT_ENTRIES_MAX = 16;
export const REGISTRATION_PERMISSIONS_MAX = 32;
/** Most bytes of everything together that a request says of itself, as JSON. */
export const REGISTRATION_ASKED_BYTES_MAX = 8 * 1024;

/** How a request came: refused at CONNECT, or sent to the API. */
export type RegistrationOrigin = 'mqtt' | 'http';

/** What whoever asks says of itself and would like to have. For people to look at: nothing follows from it. */
export interface RegistrationAsked {
  readonly context?: Readonly<Record<string, string>>;
  /** Ids of roles, which may exist. */
  readonly roles?: readonly string[];
  readonly permissions?: readonly Omit<Permission, 'id'>[];
  /** PEM of a certificate signing request; whoever makes a command has read it. */
  readonly csr?: string;
}

/** One try to connect, or to register, with a user name and password that no credential has. */
export interface RegistrationAttempt {
  /** The same for the same user name and password, and for no others. */
  readonly id: string;
  readonly username: string;
  /** Of the password; sealed under the deployment key. */
  readonly verifier: string;
  readonly origin: RegistrationOrigin;
  /** How many tries this stands for. */
  readonly count: number;
  readonly address?: string;
  readonly clientId?: string;
  readonly asked?: RegistrationAsked;
}

/** A request that waits for an administrator. */
export interface PendingRegistration extends RegistrationAttempt {
  readonly status: 'pending';
  readonly createdAt: number;
  readonly lastSeenAt: number;
  /** First millisecond at which there is no such request any more. */
  readonly until: number;
}

/** What was decided, for as long as it is told. */
export interface SettledRegistration {
  readonly status: 'granted' | 'denied';
  readonly id: string;
  readonly username: string;
  readonly until: number;
  /** Of `granted`. */
  readonly credentialId?: string;
  /** PEM of what was made of the signing request. */
  readonly certificate?: string;
}

export type Registration = PendingRegistration | SettledRegistration;

export interface RegistrationWindow {
  /** First millisecond at which it is not open any more; absent when it was closed by somebody, or never open. */
  readonly openUntil?: number;
}

export const CLOSED_WINDOW: RegistrationWindow = {};

export type RegistrationWindowEvent =
  | { readonly type: 'RegistrationOpened'; readonly data: { readonly openUntil: number } }
  | { readonly type: 'RegistrationClosed'; readonly data: Readonly<Record<string, never>> };

/** How an outcome is kept; absent when nobody is there to be told. */
interface Told {
  readonly toldUntil?: number;
}

export type RegistrationRequestEvent =
  | {
      readonly type: 'RegistrationRequested';
      readonly data: RegistrationAttempt & { readonly until: number };
    }
  /** The same again; what is in it takes the place of what there was. */
  | {
      readonly type: 'RegistrationSeen';
      readonly data: Omit<RegistrationAttempt, 'username' | 'verifier'>;
    }
  | {
      readonly type: 'RegistrationGranted';
      readonly data: Told & {
        readonly id: string;
        readonly credentialId: string;
        readonly certificate?: string;
      };
    }
  | { readonly type: 'RegistrationDenied'; readonly data: Told & { readonly id: string } }
  | {
      readonly type: 'RegistrationRemoved';
      readonly data: {
        readonly id: string;
        /** `superseded`: another of the same user name was granted. `told`: the denial was answered. */
        readonly reason: 'expired' | 'superseded' | 'told';
      };
    };

export type RegistrationEvent = RegistrationWindowEvent | RegistrationRequestEvent;

/** With what a grant makes. */
type GrantEvent = RegistrationEvent | CredentialEvent | IssuedCertificateEvent;

export function evolveRegistrationWindow(event: RegistrationWindowEvent): RegistrationWindow {
  return event.type === 'RegistrationOpened' ? { openUntil: event.data.openUntil } : CLOSED_WINDOW;
}

export function evolveRegistration(
  state: Registration | undefined,
  event: RegistrationRequestEvent,
  { at }: EventContext,
): Registration | undefined {
  switch (event.type) {
    case 'RegistrationRequested':
      return { status: 'pending', ...event.data, createdAt: at, lastSeenAt: at };
    case 'RegistrationSeen': {
      if (state?.status !== 'pending') return state;
      const count = state.count + event.data.count;
      return { ...state, ...event.data, count, lastSeenAt: at };
    }
    case 'RegistrationGranted':
    case 'RegistrationDenied': {
      const { toldUntil: until, ...outcome } = event.data;
      if (state === undefined || until === undefined) return undefined;
      const status = event.type === 'RegistrationGranted' ? 'granted' : 'denied';
      return { ...outcome, status, username: state.username, until };
    }
    case 'RegistrationRemoved':
      return undefined;
    default:
      return unreachable(event);
  }
}

export interface RegistrationReads extends CredentialReads {
  registrationWindow(): RegistrationWindow;
  registration(id: string): Registration | undefined;
  /** Those of a user name, ended ones included: outcomes, then requests, the oldest first. */
  registrationsOf(username: string): readonly Registration[];
  /** How many there are, ended ones included. */
  registrationCounts(): { readonly pending: number; readonly settled: number };
  /** Requests and outcomes whose time is over, those that ended first, at most so many. */
  endedRegistrations(at: number, most: number): readonly Registration[];
  /** Whether a credential of any store goes by this user name, or by a certificate of this name. */
  usernameTaken(username: string): boolean;
}

export type RegistrationCommand =
  /** Opens the window, or moves its end. */
  | { readonly type: 'OpenRegistration'; readonly data: { readonly openMs: number } }
  | { readonly type: 'CloseRegistration'; readonly data: Readonly<Record<string, never>> }
  /** Of connections that were refused. Never refused itself: what may not be recorded is left out. */
  | {
      readonly type: 'RecordRegistrations';
      readonly data: { readonly attempts: readonly RegistrationAttempt[] };
    }
  /** Asks for access, and asks again what was decided; who learns of a denial learns of it once. */
  | { readonly type: 'Register'; readonly data: RegistrationAttempt }
  | {
      readonly type: 'GrantRegistration';
      readonly data: {
        readonly id: string;
        /** With the password of the request, sealed for it. */
        readonly credential: NewCredential;
        /** Of the signing request. */
        readonly issued?: IssuedFields;
      };
    }
  | { readonly type: 'DenyRegistration'; readonly data: { readonly id: string } };

export const isRegistrationOpen = ({ openUntil }: RegistrationWindow, at: number): boolean =>
  openUntil !== undefined && at < openUntil;

/** The request or outcome with this id, unless its time is over, or what was granted is gone. */
export function liveRegistration(
  reads: Pick<RegistrationReads, 'registration' | 'credential'>,
  id: string,
  at: number,
): Registration | undefined {
  const found = reads.registration(id);
  if (found === undefined || found.until <= at) return undefined;
  if (found.status !== 'granted') return found;
  const { credentialId = '' } = found;
  return reads.credential(credentialId) === undefined ? undefined : found;
}

/** Requests of a user name that wait, the oldest first. */
export function pendingRegistrations(
  reads: Pick<RegistrationReads, 'registrationsOf'>,
  username: string,
  at: number,
): readonly PendingRegistration[] {
  const all = reads.registrationsOf(username);
  return all.filter((one) => one.status === 'pending').filter((one) => one.until > at);
}

/** Never throws on input. */
export function decideRegistration(
  reads: RegistrationReads,
  command: RegistrationCommand,
  at: number,
): Decided<GrantEvent> {
  switch (command.type) {
    case 'OpenRegistration':
      return decideOpen(reads, command.data.openMs, at);
    case 'CloseRegistration':
      if (!isRegistrationOpen(reads.registrationWindow(), at)) return accept();
      return accept({ type: 'RegistrationClosed', data: {} });
    case 'RecordRegistrations':
      return decideRecord(reads, command.data.attempts, at);
    case 'Register':
      return decideRegister(reads, command.data, at);
    case 'GrantRegistration':
      return decideGrant(reads, command.data, at);
    case 'DenyRegistration':
      return decideDeny(reads, command.data.id, at);
    default:
      return unreachable(command);
  }
}

function decideOpen(
  reads: RegistrationReads,
  openMs: number,
  at: number,
): Decided<RegistrationEvent> {
  if (!Number.isSafeInteger(openMs) || openMs < 1 || openMs > REGISTRATION_OPEN_MS_MAX) {
    const detail = `must be 1 to ${REGISTRATION_OPEN_MS_MAX} milliseconds`;
    return reject('registration_invalid', { problems: [{ pointer: '/openDuration', detail }] });
  }
  const { removed } = endedOf(reads, at);
  return accept(...removed, { type: 'RegistrationOpened', data: { openUntil: at + openMs } });
}

interface Ended {
  readonly removed: readonly RegistrationEvent[];
  /** How many of each kind there are without them. */
  readonly pending: number;
  readonly settled: number;
}

/** Whoever adds something makes room. */
function endedOf(reads: RegistrationReads, at: number): Ended {
  const ended = reads.endedRegistrations(at, ENDED_REGISTRATIONS_REMOVED_MAX);
  const counts = reads.registrationCounts();
  const pending = ended.filter((one) => one.status === 'pending').length;
  return {
    removed: ended.map(({ id }) => ({
      type: 'RegistrationRemoved',
      data: { id, reason: 'expired' },
    })),
    pending: counts.pending - pending,
    settled: counts.settled - (ended.length - pending),
  };
}

const requested = (attempt: RegistrationAttempt, at: number): RegistrationEvent => ({
  type: 'RegistrationRequested',
  data: { ...attempt, until: at + REGISTRATION_PENDING_MS },
});

function decideRecord(
  reads: RegistrationReads,
  attempts: readonly RegistrationAttempt[],
  at: number,
): Decided<RegistrationEvent> {
  if (!isRegistrationOpen(reads.registrationWindow(), at)) return accept();
  const ended = endedOf(reads, at);
  const added = new Map<string, RegistrationAttempt>();
  const seen = new Map<string, readonly RegistrationEvent[]>();
  for (const attempt of attempts.slice(0, REGISTRATION_ATTEMPTS_MAX)) {
    const { id, username } = attempt;
    if (added.has(id) || seen.has(id) || reads.usernameTaken(username)) continue;
    const found = liveRegistration(reads, id, at);
    if (found?.status === 'pending') {
      seen.set(id, seenAgain(found, attempt, at));
      continue;
    }
    // Where somebody waits to be told of a denial, they are told first.
    if (found !== undefined || !isValid(attempt)) continue;
    const rivals = [...added.values()].filter((one) => one.username === username).length;
    const ofName = pendingRegistrations(reads, username, at).length + rivals;
    if (hasRoom({ ofName, inAll: ended.pending + added.size })) added.set(id, attempt);
  }
  const removed = added.size === 0 ? [] : ended.removed;
  return accept(
    ...removed,
    ...[...added.values()].map((attempt) => requested(attempt, at)),
    ...[...seen.values()].flat(),
  );
}

const hasRoom = ({ ofName, inAll }: { readonly ofName: number; readonly inAll: number }) =>
  ofName < REGISTRATIONS_OF_USERNAME_MAX && inAll < REGISTRATIONS_PENDING_MAX;

const isValid = (attempt: RegistrationAttempt): boolean => problemsOf(attempt).found.length === 0;

/** Nothing when it was recorded a moment ago and says nothing new. */
function seenAgain(
  found: PendingRegistration,
  { username: _name, verifier: _verifier, ...attempt }: RegistrationAttempt,
  at: number,
): readonly RegistrationEvent[] {
  const { asked, origin, ...seen } = attempt;
  // A device that has made itself another key can use no certificate for the one before.
  const csr = asked?.csr ?? found.asked?.csr;
  const askedNow = origin === 'http' && (found.origin === 'mqtt' || csr !== found.asked?.csr);
  if (!askedNow && at - found.lastSeenAt < REGISTRATION_SEEN_INTERVAL_MS) return [];
  const data = {
    ...seen,
    // Once somebody asks, an outcome is kept for them.
    origin: askedNow ? origin : found.origin,
    ...(askedNow && asked !== undefined && { asked }),
  };
  return [{ type: 'RegistrationSeen', data }];
}

function decideRegister(
  reads: RegistrationReads,
  attempt: RegistrationAttempt,
  at: number,
): Decided<RegistrationEvent> {
  const { id } = attempt;
  const found = liveRegistration(reads, id, at);
  if (found?.status === 'granted') return accept();
  if (found?.status === 'denied') {
    return accept({ type: 'RegistrationRemoved', data: { id, reason: 'told' } });
  }
  const { found: problems } = problemsOf(attempt);
  if (problems.length > 0) return reject('registration_invalid', { problems });
  if (found?.status === 'pending') return accept(...seenAgain(found, attempt, at));
  return decideFirst(reads, attempt, at);
}

function decideFirst(
  reads: RegistrationReads,
  attempt: RegistrationAttempt,
  at: number,
): Decided<RegistrationEvent> {
  const { username } = attempt;
  const waits = pendingRegistrations(reads, username, at).length > 0;
  const open = isRegistrationOpen(reads.registrationWindow(), at);
  // Nobody learns who has a credential while the window is closed.
  if (!waits && !open) return reject('registration_locked');
  if (waits || reads.usernameTaken(username)) return reject('registration_conflict');
  const ended = endedOf(reads, at);
  if (ended.pending >= REGISTRATIONS_PENDING_MAX) return reject('too_many_registrations');
  return accept(...ended.removed, requested(attempt, at));
}

/** The request with this id, while it waits. */
function waitingRequest(
  reads: RegistrationReads,
  id: string,
  at: number,
): PendingRegistration | undefined {
  const found = liveRegistration(reads, id, at);
  return found?.status === 'pending' ? found : undefined;
}

/** Until when the outcome is kept: only where somebody asks for it. */
function told({ origin }: PendingRegistration, { settled }: Ended, at: number): Told {
  const kept = origin === 'http' && settled < REGISTRATIONS_SETTLED_MAX;
  return kept ? { toldUntil: at + REGISTRATION_OUTCOME_MS } : {};
}

function decideGrant(
  reads: RegistrationReads,
  { id, credential, issued }: Extract<RegistrationCommand, { type: 'GrantRegistration' }>['data'],
  at: number,
): Decided<GrantEvent> {
  const found = waitingRequest(reads, id, at);
  if (found === undefined) return reject('registration_not_found');
  const { username } = found;
  if (credential.match.username !== username) {
    const problems = [{ pointer: '/match/username', detail: 'must be that of the request' }];
    return reject('credential_invalid', { problems });
  }
  // Also in another store: whoever has the name would share what is granted to it.
  if (reads.usernameTaken(username)) return reject('registration_conflict');
  const added = decideCredential(reads, { type: 'AddCredential', data: credential }, at);
  if (!added.ok) return added;
  const ended = endedOf(reads, at);
  const rivals = pendingRegistrations(reads, username, at).filter((one) => one.id !== id);
  const recorded =
    issued === undefined ? [] : [{ type: 'CertificateIssued', data: issued } as const];
  return accept<GrantEvent>(
    ...added.events,
    ...recorded,
    {
      type: 'RegistrationGranted',
      data: {
        id,
        credentialId: credential.id,
        ...(issued !== undefined && { certificate: issued.certificate }),
        ...told(found, ended, at),
      },
    },
    ...rivals.map((rival): RegistrationEvent => ({
      type: 'RegistrationRemoved',
      data: { id: rival.id, reason: 'superseded' },
    })),
    ...ended.removed,
  );
}

function decideDeny(reads: RegistrationReads, id: string, at: number): Decided<RegistrationEvent> {
  const found = waitingRequest(reads, id, at);
  if (found === undefined) return reject('registration_not_found');
  const ended = endedOf(reads, at);
  const data = { id, ...told(found, ended, at) };
  return accept({ type: 'RegistrationDenied', data }, ...ended.removed);
}

function problemsOf({ username, clientId, address, count, asked }: RegistrationAttempt): Problems {
  const problems = new Problems();
  problems.text('/username', username);
  if ([...username].length < REGISTRATION_USERNAME_LENGTH_MIN) {
    const detail = `must have at least ${REGISTRATION_USERNAME_LENGTH_MIN} characters`;
    problems.add('/username', detail);
  }
  if (clientId !== undefined) problems.text('/clientId', clientId);
  if (address !== undefined) problems.text('/address', address, 64);
  if (!Number.isSafeInteger(count) || count < 1) problems.add('/count', 'must be at least 1');
  if (asked !== undefined) checkAsked(problems, asked);
  return problems;
}

function checkAsked(problems: Problems, asked: RegistrationAsked): void {
  const { context = {}, roles = [], permissions = [] } = asked;
  if (utf8Bytes(JSON.stringify(asked)) > REGISTRATION_ASKED_BYTES_MAX) {
    problems.add('', `must say at most ${REGISTRATION_ASKED_BYTES_MAX} bytes of itself`);
  }
  problems.attributes('/context', context, REGISTRATION_CONTEXT_ENTRIES_MAX);
  if (roles.length > CREDENTIAL_ROLES_MAX) {
    problems.add('/roles', `must have at most ${CREDENTIAL_ROLES_MAX} entries`);
  }
  for (const [index, role] of roles.entries()) {
    problems.text(`/roles/${index}`, role, ROLE_ID_BYTES_MAX);
  }

  if (permissions.length > REGISTRATION_PERMISSIONS_MAX) {
    problems.add('/permissions', `must have at most ${REGISTRATION_PERMISSIONS_MAX} entries`);
  }
  for (const [index, permission] of permissions.entries()) {
    checkPermission(problems, `/permissions/${index}`, { id: 'asked', ...permission });
  }
}
