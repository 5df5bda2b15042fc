import { randomBytes } from 'node:crypto';
import { NAME_BYTES_MAX, SCRAM_MECHANISMS, type ScramMechanism } from '@sallyport/domain';
import type { ScramFinalAnswer, ScramFirstAnswer } from '@sallyport/policy-client';
import type { Facts } from '@sallyport/rules';
import {
  formatScramVerifier,
  deriveScram,
  SCRAM_ITERATIONS,
  SCRAM_SALT_BYTES,
  sealingContext,
} from '@sallyport/secrets';
import { ScramClient, type ScramClientOptions } from '@sallyport/test-kit';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { MIN_REVISION_WAIT_MS, PolicyService } from '../service.ts';
import { bytes, facts, World } from '../testing/world.ts';
import { EXCHANGE_MS_MAX } from './exchange-states.ts';
import { ScramAuthenticator } from './scram-authenticator.ts';

let world: World;

beforeEach(async () => {
  world = await World.open();
});

afterEach(() => world[Symbol.asyncDispose]());

const client = (username: string, password: string, more: Partial<ScramClientOptions> = {}) =>
  new ScramClient({ mechanism: 'SCRAM-SHA-256', username, password, ...more });

interface Exchange {
  readonly facts?: Facts;
  readonly mechanism?: ScramMechanism;
  readonly exchangeId?: Uint8Array;
}

const ID = randomBytes(16);

const challenge = (message: Uint8Array, { facts: of, mechanism, exchangeId }: Exchange = {}) =>
  world.policy.scramFirst({
    facts: of ?? facts('c'),
    mechanism: mechanism ?? 'SCRAM-SHA-256',
    exchangeId: exchangeId ?? ID,
    message,
    minRevision: 0,
  });

const prove = (
  state: Uint8Array,
  message: Uint8Array,
  { facts: of, exchangeId }: Exchange = {},
  policy = world.policy,
) =>
  policy.scramFinal({
    facts: of ?? facts('c'),
    exchangeId: exchangeId ?? ID,
    state,
    message,
    minRevision: 0,
  });

function challenged(answer: ScramFirstAnswer) {
  if (!answer.ok) throw new Error(answer.reason);
  return answer;
}

/** A whole exchange, and whether the client takes the server for what it is. */
async function login(
  device: ScramClient,
  exchange: Exchange = {},
): Promise<ScramFinalAnswer & { readonly mutual?: boolean }> {
  const first = challenged(await challenge(device.first(), exchange));
  const answer = await prove(first.state, device.final(first.message), exchange);
  return answer.ok ? { ...answer, mutual: device.verifies(answer.message) } : answer;
}

describe('a SCRAM exchange', () => {
  it('is refused to a wrong password, only at the end', async () => {
    await world.addScramCredential('pump', 'right');
    for (const password of ['wrong', 'Right', 'right ', '']) {
      expect(await login(client('pump', password))).toMatchObject({
        ok: false,
        reason: 'wrong_secret',
      });
    }
  });

  it('is refused for a name that nobody has, and for a credential that was never asked to offer it', async () => {
    await world.addCredential('plain', 'right');
    await world.addScramCredential('half', 'right', { mechanisms: ['SCRAM-SHA-512'] });
    for (const name of ['nobody', 'plain', 'half', '__proto__', 'constructor']) {
      expect(await login(client(name, 'right'))).toMatchObject({ reason: 'unknown_client' });
    }
  });

  it('is refused to a disabled credential, at the end', async () => {
    await world.addScramCredential('pump', 'right', { enabled: false });
    expect(await login(client('pump', 'right'))).toMatchObject({ reason: 'disabled' });
  });

  it('is refused from the millisecond at which the secret ends', async () => {
    await world.addScramCredential('pump', 'old');
    const retireAt = world.now + 1000;
    const of = { username: 'pump', password: 'new' };
    const secret = await world.scramSecret('pump', 's2', of);
    await world.run({ type: 'RotateSecret', data: { id: 'pump', secret, retireAt } });
    world.now = retireAt - 1;
    expect(await login(client('pump', 'old'))).toMatchObject({
      principal: { secretId: 's1' },
      resolved: { secretExpiresAt: retireAt },
    });
    expect(await login(client('pump', 'new'))).toMatchObject({ principal: { secretId: 's2' } });
    world.now = retireAt;
    expect(await login(client('pump', 'old'))).toMatchObject({ reason: 'wrong_secret' });
    expect(await login(client('pump', 'new'))).toMatchObject({ ok: true });
  });

  it('is refused when the credential, or the secret, changes between challenge and proof', async () => {
    const changes = {
      disabled: (id: string) =>
        world.run({ type: 'ChangeCredential', data: { id, changes: { enabled: false } } }),
      removed: (id: string) => world.run({ type: 'RemoveCredential', data: { id } }),
      rotated: async (id: string) => {
        const secret = await world.scramSecret(id, 's2', { username: id, password: 'new' });
        await world.run({ type: 'RotateSecret', data: { id, secret, retireAt: world.now } });
      },
      stripped: (id: string) =>
        world.run({
          type: 'ChangeCredential',
          data: { id, changes: {}, secret: world.secret(id, 's2', 'right') },
        }),
    };
    for (const [id, change] of Object.entries(changes)) {
      await world.addScramCredential(id, 'right');
      const device = client(id, 'right');
      const first = challenged(await challenge(device.first()));
      await change(id);
      expect((await prove(first.state, device.final(first.message))).ok, id).toBe(false);
    }
  });

  it.each([...SCRAM_MECHANISMS])('%s admits who proves the password', async (mechanism) => {
    await world.addScramCredential('pump', 'right', { mechanisms: SCRAM_MECHANISMS });
    const answer = await login(client('pump', 'right', { mechanism }), { mechanism });
    expect(answer).toMatchObject({
      ok: true,
      mutual: true,
      revision: world.model.revision,
      principal: {
        credentialId: 'pump',
        secretId: 's1',
        facts: { clientId: 'c', username: 'pump', listener: 'tcp:default' },
      },
    });
  });

  it('admits to the same policy as the password does, with what it depends on', async () => {
    await world.addScramCredential('pump', 'right');
    await world.rules(
      { kind: 'username', name: 'pump' },
      {
        effect: 'allow',
        action: 'all',
        topicFilter: 'a/#',
      },
    );
    const answer = await login(client('pump', 'right'));
    const plain = await world.policy.authenticate({
      facts: facts('c', 'pump'),
      password: bytes('right'),
      minRevision: 0,
    });
    if (!answer.ok || !plain.ok) throw new Error('refused');
    expect(answer.policy).toEqual(plain.policy);
    expect(answer.resolved).toEqual(plain.resolved);
    const proven = { ...plain.principal.facts, methods: ['scram'] };
    expect(answer.principal).toEqual({ ...plain.principal, facts: proven });
    const resolved = await world.policy.resolve({ principals: [answer.principal], minRevision: 0 });
    expect(resolved.results[0]?.policyId).toBe(plain.policy.policyId);
  });

  it('admits the most specific credential that was proven, stores in order', async () => {
    await world.addScramCredential('by-user', 'p', { match: { username: 'u' } });
    await world.addScramCredential('other', 'q', { match: { username: 'u' }, store: 'tbmq' });
    expect(await login(client('u', 'q'))).toMatchObject({ principal: { credentialId: 'other' } });
    await world.addScramCredential('by-both', 'p', { match: { username: 'u', clientId: 'c' } });
    const elsewhere = { facts: facts('d') };
    expect(await login(client('u', 'p'))).toMatchObject({ principal: { credentialId: 'by-both' } });
    expect(await login(client('u', 'p'), elsewhere)).toMatchObject({
      principal: { credentialId: 'by-user' },
    });
    await world.run({
      type: 'ChangeCredential',
      data: { id: 'by-both', changes: { enabled: false } },
    });
    expect(await login(client('u', 'p'))).toMatchObject({ principal: { credentialId: 'by-user' } });
  });

  it('goes on with keys that have a salt and a count of their own, as imported ones have', async () => {
    const salt = randomBytes(20);
    const keys = { mechanism: 'SCRAM-SHA-256', iterations: 4096, salt } as const;
    const text = formatScramVerifier(await deriveScram(keys, 'right'));
    await world.addCredential('pump', 'right');
    const context = sealingContext({ kind: 'credential', id: 'pump' });
    const scram = [{ mechanism: keys.mechanism, verifier: world.box.seal(text, context) }];
    const secret = { ...world.secret('pump', 's2', 'right'), scram };
    await world.run({ type: 'RotateSecret', data: { id: 'pump', secret, retireAt: world.now } });
    const device = client('pump', 'right');
    const { message } = challenged(await challenge(device.first()));
    expect(device.read(message)).toMatchObject({ salt, iterations: 4096 });
    expect(await login(client('pump', 'right'))).toMatchObject({ ok: true, mutual: true });
  });

  it('survives a change of the user name', async () => {
    await world.addScramCredential('pump', 'right');
    const changes = { match: { username: 'pomp' } };
    await world.run({ type: 'ChangeCredential', data: { id: 'pump', changes } });
    expect(await login(client('pomp', 'right'))).toMatchObject({ ok: true, mutual: true });
    expect(await login(client('pump', 'right'))).toMatchObject({ reason: 'unknown_client' });
  });

  it('is finished by another replica with the same key, and by none with another', async () => {
    await world.addScramCredential('pump', 'right');
    const device = client('pump', 'right');
    const first = challenged(await challenge(device.first()));
    const proof = device.final(first.message);
    const { model, box, hasher } = world;
    const replica = new PolicyService({ model, box, hasher, clock: () => world.now });
    expect(await prove(first.state, proof, {}, replica)).toMatchObject({ ok: true });
    const stranger = await World.open();
    expect(await prove(first.state, proof, {}, stranger.policy)).toMatchObject({
      reason: 'stale_exchange',
    });
    await stranger[Symbol.asyncDispose]();
  });

  it('fails rather than answer from an older revision than it is asked for', async () => {
    const revision = await world.addScramCredential('pump', 'right');
    const request = { facts: facts('c'), exchangeId: ID, minRevision: revision + 1 };
    const message = client('pump', 'right').first();
    const started = performance.now();
    await expect(
      world.policy.scramFirst({ ...request, mechanism: 'SCRAM-SHA-256', message }),
    ).rejects.toMatchObject({ code: 'policy_not_ready' });
    expect(performance.now() - started).toBeGreaterThan(MIN_REVISION_WAIT_MS - 50);
    await expect(
      world.policy.scramFinal({ ...request, state: Buffer.alloc(0), message }),
    ).rejects.toMatchObject({ code: 'policy_not_ready' });
  });

  it('refuses to guess when keys are sealed under another deployment key', async () => {
    const other = await World.open();
    await world.addCredential('pump', 'p');
    const secret = await other.scramSecret('pump', 's2', { username: 'pump', password: 'p' });
    await other[Symbol.asyncDispose]();
    await world.run({ type: 'RotateSecret', data: { id: 'pump', secret, retireAt: world.now } });
    await expect(challenge(client('pump', 'p').first())).rejects.toMatchObject({
      code: 'sealing_key_mismatch',
    });
  });
});

describe('the user name', () => {
  it('is refused when CONNECT names another, and taken when it names the same or none', async () => {
    await world.addScramCredential('pump', 'right');
    for (const other of ['pomp', 'Pump', 'pump ', '\u202e']) {
      const answer = await challenge(client('pump', 'right').first(), { facts: facts('c', other) });
      expect(answer, other).toMatchObject({ ok: false, reason: 'username_mismatch' });
    }
    for (const same of ['pump', 'pu\u00admp', '', undefined]) {
      const answer = await login(client('pump', 'right'), { facts: facts('c', same) });
      expect(answer, same).toMatchObject({ ok: true, principal: { facts: { username: 'pump' } } });
    }
  });

  it('may hold what SCRAM has to escape', async () => {
    for (const name of ['a,b', 'a=b', '=2C', '=,=3D,', 'ü\u{1f600}']) {
      await world.addScramCredential(name, 'right');
      expect(await login(client(name, 'right')), name).toMatchObject({
        ok: true,
        mutual: true,
        principal: { facts: { username: name } },
      });
    }
  });

  it('is prepared, whatever the client did, and signed as it came', async () => {
    await world.addScramCredential('IX', 'right');
    for (const name of ['I\u00adX', '\u2168', 'IX']) {
      expect(await login(client(name, 'right')), name).toMatchObject({
        ok: true,
        mutual: true,
        principal: { facts: { username: 'IX' } },
      });
    }
  });

  it('is refused when SASLprep leaves nothing of it, or prohibits it, or it is too long', async () => {
    const refused = [
      '\u00ad',
      'a\u202eb',
      'a\u0007',
      '\u0627\u0031',
      'x'.repeat(NAME_BYTES_MAX + 1),
    ];
    for (const name of refused) {
      const answer = await challenge(client(name, 'p').first());
      expect(answer, name).toMatchObject({ ok: false, reason: 'malformed' });
    }
    expect(await challenge(client('x'.repeat(NAME_BYTES_MAX), 'p').first())).toMatchObject({
      ok: true,
    });
  });

  it('is what is proven: a credential that matches none, or needs no password, opens by none', async () => {
    await world.addCredential('by-client', 'right', { match: { clientId: 'c' } });
    await world.addCredential('open', undefined);
    for (const name of ['whoever', 'open']) {
      expect((await login(client(name, 'right'))).ok).toBe(false);
    }
  });
});

describe('a challenge', () => {
  it('tells nothing of whether the name exists, is enabled, or has SCRAM', async () => {
    const asked = async (name: string, clientId = 'c') => {
      const device = client(name, '');
      const answer = challenged(await challenge(device.first(), { facts: facts(clientId) }));
      const { nonce, ...rest } = device.read(answer.message);
      expect(rest.salt).toHaveLength(SCRAM_SALT_BYTES);
      expect(rest.iterations).toBe(SCRAM_ITERATIONS);
      const lengths = [nonce.length - device.nonce.length, answer.state.length];
      return JSON.stringify({ ...rest, lengths });
    };
    const before = await asked('pump');
    expect(await asked('pump', 'd')).toBe(before);
    await world.addCredential('pump', 'p');
    expect(await asked('pump')).toBe(before);
    const secret = await world.scramSecret('pump', 's2', { username: 'pump', password: 'p' });
    await world.run({ type: 'RotateSecret', data: { id: 'pump', secret, retireAt: world.now } });
    expect(await asked('pump')).toBe(before);
    const change = (changes: object) =>
      world.run({ type: 'ChangeCredential', data: { id: 'pump', changes } });
    await change({ enabled: false });
    expect(await asked('pump')).toBe(before);
    // A device of which the client id is known too cannot be told from one that is not there.
    await change({ enabled: true, match: { username: 'pump', clientId: 'c' } });
    expect(await asked('pump', 'd')).toBe(before);
    expect(await asked('pump', 'c')).toBe(before);
    await world.run({ type: 'RemoveCredential', data: { id: 'pump' } });
    expect(await asked('pump')).toBe(before);
    expect(await asked('pomp')).not.toBe(before);
  });

  it('is fresh each time, and begins with the nonce of the client', async () => {
    const nonces = new Set<string>();
    for (let i = 0; i < 100; i++) {
      const device = client('pump', '', { nonce: 'always-the-same' });
      const { message } = challenged(await challenge(device.first()));
      const { nonce } = device.read(message);
      expect(nonce.slice('always-the-same'.length)).toMatch(/^[\w+/]{24}$/);
      nonces.add(nonce);
    }
    expect(nonces.size).toBe(100);
  });

  it('is refused to what is malformed or binds a channel', async () => {
    const first = (header: string) => client('pump', 'right', { header }).first();
    expect(await challenge(first('p=tls-unique,,'))).toMatchObject({ reason: 'channel_binding' });
    expect(await challenge(first('n,a=root,'))).toMatchObject({ reason: 'malformed' });
    expect(await challenge(Buffer.alloc(0))).toMatchObject({ reason: 'malformed' });
    expect(await challenge(Buffer.alloc(100_000, 'n'))).toMatchObject({ reason: 'malformed' });
  });
});

describe('a proof', () => {
  const begun = async (header?: string) => {
    await world.addScramCredential('pump', 'right');
    const device = client('pump', 'right', header === undefined ? {} : { header });
    const first = challenged(await challenge(device.first()));
    return { device, ...first };
  };

  it('is taken from a client that knows channel binding and thinks that we do not', async () => {
    const { device, state, message } = await begun('y,,');
    expect(await prove(state, device.final(message))).toMatchObject({ ok: true });
  });

  it('is refused when it says another header than the beginning', async () => {
    const { device, state, message } = await begun('n,,');
    const { nonce } = device.read(message);
    for (const header of ['y,,', 'p=tls-unique,,', 'n,a=root,', '']) {
      const binding = Buffer.from(header).toString('base64');
      const final = device.final(message, `c=${binding},r=${nonce}`);
      expect(await prove(state, final), header).toMatchObject({ reason: 'channel_binding' });
    }
    const padded = device.final(message, `c=biws=,r=${nonce}`);
    expect(await prove(state, padded)).toMatchObject({ reason: 'channel_binding' });
  });

  it('is refused for any other nonce than the one that was given', async () => {
    const { device, state, message } = await begun();
    const { nonce } = device.read(message);
    for (const other of [device.nonce, `${nonce}x`, nonce.slice(0, -1), nonce.toUpperCase(), 'x']) {
      const final = device.final(message, `c=biws,r=${other}`);
      expect(await prove(state, final), other).toMatchObject({ reason: 'malformed' });
    }
  });

  it('is refused with any byte of it changed, and with any cut off', async () => {
    const { device, state, message } = await begun();
    const final = device.final(message);
    for (let index = 0; index < final.length; index++) {
      const changed = Buffer.from(final);
      changed[index] = (changed[index] ?? 0) ^ 1;
      expect((await prove(state, changed)).ok, `${index}`).toBe(false);
      expect((await prove(state, final.subarray(0, index))).ok, `${index}`).toBe(false);
    }
    expect((await prove(state, Buffer.concat([final, Buffer.from([0])]))).ok).toBe(false);
    expect((await prove(state, final)).ok).toBe(true);
  });

  it('with an extension that must be understood is refused, with another it is signed along', async () => {
    const { device, state, message } = await begun();
    const { nonce } = device.read(message);
    const mandatory = device.final(message, `c=biws,r=${nonce},m=x`);
    expect(await prove(state, mandatory)).toMatchObject({ reason: 'malformed' });
    const optional = device.final(message, `c=biws,r=${nonce},x=1`);
    expect(await prove(state, optional)).toMatchObject({ ok: true });
  });

  it('opens nothing under another challenge of the same client', async () => {
    const { device, message } = await begun();
    const again = challenged(await challenge(device.first()));
    expect((await prove(again.state, device.final(message))).ok).toBe(false);
  });

  it('opens nothing by weaker parameters than those that were given', async () => {
    const { device, state, message } = await begun();
    const weak = Buffer.from(String(message).replace(/i=\d+$/, 'i=4096'));
    expect(await prove(state, device.final(weak))).toMatchObject({ reason: 'wrong_secret' });
  });
});

describe('the state between the halves', () => {
  const begun = async () => {
    await world.addScramCredential('pump', 'right');
    const device = client('pump', 'right');
    const { state, message } = challenged(await challenge(device.first()));
    return { state, proof: device.final(message) };
  };

  it('is good for 30 seconds, to the millisecond', async () => {
    const { state, proof } = await begun();
    world.now += EXCHANGE_MS_MAX - 1;
    expect(await prove(state, proof)).toMatchObject({ ok: true });
    world.now += 1;
    expect(await prove(state, proof)).toMatchObject({ reason: 'stale_exchange' });
    expect(EXCHANGE_MS_MAX).toBe(30_000);
  });

  it('is good for no other connection', async () => {
    const { state, proof } = await begun();
    const others: readonly Exchange[] = [
      { exchangeId: randomBytes(16) },
      { facts: facts('d') },
      { facts: facts('c', 'pump') },
      { facts: { ...facts('c'), listener: 'ssl:default' } },
      { facts: { ...facts('c'), peer: '192.0.2.1:1' } },
    ];
    for (const other of others) {
      expect(await prove(state, proof, other)).toMatchObject({ reason: 'stale_exchange' });
    }
    expect(await prove(state, proof)).toMatchObject({ ok: true });
  });

  it('is refused with any byte of it changed, cut off or added', async () => {
    const { state, proof } = await begun();
    for (let index = 0; index < state.length; index++) {
      const changed = Buffer.from(state);
      changed[index] = (changed[index] ?? 0) ^ 1;
      const answers = [await prove(changed, proof), await prove(state.subarray(0, index), proof)];
      for (const answer of answers) {
        expect(answer, `${index}`).toMatchObject({ reason: 'stale_exchange' });
      }
    }
    const longer = Buffer.concat([state, Buffer.from(' ')]);
    expect(await prove(longer, proof)).toMatchObject({ reason: 'stale_exchange' });
    expect(await prove(Buffer.alloc(0), proof)).toMatchObject({ reason: 'stale_exchange' });
  });

  it('is refused to a caller that gives it no id of full length', async () => {
    for (const length of [0, 15, 17]) {
      await expect(
        challenge(client('pump', 'right').first(), { exchangeId: randomBytes(length) }),
      ).rejects.toMatchObject({ code: 'invalid_request' });
    }
  });
});

describe('time', () => {
  it('as many credentials are read for a name that nobody has as for one that somebody has', async () => {
    await world.addScramCredential('pump', 'right');
    let read = 0;
    const { model, box, hasher } = world;
    const lookup = {
      credentialsByLogin: (...keys: readonly string[]) => {
        const found = model.credentialsByLogin(...keys);
        read += found.length;
        return found;
      },
      patternCredentials: () => model.patternCredentials(),
      settings: () => model.settings(),
      authChain: (scope: string) => model.authChain(scope),
    };
    const scram = new ScramAuthenticator({ lookup, box, hasher });
    const request = { facts: facts('c'), exchangeId: ID, mechanism: 'SCRAM-SHA-256' } as const;
    const reads = ['pump', 'pomp', 'pump', 'pemp'].map((name) => {
      read = 0;
      const answer = scram.first({ ...request, message: client(name, '').first() }, world.now);
      return answer.ok && read;
    });
    expect(reads).toEqual([1, 1, 1, 1]);
  });

  it('a name that nobody has is answered in the time of one that somebody has (threat I4)', async () => {
    await world.addScramCredential('pump', 'right');
    const times = { pump: [] as number[], pomp: [] as number[] };
    const run = async (name: 'pump' | 'pomp') => {
      const device = client(name, 'wrong');
      // The client's part costs much more than ours, and is not measured: any proof will do.
      const first = device.first();
      const started = performance.now();
      const { state, message } = challenged(await challenge(first));
      const { nonce } = device.read(message);
      const final = Buffer.from(`c=biws,r=${nonce},p=${Buffer.alloc(32).toString('base64')}`);
      expect((await prove(state, final)).ok).toBe(false);
      times[name].push(performance.now() - started);
    };
    for (let round = 0; round < 2000; round++) {
      await run(round % 2 === 0 ? 'pump' : 'pomp');
      await run(round % 2 === 0 ? 'pomp' : 'pump');
    }
    const [known, unknown] = [times.pump, times.pomp].map((all) =>
      all.slice(200).sort((a, b) => a - b),
    ) as [number[], number[]];
    const at = (sorted: number[], part: number) => sorted[Math.floor(sorted.length * part)] ?? 0;
    // Overlap: the middle of each lies well inside the other.
    for (const [one, other] of [
      [known, unknown],
      [unknown, known],
    ] as const) {
      expect(at(one, 0.5)).toBeGreaterThan(at(other, 0.1));
      expect(at(one, 0.5)).toBeLessThan(at(other, 0.9));
    }
  });
});
