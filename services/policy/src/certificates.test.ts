import {
  type CertificateIdentity,
  type Credential,
  type Grant,
  PATTERNS_TAG,
  type Store,
} from '@sallyport/domain';
import type { AuthenticateAnswer } from '@sallyport/policy-client';
import { check, compilePolicy, type Facts } from '@sallyport/rules';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { SLOW_CHECKS_OF_REFUSAL } from './refusal-work.ts';
import { bytes, facts, World } from './testing/world.ts';

let world: World;
beforeEach(async () => {
  world = await World.open();
});
afterEach(() => world[Symbol.asyncDispose]());

const FINGERPRINT = 'a'.repeat(64);

const certificate = (
  commonName: string | undefined,
  more: Partial<CertificateIdentity> = {},
): CertificateIdentity => ({
  fingerprintSha256: FINGERPRINT,
  ...(commonName !== undefined && { commonName }),
  chainCommonNames: [commonName ?? '', 'plant', 'root'],
  ...more,
});

interface Connect {
  readonly clientId?: string;
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  readonly certificate?: CertificateIdentity | undefined;
  readonly stores?: readonly Store[] | undefined;
}

const factsOf = ({ clientId = 'c', username, certificate: shown }: Connect): Facts => ({
  ...facts(clientId, username),
  ...(shown !== undefined && { certificate: shown }),
});

const ask = (connect: Connect): Promise<AuthenticateAnswer> =>
  world.policy.authenticate({
    facts: factsOf(connect),
    minRevision: 0,
    ...(connect.password !== undefined && { password: bytes(connect.password) }),
    ...(connect.stores !== undefined && { stores: connect.stores }),
  });

/** The id of the credential that admits, or why nobody does. */
async function connect(how: Connect): Promise<string> {
  const answer = await ask(how);
  return answer.ok ? answer.principal.credentialId : answer.reason;
}

const bound = (id: string, match: Credential['match'], more: object = {}) =>
  world.addCredential(id, undefined, { kind: 'certificate', match, ...more });

const grants = (...text: string[]): readonly Grant[] =>
  text.map((one) => ({
    method: one.startsWith('p') ? 'password' : 'certificate',
    required: one.endsWith('!'),
  }));

describe('a certificate that was made here and is revoked', () => {
  const issued = (credentialId: string) =>
    ({
      type: 'CertificateIssued',
      data: {
        ...{
          fingerprint: FINGERPRINT,
          serial: '01',
          subject: 'pump',
          authority: 'ca',
          credentialId,
        },
        ...{ notBefore: 0, notAfter: 1e15, by: 'operator:admin', certificate: 'PEM' },
      },
    }) as const;
  /** As a grant does. */
  async function record(credentialId: string): Promise<void> {
    const head = await world.log.head();
    const actor = { kind: 'system', id: 'test' } as const;
    const commit = { commitId: 'issued', at: world.now, actor, events: [issued(credentialId)] };
    await world.log.append([commit], head);
    await world.model.waitFor(head + 1, 2000);
  }
  const data = { fingerprint: FINGERPRINT, by: 'operator:admin', lists: [] };

  it('opens nothing, beside a password neither, and keeps nobody in who has shown it', async () => {
    await world.addCredential('n', 'p', { match: { username: 'pump' } });
    await bound('f', { commonName: 'pump' });
    await record('f');
    const shown = { certificate: certificate('pump') };
    const answer = await ask(shown);
    if (!answer.ok) throw new Error(answer.reason);
    expect(answer.resolved.tags).toContain(`certificate:${FINGERPRINT}`);
    const { principal } = answer;
    const stays = async () => {
      const { results } = await world.policy.resolve({ principals: [principal], minRevision: 0 });
      return results[0] !== undefined;
    };
    expect(await stays()).toBe(true);
    await world.run({ type: 'RevokeCertificate', data });
    expect(await stays()).toBe(false);
    expect(await ask(shown)).toMatchObject({
      ok: false,
      reason: 'certificate',
      ruleId: `certificate:${FINGERPRINT}`,
    });
    expect(await connect({ ...shown, username: 'pump', password: 'p' })).toBe('certificate');
    expect(await connect({ username: 'pump', password: 'p' })).toBe('n');
    const other = certificate('pump', { fingerprintSha256: 'b'.repeat(64) });
    expect(await connect({ certificate: other })).toBe('f');
    const login = { facts: factsOf(shown), minRevision: 0, scram: false };
    expect(await world.policy.explainLogin(login)).toMatchObject({
      reason: 'certificate',
      steps: [],
    });
  });
});

describe('a certificate credential', () => {
  it('admits nobody without its certificate', async () => {
    await bound('f', { fingerprint: FINGERPRINT });
    await bound('n', { commonName: 'pump' });
    expect(await connect({ password: 'p' })).toBe('unknown_client');
    expect(await connect({ username: 'pump', password: 'p' })).toBe('unknown_client');
    const other = certificate('fan', { fingerprintSha256: 'b'.repeat(64) });
    expect(await connect({ certificate: other })).toBe('unknown_client');
  });

  it('is found by fingerprint before Common Name before parent', async () => {
    await bound('parent', { parentCommonName: 'root' });
    expect(await connect({ certificate: certificate('pump') })).toBe('parent');
    await bound('nearer', { parentCommonName: 'plant' }, { store: 'clients' });
    await bound('name', { commonName: 'pump' });
    expect(await connect({ certificate: certificate('pump') })).toBe('name');
    await bound('print', { fingerprint: FINGERPRINT });
    expect(await connect({ certificate: certificate('pump') })).toBe('print');
    expect(await connect({ certificate: certificate(undefined) })).toBe('print');
  });

  it('is the nearest parent of its store, and no other one when that refuses', async () => {
    await bound('root', { parentCommonName: 'root' }, { store: 'tbmq' });
    await bound('plant', { parentCommonName: 'plant' }, { store: 'tbmq', enabled: false });
    expect(await connect({ certificate: certificate('pump') })).toBe('disabled');
    await bound('leaf', { parentCommonName: 'pump' }, { store: 'tbmq' });
    expect(await connect({ certificate: certificate('pump') })).toBe('leaf');
  });

  it.each([
    ['native', 'fan', 'unknown_client'],
    ['native', 'pump', 'n'],
    ['tbmq', 'fan', 'n'],
    ['clients', 'pump', 'unknown_client'],
    ['clients', undefined, 'n'],
  ] as const)('of %s, beside the user name %s: %s', async (store, username, expected) => {
    await bound('n', { commonName: 'pump' }, { store });
    expect(await connect({ certificate: certificate('pump'), username, password: 'x' })).toBe(
      expected,
    );
  });

  it('may ask for a password besides', async () => {
    const more = { kind: 'certificate', match: { commonName: 'pump' } } as const;
    await world.addCredential('n', 'secret', { ...more, grants: grants('c!', 'p!') });
    const shown = { certificate: certificate('pump') };
    expect(await connect(shown)).toBe('wrong_secret');
    expect(await connect({ ...shown, password: 'wrong' })).toBe('wrong_secret');
    expect(await connect({ ...shown, password: 'secret' })).toBe('n');
  });
});

describe('a certificate credential that matches by a pattern, compat tbmq 5.5.2', () => {
  const pattern = (id: string, text: string, more: object = {}) =>
    bound(id, { parentCommonNamePattern: text }, { store: 'tbmq', name: id, ...more });
  const exact = (id: string, name: string) =>
    bound(id, { parentCommonName: name }, { store: 'tbmq' });

  it('admits nobody whose chain it is not found in', async () => {
    await pattern('p', '^valve-');
    expect(await connect({ certificate: certificate('pump') })).toBe('unknown_client');
    expect(await connect({ username: 'valve-1', password: 'p' })).toBe('unknown_client');
    expect(await connect({ certificate: certificate('my valve-1') })).toBe('unknown_client');
    expect(await connect({ certificate: certificate('valve-1') })).toBe('p');
  });

  it('comes before the exact name at its certificate, and behind both at a nearer one', async () => {
    const shown = { certificate: certificate('pump') };
    await exact('root', 'root');
    expect(await connect(shown)).toBe('root');
    await pattern('roots', 'oo');
    expect(await connect(shown)).toBe('roots');
    await exact('plant', 'plant');
    expect(await connect(shown)).toBe('plant');
    await pattern('pumps', '^pump');
    await exact('pump', 'pump');
    expect(await connect(shown)).toBe('pumps');
    await world.run({ type: 'RemoveCredential', data: { id: 'pumps' } });
    expect(await connect(shown)).toBe('pump');
  });

  it('of several the one whose name is first, and no other one when that refuses', async () => {
    const shown = { certificate: certificate('pump') };
    await pattern('b', 'pump');
    await pattern('a', 'ump', { enabled: false });
    expect(await connect(shown)).toBe('disabled');
    await world.run({ type: 'ChangeCredential', data: { id: 'a', changes: { name: 'c' } } });
    expect(await connect(shown)).toBe('b');
    await pattern('native', 'pump', { store: 'native' });
    expect(await connect(shown)).toBe('native');
    expect(await connect({ ...shown, stores: ['tbmq', 'native'] })).toBe('b');
  });

  it('is what an answer depends on, also where another one stands before it', async () => {
    const shown = { certificate: certificate('pump') };
    await pattern('b', 'pump');
    await pattern('c', 'plant');
    const answer = await ask(shown);
    if (!answer.ok) throw new Error(answer.reason);
    expect(answer.resolved.tags).toEqual(
      expect.arrayContaining([PATTERNS_TAG, 'credential:b', 'credential:c']),
    );
    const plain = await ask({ username: 'b' });
    expect(plain.ok).toBe(false);
  });

  it('ends the session of whoever it does not match any more', async () => {
    await pattern('p', '^pump');
    const answer = await ask({ certificate: certificate('pump') });
    if (!answer.ok) throw new Error(answer.reason);
    const still = async () => {
      const asked = { principals: [answer.principal], minRevision: 0 };
      return (await world.policy.resolve(asked)).results[0] !== undefined;
    };
    expect(await still()).toBe(true);
    const match = { parentCommonNamePattern: '^fan' };
    await world.run({ type: 'ChangeCredential', data: { id: 'p', changes: { match } } });
    expect(await still()).toBe(false);
  });

  it('is explained: those behind it are passed over for it', async () => {
    await exact('pump', 'pump');
    await pattern('b', '^pum');
    await pattern('a', 'ump');
    const { steps, principal } = await world.policy.explainLogin({
      facts: factsOf({ certificate: certificate('pump') }),
      scram: false,
      minRevision: 0,
    });
    expect(principal?.credentialId).toBe('a');
    expect(steps.map((one) => [one.credentialId, one.skipped])).toEqual([
      ['a', undefined],
      ['b', 'parent'],
      ['pump', 'parent'],
    ]);
  });
});

describe('certificate and password of one user, compat A2.3', () => {
  const right = 'right';
  it.each([
    // grants, certificate shown, user name, password → outcome
    [['p'], undefined, 'pump', undefined, 'wrong_secret'],
    [['p'], undefined, 'pump', 'wrong', 'wrong_secret'],
    [['p'], undefined, 'pump', right, 'pump'],
    [['p'], 'pump', 'pump', right, 'pump'],
    [['p'], 'pump', undefined, right, 'unknown_client'],
    [['c'], undefined, 'pump', right, 'certificate'],
    [['c'], 'fan', 'pump', right, 'certificate'],
    [['c'], 'pump', 'pump', 'wrong', 'pump'],
    [['c'], 'pump', undefined, undefined, 'pump'],
    [['c'], 'fan', undefined, undefined, 'unknown_client'],
    [['c', 'p'], undefined, 'pump', right, 'pump'],
    [['c', 'p'], undefined, 'pump', 'wrong', 'wrong_secret'],
    [['c', 'p'], 'pump', undefined, undefined, 'pump'],
    [['c', 'p'], 'fan', 'pump', right, 'certificate'],
    [['c!', 'p'], undefined, 'pump', right, 'certificate'],
    [['c!', 'p'], 'pump', undefined, undefined, 'pump'],
    [['c', 'p!'], 'pump', undefined, undefined, 'wrong_secret'],
    [['c', 'p!'], undefined, 'pump', right, 'pump'],
    [['c', 'p!'], 'pump', undefined, right, 'pump'],
    [['c!', 'p!'], 'pump', 'pump', undefined, 'wrong_secret'],
    [['c!', 'p!'], 'pump', 'pump', 'wrong', 'wrong_secret'],
    [['c!', 'p!'], undefined, 'pump', right, 'certificate'],
    [['c!', 'p!'], 'pump', 'pump', right, 'pump'],
    [['c!', 'p!'], 'pump', undefined, right, 'pump'],
  ] as const)('%j with certificate %s, name %s, password %s: %s', async (...row) => {
    const [ways, name, username, password, expected] = row;
    await world.addCredential('pump', right, { grants: grants(...ways) });
    const shown = name === undefined ? undefined : certificate(name);
    expect(await connect({ certificate: shown, username, password })).toBe(expected);
  });

  it('A2.2.3 a password does not do where a certificate is shown, in the store of users', async () => {
    await world.addCredential('pump', right, { store: 'cybus', grants: grants('p') });
    const shown = { username: 'pump', password: right, certificate: certificate('pump') };
    expect(await connect(shown)).toBe('certificate');
    expect(await connect({ ...shown, certificate: undefined })).toBe('pump');
  });

  it('is known to the rules by the name in the certificate, and by how it came', async () => {
    await world.addCredential('pump', right, { grants: grants('c') });
    await world.rules(
      { kind: 'username', name: 'pump' },
      { effect: 'allow', action: 'publish', topicFilter: '${username}/x' },
    );
    const answer = await ask({ certificate: certificate('pump') });
    if (!answer.ok) throw new Error(answer.reason);
    expect(answer.principal.facts).toMatchObject({ username: 'pump', methods: ['certificate'] });
    const { principal } = answer;
    const policy = compilePolicy(answer.policy);
    expect(check(policy, principal.facts, 'publish', ['pump', 'x'], 'pump/x').allowed).toBe(true);
    const resolved = await world.policy.resolve({ principals: [principal], minRevision: 0 });
    expect(resolved.results[0]).toEqual(answer.resolved);
  });
});

describe('a credential that becomes one of another kind', () => {
  const shown = certificate('pump');
  const toCertificate = (match: Credential['match']) =>
    world.run({
      type: 'ChangeCredential',
      data: { id: 'pump', changes: { kind: 'certificate', match } },
    });

  /** Whether somebody who came in so may stay after the change, and whether they get in again. */
  async function after(how: Connect, change: () => Promise<unknown>) {
    const answer = await ask(how);
    if (!answer.ok) throw new Error(answer.reason);
    await change();
    const { principal } = answer;
    const { results } = await world.policy.resolve({ principals: [principal], minRevision: 0 });
    return { stays: results[0] !== undefined, again: await connect(how) };
  }

  it('ends who proved a password, whatever certificate they showed beside it', async () => {
    await world.addCredential('pump', 'secret', { store: 'clients' });
    const how = { username: 'pump', password: 'secret', certificate: shown };
    const ended = await after(how, () => toCertificate({ fingerprint: FINGERPRINT }));
    expect(ended).toEqual({ stays: false, again: 'unknown_client' });
    expect(await connect({ certificate: shown })).toBe('pump');
    expect(await connect({ username: 'pump', password: 'secret' })).toBe('unknown_client');
  });

  it('ends who needed no secret, and would not get in beside a user name', async () => {
    await world.addCredential('pump', undefined, { store: 'clients' });
    const how = { username: 'pump', certificate: shown };
    const ended = await after(how, () => toCertificate({ commonName: 'pump' }));
    expect(ended).toEqual({ stays: false, again: 'unknown_client' });
  });

  it('ends who showed a certificate once a password is needed', async () => {
    await bound('pump', { commonName: 'pump' });
    const secret = world.secret('pump', 's2', 'secret');
    const changes = { kind: 'password', match: { username: 'pump' } } as const;
    const ended = await after({ certificate: shown }, () =>
      world.run({
        type: 'ChangeCredential',
        data: { id: 'pump', changes: { ...changes, passwordRequired: true }, secret },
      }),
    );
    expect(ended.stays).toBe(false);
    expect(ended.again).not.toBe('pump');
    expect(await connect({ username: 'pump', password: 'secret' })).toBe('pump');
  });

  it('keeps who would get in again by what they showed', async () => {
    await bound('pump', { commonName: 'pump' });
    const stays = await after({ certificate: shown }, () =>
      toCertificate({ fingerprint: FINGERPRINT }),
    );
    expect(stays).toEqual({ stays: true, again: 'pump' });
  });
});

describe('a mapping', () => {
  const access = {
    kind: 'mapping',
    keywordPattern: 'dev-(\\w+)-',
    entries: [
      { key: 'pump', publish: ['pumps/.*'], subscribe: [] },
      { key: 'fan', publish: ['fans/${cn}'], subscribe: ['fans/.*'] },
    ],
  } as const;

  it('refuses a name without a keyword, and one without an entry', async () => {
    await bound('m', { parentCommonName: 'root' }, { access });
    expect(await connect({ certificate: certificate('pump') })).toBe('certificate');
    expect(await connect({ certificate: certificate('dev-valve-1') })).toBe('certificate');
    expect(await connect({ certificate: certificate('dev-__proto__-1') })).toBe('certificate');
  });

  it('grants what the keyword says, and ends the session when it says nothing any more', async () => {
    await bound('m', { parentCommonName: 'root' }, { access });
    const policies = await Promise.all(
      ['dev-pump-1', 'dev-pump-2', 'dev-fan-1', 'dev-fan-2'].map(async (name) => {
        const answer = await ask({ certificate: certificate(name) });
        if (!answer.ok) throw new Error(answer.reason);
        return answer;
      }),
    );
    const may = (index: number, topic: string): boolean => {
      const answer = policies[index];
      if (answer === undefined) throw new Error('no answer');
      const { policy, principal } = answer;
      return check(compilePolicy(policy), principal.facts, 'publish', topic.split('/'), topic)
        .allowed;
    };
    expect([may(0, 'pumps/1'), may(0, 'fans/1'), may(2, 'pumps/1')]).toEqual([true, false, false]);
    expect([may(2, 'fans/dev-fan-1'), may(2, 'fans/dev-fan-2')]).toEqual([true, false]);
    // One keyword, one policy; a name in the rules, a policy for each name.
    const ids = policies.map((one) => one.policy.policyId);
    expect(ids[0]).toBe(ids[1]);
    expect(new Set(ids).size).toBe(3);
    const [first] = policies;
    if (first === undefined) throw new Error('no answer');
    await world.run({
      type: 'ChangeCredential',
      data: { id: 'm', changes: { access: { ...access, entries: access.entries.slice(1) } } },
    });
    const after = await world.policy.resolve({
      principals: policies.map((one) => one.principal),
      minRevision: 0,
    });
    expect(after.results.map((one) => one !== undefined)).toEqual([false, false, true, true]);
  });
});

describe('client ids that a credential lets in, compat tbmq 4.9', () => {
  it('refuse any other, whatever it proves, and end who came in by another', async () => {
    await world.addCredential('ada', 'p', { clientIds: { pattern: 'pump-.' } });
    const how = { username: 'ada', password: 'p' };
    expect(await connect({ ...how, clientId: 'fan-2' })).toBe('client_id');
    const wrong = await connect({ ...how, clientId: 'fan-2', password: 'x' });
    expect(wrong).toBe('client_id');
    expect(await connect({ ...how, clientId: 'pump-1' })).toBe('ada');
    const answer = await ask({ ...how, clientId: 'pump-1' });
    if (!answer.ok) throw new Error(answer.reason);
    const changes = { clientIds: { exact: 'pump-2' } };
    await world.run({ type: 'ChangeCredential', data: { id: 'ada', changes } });
    const asked = { principals: [answer.principal], minRevision: 0 };
    expect((await world.policy.resolve(asked)).results).toEqual([undefined]);
    await world.run({ type: 'ChangeCredential', data: { id: 'ada', changes: { clientIds: {} } } });
    expect(await connect({ ...how, clientId: 'fan-2' })).toBe('ada');
  });

  it('are told how many may be connected at once, where the credential says', async () => {
    await world.addCredential('ada', 'p', { sessionsMax: 3 });
    const limit = async (): Promise<unknown> => {
      const answer = await ask({ username: 'ada', password: 'p', clientId: 'c' });
      return answer.ok ? answer.resolved.sessionsMax : answer.reason;
    };
    expect(await limit()).toBe(3);
    await world.run({ type: 'ChangeCredential', data: { id: 'ada', changes: { sessionsMax: 0 } } });
    expect(await limit()).toBeUndefined();
  });

  it('stand in the rules, so that clients of one credential do not share a policy', async () => {
    const access = { kind: 'patterns', publish: ['t/${clientId}'], subscribe: [] } as const;
    await world.addCredential('ada', undefined, { access });
    const of = async (clientId: string) => {
      const answer = await ask({ username: 'ada', clientId });
      if (!answer.ok) throw new Error(answer.reason);
      return answer.policy;
    };
    const [one, other, again] = [await of('a'), await of('b'), await of('a')];
    expect(one.policyId).not.toBe(other.policyId);
    expect(one).toEqual(again);
    const may = (topic: string) =>
      check(compilePolicy(one), facts('a'), 'publish', topic.split('/'), topic).allowed;
    expect([may('t/b'), may('t/a')]).toEqual([false, true]);
    expect(await connect({ username: 'ada', clientId: 'a/b' })).toBe('client_id');
  });
});

describe('a validity window', () => {
  it('refuses before it and after it, to the millisecond', async () => {
    const from = world.now + 1000;
    const until = world.now + 2000;
    await world.addCredential('pump', 'p', { validity: { from, until } });
    const asks = { username: 'pump', password: 'p' };
    const outcomes: string[] = [];
    for (const at of [from - 1, from, until - 1, until]) {
      world.now = at;
      outcomes.push(await connect(asks));
    }
    expect(outcomes).toEqual(['not_valid_now', 'pump', 'pump', 'not_valid_now']);
  });

  it('ends the session with the earliest of credential, secret and certificate', async () => {
    const validUntil = world.now + 3000;
    const until = world.now + 5000;
    await world.addCredential('pump', 'p', { grants: grants('c', 'p'), validity: { until } });
    const byPassword = await ask({ username: 'pump', password: 'p' });
    const byCertificate = await ask({ certificate: certificate('pump', { validUntil }) });
    expect(byPassword).toMatchObject({ resolved: { secretExpiresAt: until } });
    expect(byCertificate).toMatchObject({ resolved: { secretExpiresAt: validUntil } });
    if (!byPassword.ok) throw new Error(byPassword.reason);
    world.now = until;
    const { principal } = byPassword;
    const after = await world.policy.resolve({ principals: [principal], minRevision: 0 });
    expect(after.results).toEqual([undefined]);
  });
});

describe('several stores, compat C1', () => {
  beforeEach(async () => {
    for (const store of ['clients', 'tbmq', 'native', 'emqx', 'cybus'] as const) {
      await world.addCredential(store, `of ${store}`, { store, match: { username: 'pump' } });
    }
  });

  it('pass on what they know with another password', async () => {
    for (const store of ['native', 'tbmq', 'emqx', 'cybus', 'clients']) {
      expect(await connect({ username: 'pump', password: `of ${store}` })).toBe(store);
    }
    expect(await connect({ username: 'pump', password: 'of nobody' })).toBe('wrong_secret');
  });

  it('are those of the listener and no others', async () => {
    const stores = ['clients', 'tbmq'] as const;
    const asks = { username: 'pump', stores };
    expect(await connect({ ...asks, password: 'of native' })).toBe('wrong_secret');
    expect(await connect({ ...asks, password: 'of tbmq' })).toBe('tbmq');
    expect(await connect({ ...asks, username: 'fan', password: 'x' })).toBe('unknown_client');
  });

  it('are asked in the order of the listener', async () => {
    for (const store of ['native', 'clients'] as const) {
      await world.addCredential(`open ${store}`, undefined, { store, match: { username: 'open' } });
    }
    const asks = { username: 'open', password: 'any' };
    expect(await connect(asks)).toBe('open native');
    expect(await connect({ ...asks, stores: ['clients', 'native'] })).toBe('open clients');
  });
});

describe('a certificate that is bound to nothing, compat B3', () => {
  const stores = ['native', 'clients'] as const;
  const unbound = `cert:${FINGERPRINT}`;
  const shown = { certificate: certificate('pump'), stores };

  it('is let in where the listener names the store clients, and only by itself', async () => {
    expect(await connect(shown)).toBe(unbound);
    expect(await connect({ ...shown, password: 'any' })).toBe(unbound);
    expect(await connect({ ...shown, username: '' })).toBe(unbound);
    expect(await connect({ ...shown, username: 'pump' })).toBe('unknown_client');
    expect(await connect({ ...shown, stores: ['native'] })).toBe('unknown_client');
    expect(await connect({ ...shown, stores: undefined })).toBe('unknown_client');
    expect(await connect({ stores })).toBe('unknown_client');
  });

  it('is not let in past a credential that it does bind to', async () => {
    await bound('n', { commonName: 'pump' }, { store: 'clients', enabled: false });
    expect(await connect(shown)).toBe('disabled');
    const other = certificate('fan', { fingerprintSha256: 'b'.repeat(64) });
    expect(await connect({ ...shown, certificate: other })).toBe(`cert:${'b'.repeat(64)}`);
    await world.run({ type: 'ChangeCredential', data: { id: 'n', changes: { enabled: true } } });
    expect(await connect(shown)).toBe('n');
  });

  it('may nothing by itself, and what its groups allow by a fingerprint rule', async () => {
    const may = async (topic: string) => {
      const answer = await ask(shown);
      if (!answer.ok) throw new Error(answer.reason);
      const policy = compilePolicy(answer.policy);
      expect(policy.applyMode).toBe('pinned');
      return check(policy, answer.principal.facts, 'publish', topic.split('/'), topic).allowed;
    };
    await world.run({ type: 'ChangeSettings', data: { changes: { noMatch: 'allow' } } });
    expect(await may('a')).toBe(false);
    const permissions = [{ permission: 'allow', action: 'publish', topic: 'a' }] as const;
    await world.run({
      type: 'AddGroup',
      data: { id: 'g', name: 'g', description: '', permissions },
    });
    const rule = { id: '1', matchBy: 'certificate_fingerprint', groups: ['g'] } as const;
    const value = `SHA256:${FINGERPRINT}`;
    await world.run({ type: 'ReplaceGroupRules', data: { rules: [{ ...rule, value }] } });
    expect([await may('a'), await may('b')]).toEqual([true, false]);
    const answer = await ask(shown);
    expect(answer).toMatchObject({ resolved: { groups: ['g'] }, principal: { store: 'clients' } });
  });

  it('is known again when it is judged anew, until it is over or banned', async () => {
    const validUntil = world.now + 1000;
    const answer = await ask({ ...shown, certificate: certificate('pump', { validUntil }) });
    if (!answer.ok) throw new Error(answer.reason);
    expect(answer.resolved.secretExpiresAt).toBe(validUntil);
    const { principal } = answer;
    const resolved = async (one = principal) =>
      (await world.policy.resolve({ principals: [one], minRevision: 0 })).results;
    expect(await resolved()).toMatchObject([{ policyId: answer.policy.policyId }]);
    // Nobody else's fingerprint.
    expect(await resolved({ ...principal, credentialId: `cert:${'b'.repeat(64)}` })).toEqual([
      undefined,
    ]);
    const ban = { id: 'b', kind: 'client_id', value: 'c', by: 'test' } as const;
    await world.run({ type: 'AddBan', data: ban });
    expect(await resolved()).toEqual([undefined]);
    expect(await connect(shown)).toBe('banned');
  });
});

describe('the work of a refusal', () => {
  /** Slow hashes of one CONNECT. */
  async function slowChecks(how: Connect): Promise<number> {
    const spy = vi.spyOn(world.hasher, 'verify');
    const outcome = await connect(how);
    expect([
      'unknown_client',
      'wrong_secret',
      'disabled',
      'not_valid_now',
      'certificate',
    ]).toContain(outcome);
    const slow = spy.mock.calls.filter(([one]) => world.hasher.costOf(one) === 'slow').length;
    spy.mockRestore();
    return slow;
  }

  it('is the same whoever is asked for, and however their secret is kept', async () => {
    await world.addCredential('machine', 'secret');
    await world.addCredential('off', 'secret', { enabled: false });
    await world.addCredential('late', 'secret', { validity: { until: 1 } });
    await world.addCredential('certified', 'secret', { grants: grants('c!', 'p!') });
    await world.addImported('digest', { algorithm: 'md5', hash: 'ab'.repeat(16) });
    const pbkdf2 = { algorithm: 'pbkdf2', digest: 'sha1', iterations: 1 } as const;
    await world.addImported('derived', { ...pbkdf2, hash: 'ab'.repeat(16) });
    const names = ['nobody', 'machine', 'off', 'late', 'certified', 'digest', 'derived'];
    for (const username of names) {
      expect(await slowChecks({ username, password: 'wrong' }), username).toBe(
        SLOW_CHECKS_OF_REFUSAL,
      );
    }
  });

  it('is as much as two secrets of a rotation cost', async () => {
    const context = 'credential:person';
    const seal = async (text: string) =>
      world.box.seal(await world.hasher.hashPassword(text), context);
    await world.addCredential('person', 'x');
    for (const secretId of ['s2', 's3']) {
      const verifier = await seal(secretId);
      const secret = { secretId, verifier, createdAt: world.now };
      const retireAt = secretId === 's2' ? 0 : world.now + 1000;
      await world.run({ type: 'RotateSecret', data: { id: 'person', secret, retireAt } });
    }
    expect(await slowChecks({ username: 'person', password: 'wrong' })).toBe(
      SLOW_CHECKS_OF_REFUSAL,
    );
  });

  it('is none where there is no password to check', async () => {
    await world.addCredential('machine', 'secret');
    expect(await slowChecks({ username: 'machine' })).toBe(0);
    expect(await slowChecks({ username: 'nobody' })).toBe(0);
  });
});

describe('an imported hash', () => {
  it('is told of when it was proven, and only then', async () => {
    const hash = { algorithm: 'sha256', saltPosition: 'suffix', salt: 'salt' } as const;
    const digest = 'bdb835c2dfe825d07015a179d5414c62a2a21c9dda5b94cfa4cc957b02bbcdd0';
    await world.addImported('pump', { ...hash, hash: digest });
    expect(await connect({ username: 'pump', password: 'pw2' })).toBe('wrong_secret');
    expect(world.proven).toEqual([]);
    expect(await connect({ username: 'pump', password: 'pw1' })).toBe('pump');
    expect(world.proven).toEqual(['pump/s1:pw1']);
    await world.addCredential('machine', 'pw1');
    expect(await connect({ username: 'machine', password: 'pw1' })).toBe('machine');
    expect(world.proven).toHaveLength(1);
  });

  it('is counted until it is gone', async () => {
    await world.addImported('a', { algorithm: 'plain', hash: 'a' });
    await world.addImported('b', { algorithm: 'plain', hash: 'b' });
    await world.addImported('c', { algorithm: 'md5', hash: 'ab'.repeat(16) });
    const { lists } = world.model;
    expect(lists.importedSecrets()).toEqual({ plain: 2, md5: 1 });
    const secrets = [{ id: 'a', secretId: 's1', verifier: 'ours' }];
    await world.run({ type: 'RehashSecrets', data: { secrets } });
    await world.run({ type: 'RemoveCredential', data: { id: 'c' } });
    expect(lists.importedSecrets()).toEqual({ plain: 1 });
    await world.run({ type: 'RemoveSecret', data: { id: 'b', secretId: 's1' } });
    expect(lists.importedSecrets()).toEqual({});
  });
});
