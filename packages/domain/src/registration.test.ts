import { describe, expect, it } from 'vitest';
import {
  aCredential,
  anAttempt,
  aPermission,
  commit,
  type Given,
  given,
  rolesAccess,
} from '../test/given.ts';
import type { DomainEvent } from './commit.ts';
import type { NewCredential } from './credential.ts';
import type { Command } from './domain.ts';
import {
  pendingRegistrations,
  ENDED_REGISTRATIONS_REMOVED_MAX,
  REGISTRATION_ASKED_BYTES_MAX,
  REGISTRATION_ATTEMPTS_MAX,
  REGISTRATION_CONTEXT_ENTRIES_MAX,
  REGISTRATION_OPEN_MS_MAX,
  REGISTRATION_OUTCOME_MS,
  REGISTRATION_PENDING_MS,
  REGISTRATION_PERMISSIONS_MAX,
  REGISTRATION_SEEN_INTERVAL_MS,
  REGISTRATION_USERNAME_LENGTH_MIN,
  type RegistrationAttempt,
  REGISTRATIONS_OF_USERNAME_MAX,
  REGISTRATIONS_PENDING_MAX,
  REGISTRATIONS_SETTLED_MAX,
} from './registration.ts';
import { CREDENTIAL_ROLES_MAX } from './roles-access.ts';

const AT = 1000;
const SHORTEST = 'x'.repeat(REGISTRATION_USERNAME_LENGTH_MIN);
const OPEN_UNTIL = AT + 500;

const open = (openMs = 30_000): Command => ({ type: 'OpenRegistration', data: { openMs } });
const close: Command = { type: 'CloseRegistration', data: {} };
const record = (...attempts: RegistrationAttempt[]): Command => ({
  type: 'RecordRegistrations',
  data: { attempts },
});
const register = (changes: Partial<RegistrationAttempt> = {}): Command => ({
  type: 'Register',
  data: anAttempt({ origin: 'http', ...changes }),
});
const account = (changes: Partial<NewCredential> = {}): NewCredential =>
  aCredential({
    store: 'cybus',
    name: 'agent-7',
    match: { username: 'agent-7' },
    access: rolesAccess(),
    ...changes,
  });
const grant = (id = 'q1', credential = account()): Command => ({
  type: 'GrantRegistration',
  data: { id, credential },
});
const deny = (id = 'q1'): Command => ({ type: 'DenyRegistration', data: { id } });

const opened = (openUntil = OPEN_UNTIL) =>
  commit({ type: 'RegistrationOpened', data: { openUntil } });
const requested = (
  changes: Partial<RegistrationAttempt> = {},
  until = AT + REGISTRATION_PENDING_MS,
): DomainEvent => ({ type: 'RegistrationRequested', data: { ...anAttempt(changes), until } });
const many = (count: number, changes: Partial<RegistrationAttempt> = {}, until?: number) =>
  Array.from({ length: count }, (_, index) =>
    requested({ id: `m${index}`, username: `user-${index}`, ...changes }, until),
  );

const idsIn = ({ state }: Given, username = 'agent-7', at = AT) =>
  pendingRegistrations(state, username, at).map(({ id }) => id);

describe('the window', () => {
  it.each([0, -1, 1.5, Number.NaN, REGISTRATION_OPEN_MS_MAX + 1])(
    'does not open for %d ms',
    (ms) => {
      const { problems } = given().when(open(ms)).thenRejected('registration_invalid');
      expect(problems?.[0]?.pointer).toBe('/openDuration');
    },
  );

  it('opens until a time, and again until another', () => {
    given()
      .when(open(REGISTRATION_OPEN_MS_MAX), AT)
      .then({ type: 'RegistrationOpened', data: { openUntil: AT + REGISTRATION_OPEN_MS_MAX } });
    given(opened())
      .when(open(1), AT)
      .then({ type: 'RegistrationOpened', data: { openUntil: AT + 1 } });
  });

  it('closes, and is closed by time: closing it then is nothing', () => {
    const closed: DomainEvent = { type: 'RegistrationClosed', data: {} };
    given(opened())
      .when(close, OPEN_UNTIL - 1)
      .then(closed);
    given(opened()).when(close, OPEN_UNTIL).then();
    given().when(close).then();
    given(opened(), commit(closed)).when(record(anAttempt()), AT).then();
  });
});

describe('an attempt to connect', () => {
  it('is not recorded while the window is closed, and is in the last millisecond of it', () => {
    given().when(record(anAttempt())).then();
    given(opened()).when(record(anAttempt()), OPEN_UNTIL).then();
    given(opened())
      .when(record(anAttempt()), OPEN_UNTIL - 1)
      .then(requested({}, OPEN_UNTIL - 1 + REGISTRATION_PENDING_MS));
  });

  it.each<[string, Partial<NewCredential>]>([
    ['a user name', { match: { username: 'agent-7' } }],
    ['a user name of another store', { store: 'emqx', match: { username: 'agent-7' } }],
    ['a user name and a client id', { match: { username: 'agent-7', clientId: 'x' } }],
    ['a certificate', { kind: 'certificate', match: { commonName: 'agent-7' } }],
  ])('is not recorded when a credential has the name as %s', (_, changes) => {
    const taken = commit({ type: 'CredentialAdded', data: aCredential(changes) });
    given(taken, opened()).when(record(anAttempt()), AT).then();
    given(taken, opened())
      .when(record(anAttempt({ username: 'agent-77' })), AT)
      .thenAccepted();
  });

  it.each<[Partial<RegistrationAttempt>]>([
    [{ username: 'x'.repeat(REGISTRATION_USERNAME_LENGTH_MIN - 1) }],
    [{ username: '\u{1f600}\u{1f600}' }],
    [{ username: 'abc\u0000' }],
    [{ username: 'x'.repeat(257) }],
    [{ clientId: '' }],
    [{ clientId: 'x'.repeat(257) }],
    [{ address: 'x'.repeat(65) }],
    [{ count: 0 }],
    [{ count: Number.NaN }],
  ])('is left out when it is %j; others of the same message are not', (changes) => {
    given(opened())
      .when(record(anAttempt(changes), anAttempt({ id: 'q2', username: SHORTEST })), AT)
      .then(requested({ id: 'q2', username: SHORTEST }));
  });

  it('that repeats a request adds to it, once in a while', () => {
    const past = given(commit(requested({ count: 2, address: '192.0.2.1' })), opened(AT * 99));
    const again = anAttempt({ count: 3, clientId: 'c2' });
    const due = 1 + REGISTRATION_SEEN_INTERVAL_MS;
    past.when(record(again), due - 1).then();
    const seen = { id: 'q1', origin: 'mqtt', count: 3, clientId: 'c2' } as const;
    const after = past.when(record(again), due);
    after.then({ type: 'RegistrationSeen', data: seen });
    expect(after.thenGiven().state.registration('q1')).toMatchObject({
      ...{ count: 5, clientId: 'c2', address: '192.0.2.1', createdAt: 1, lastSeenAt: due },
      ...{ verifier: 'sealed q1', username: 'agent-7' },
    });
  });

  it('with another password stands beside the first, up to a limit', () => {
    const rivals = Array.from({ length: REGISTRATIONS_OF_USERNAME_MAX - 1 }, (_, index) =>
      requested({ id: `r${index}` }),
    );
    const full = given(opened(), commit(...rivals))
      .when(record(anAttempt(), anAttempt({ id: 'q2' })), AT)
      .thenGiven();
    expect(idsIn(full)).toHaveLength(REGISTRATIONS_OF_USERNAME_MAX);
    expect(full.state.registration('q2')).toBeUndefined();
  });

  it('is recorded for as long as there is room, and what has ended makes some', () => {
    const free = given(opened(), commit(...many(REGISTRATIONS_PENDING_MAX - 1)));
    const full = free.when(record(anAttempt(), anAttempt({ id: 'q2' })), AT).thenGiven();
    expect(idsIn(full)).toEqual(['q1']);
    full.when(record(anAttempt({ id: 'q2' })), AT).then();
    const ended = commit(...many(REGISTRATIONS_PENDING_MAX, {}, AT));
    const events = given(opened(), ended)
      .when(record(anAttempt()), AT)
      .thenGiven()
      .state.registrationCounts();
    const left = REGISTRATIONS_PENDING_MAX - ENDED_REGISTRATIONS_REMOVED_MAX + 1;
    expect(events).toEqual({ pending: left, settled: 0 });
  });

  it('does not come back as a request that has ended', () => {
    const past = given(opened(), commit(requested({}, AT)));
    past
      .when(record(anAttempt()), AT)
      .then({ type: 'RegistrationRemoved', data: { id: 'q1', reason: 'expired' } }, requested());
    past.when(record(anAttempt()), AT - 1).then();
    past.when(grant(), AT).thenRejected('registration_not_found');
    past.when(grant(), AT - 1).thenAccepted();
  });

  it('counts no more than so many of one message, and each request once', () => {
    const attempts = Array.from({ length: REGISTRATION_ATTEMPTS_MAX + 1 }, (_, index) =>
      anAttempt({ id: `q${index}`, username: `user-${index}` }),
    );
    const state = given(opened())
      .when(record(...attempts), AT)
      .thenGiven().state;
    expect(state.registrationCounts().pending).toBe(REGISTRATION_ATTEMPTS_MAX);
    given(opened()).when(record(anAttempt(), anAttempt()), AT).then(requested());
  });
});

describe('Register', () => {
  const asked = {
    context: { pairingId: 'a82123' },
    roles: ['some-role'],
    permissions: [{ context: 'mqtt', resource: 'agents/#', operation: 'read' } as const],
    csr: 'PEM',
  };

  it('is refused while the window is closed, and recorded while it is open', () => {
    given().when(register()).thenRejected('registration_locked');
    given(opened()).when(register(), OPEN_UNTIL).thenRejected('registration_locked');
    given(opened())
      .when(register({ asked }), AT)
      .then(requested({ origin: 'http', asked }));
  });

  it('is refused for a name that somebody has, or that waits with another password', () => {
    const taken = commit({ type: 'CredentialAdded', data: account() });
    given(taken, opened()).when(register(), AT).thenRejected('registration_conflict');
    // Whoever asks while it is closed learns nothing of who is there.
    given(taken).when(register()).thenRejected('registration_locked');
    for (const window of [[], [opened()]]) {
      given(...window, commit(requested({ id: 'other' })))
        .when(register(), AT)
        .thenRejected('registration_conflict');
    }
  });

  it('is refused when too many wait', () => {
    given(opened(), commit(...many(REGISTRATIONS_PENDING_MAX)))
      .when(register(), AT)
      .thenRejected('too_many_registrations');
    given(opened(), commit(...many(REGISTRATIONS_PENDING_MAX - 1)))
      .when(register(), AT)
      .thenAccepted();
  });

  const permissions = (length: number) =>
    Array.from({ length }, () => ({ context: 'mqtt', resource: 'a', operation: 'read' }) as const);
  const context = (length: number) =>
    Object.fromEntries(Array.from({ length }, (_, index) => [`k${index}`, 'v']));
  it.each<[Partial<RegistrationAttempt>, string]>([
    [{ username: 'ab' }, '/username'],
    [{ asked: { context: context(REGISTRATION_CONTEXT_ENTRIES_MAX + 1) } }, '/context'],
    [{ asked: { context: { ['__proto__x']: 'a\u0000' } } }, '/context/__proto__x'],
    [{ asked: { roles: Array<string>(CREDENTIAL_ROLES_MAX + 1).fill('r') } }, '/roles'],
    [{ asked: { roles: [''] } }, '/roles/0'],
    [{ asked: { permissions: permissions(REGISTRATION_PERMISSIONS_MAX + 1) } }, '/permissions'],
    [
      { asked: { permissions: [{ ...permissions(1)[0]!, resource: 'a#' }] } },
      '/permissions/0/resource',
    ],
    [{ asked: { csr: 'x'.repeat(REGISTRATION_ASKED_BYTES_MAX) } }, ''],
  ])('refuses %j and names %s', (changes, pointer) => {
    const { problems } = given(opened())
      .when(register(changes), AT)
      .thenRejected('registration_invalid');
    expect(problems?.[0]?.pointer).toBe(pointer);
    // Also of who waits already, because what is asked may take the place of what was.
    if (changes.username !== undefined) return;
    for (const origin of ['mqtt', 'http'] as const) {
      given(opened(), commit(requested({ origin })))
        .when(register(changes), AT + REGISTRATION_SEEN_INTERVAL_MS)
        .thenRejected('registration_invalid');
    }
  });

  it('with a signing request of another key takes the new one, at once', () => {
    const waits = [opened(), commit(requested({ origin: 'http', asked }))];
    const { id, count } = anAttempt();
    const seen = (more: object): DomainEvent => ({
      type: 'RegistrationSeen',
      data: { id, count, origin: 'http', ...more },
    });
    const anew = { ...asked, csr: 'PEM of another' };
    given(...waits)
      .when(register({ asked: anew }), AT)
      .then(seen({ asked: anew }));
    given(...waits)
      .when(register({ asked }), AT)
      .then();
    // Who asks for none any more still gets what was asked for.
    given(...waits)
      .when(register({ asked: {} }), AT)
      .then();
    const without = [opened(), commit(requested({ origin: 'http', asked: {} }))];
    given(...without)
      .when(register({ asked }), AT)
      .then(seen({ asked }));
  });

  it('takes as much as it may say', () => {
    const roles = Array<string>(CREDENTIAL_ROLES_MAX).fill('r');
    const most = {
      context: context(REGISTRATION_CONTEXT_ENTRIES_MAX),
      permissions: permissions(REGISTRATION_PERMISSIONS_MAX),
      roles,
    };
    given(opened())
      .when(register({ username: 'abc', asked: most }), AT)
      .thenAccepted();
  });

  it('goes on after the window has closed, and is not recorded each time', () => {
    const past = given(commit(requested({ origin: 'http' })));
    past.when(register(), REGISTRATION_SEEN_INTERVAL_MS).then();
    past.when(register(), 1 + REGISTRATION_SEEN_INTERVAL_MS).then({
      type: 'RegistrationSeen',
      data: { id: 'q1', origin: 'http', count: 1 },
    });
  });

  it('of a request that came by MQTT says at once what is asked', () => {
    const past = given(commit(requested()));
    const after = past.when(register({ asked }), 2).thenGiven();
    expect(after.state.registration('q1')).toMatchObject({ origin: 'http', asked, count: 2 });
    // And a connection that is refused later takes nothing of it away.
    const later = 2 + REGISTRATION_SEEN_INTERVAL_MS;
    const seen = after.when(open(), later).thenGiven().when(record(anAttempt()), later).thenGiven();
    expect(seen.state.registration('q1')).toMatchObject({ origin: 'http', asked, count: 3 });
  });
});

describe('granting', () => {
  it('needs a request that waits, and a credential of its name', () => {
    given().when(grant()).thenRejected('registration_not_found');
    const past = given(commit(requested()));
    past.when(grant('q2')).thenRejected('registration_not_found');
    past
      .when(grant('q1', account({ match: { username: 'other' } })))
      .thenRejected('credential_invalid');
    past
      .when(grant('q1', account({ access: rolesAccess({ roles: ['none'] }) })))
      .thenRejected('credential_invalid');
    past.when(grant()).thenGiven().when(grant()).thenRejected('registration_not_found');
  });

  it('is refused when somebody has got the name meanwhile, in any store', () => {
    const taken = account({ id: 'c9', store: 'tbmq' });
    given(commit(requested()), commit({ type: 'CredentialAdded', data: taken }))
      .when(grant())
      .thenRejected('registration_conflict');
  });

  it('adds the credential as it is named, and discards the rivals', () => {
    const credential = account();
    given(
      commit(requested(), requested({ id: 'q2' }), requested({ id: 'q3', username: 'agent-8' })),
    )
      .when(grant('q1', credential))
      .then(
        { type: 'CredentialAdded', data: credential },
        { type: 'RegistrationGranted', data: { id: 'q1', credentialId: 'c1' } },
        { type: 'RegistrationRemoved', data: { id: 'q2', reason: 'superseded' } },
      );
  });

  it('is told for an hour to who asks, with the certificate, while the window is closed', () => {
    const issued = {
      ...{
        fingerprint: 'ab',
        serial: '01',
        subject: 'agent-7',
        authority: 'ca',
        credentialId: 'c1',
      },
      ...{ notBefore: 0, notAfter: 1, by: 'operator:admin', certificate: 'PEM' },
    };
    const command = {
      type: 'GrantRegistration',
      data: { id: 'q1', credential: account(), issued },
    } as const;
    const granted = given(commit(requested({ origin: 'http' })))
      .when(command, AT)
      .thenGiven();
    expect(granted.state.issuedCertificate('ab')).toMatchObject({ ...issued, issuedAt: AT });
    expect(granted.state.registration('q1')).toEqual({
      ...{ id: 'q1', username: 'agent-7', status: 'granted' },
      ...{ credentialId: 'c1', certificate: 'PEM', until: AT + REGISTRATION_OUTCOME_MS },
    });
    granted.when(register(), AT + REGISTRATION_OUTCOME_MS - 1).then();
    granted.when(register(), AT + REGISTRATION_OUTCOME_MS).thenRejected('registration_locked');
    const gone = granted.when({ type: 'RemoveCredential', data: { id: 'c1' } }).thenGiven();
    gone.when(register(), AT).thenRejected('registration_locked');
    gone
      .when(open())
      .thenGiven()
      .when(register(), AT)
      .then(requested({ origin: 'http' }));
  });

  it('is possible while the window is closed, up to the end of the request', () => {
    const past = given(commit(requested()));
    past.when(grant(), AT + REGISTRATION_PENDING_MS - 1).thenAccepted();
    past.when(grant(), AT + REGISTRATION_PENDING_MS).thenRejected('registration_not_found');
  });

  it('gives what it is told to give, and nothing that was asked', () => {
    const asked = { roles: ['r'], permissions: [{ ...aPermission(), id: 'x' }] };
    const granted = given(commit(requested({ origin: 'http', asked })))
      .when(grant())
      .thenGiven();
    expect(granted.state.credential('c1')?.access).toEqual(rolesAccess());
  });
});

describe('denying', () => {
  it('needs a request that waits', () => {
    given().when(deny()).thenRejected('registration_not_found');
    given(commit(requested()))
      .when(deny(), AT + REGISTRATION_PENDING_MS)
      .thenRejected('registration_not_found');
  });

  it('forgets one that came by MQTT, which may come again while the window is open', () => {
    const denied = given(opened(), commit(requested())).when(deny(), AT).thenGiven();
    expect(denied.state.registration('q1')).toBeUndefined();
    denied.when(record(anAttempt()), AT).then(requested());
  });

  it('is told to who asks, once', () => {
    const denied = given(opened(), commit(requested({ origin: 'http' })))
      .when(deny(), AT)
      .thenGiven();
    expect(idsIn(denied)).toEqual([]);
    denied.when(record(anAttempt()), AT).then();
    denied.when(grant(), AT).thenRejected('registration_not_found');
    denied.when(deny(), AT).thenRejected('registration_not_found');
    const told = denied.when(register(), AT + REGISTRATION_OUTCOME_MS - 1);
    told.then({ type: 'RegistrationRemoved', data: { id: 'q1', reason: 'told' } });
    told
      .thenGiven()
      .when(register(), AT)
      .then(requested({ origin: 'http' }));
    denied.when(register(), AT + REGISTRATION_OUTCOME_MS).thenRejected('registration_locked');
  });

  it('keeps a bounded number of outcomes', () => {
    const outcomes = (count: number) =>
      many(count, { origin: 'http' }).flatMap((event, index): DomainEvent[] => [
        event,
        { type: 'RegistrationDenied', data: { id: `m${index}`, toldUntil: AT * 2 } },
      ]);
    const waiting = requested({ origin: 'http' });
    given(commit(waiting, ...outcomes(REGISTRATIONS_SETTLED_MAX - 1)))
      .when(deny(), AT)
      .then({
        type: 'RegistrationDenied',
        data: { id: 'q1', toldUntil: AT + REGISTRATION_OUTCOME_MS },
      });
    given(commit(waiting, ...outcomes(REGISTRATIONS_SETTLED_MAX)))
      .when(deny(), AT)
      .then({ type: 'RegistrationDenied', data: { id: 'q1' } });
  });

  it('leaves rivals, which do not conflict any more', () => {
    const left = given(commit(requested(), requested({ id: 'q2' })))
      .when(deny('q2'))
      .thenGiven();
    expect(idsIn(left)).toEqual(['q1']);
  });
});
