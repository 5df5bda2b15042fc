import { type Credential, LIVE_SECRETS_MAX } from '@sallyport/domain';
import {
  decoyOf,
  DEFAULT_WORK,
  type HashWork,
  SecretBox,
  sealingContext,
  workOf,
} from '@sallyport/secrets';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { RefusalWork, SAMPLED_NAMES_MAX, SLOW_CHECKS_OF_REFUSAL } from './refusal-work.ts';
import { bytes, facts, World } from './testing/world.ts';

const BCRYPT = 'bcrypt 4';
const PBKDF2 = 'pbkdf2 sha512 3 64';
const DEFAULTS = Array<HashWork>(SLOW_CHECKS_OF_REFUSAL).fill(DEFAULT_WORK);

let world: World;
beforeEach(async () => {
  world = await World.open();
});
afterEach(async () => {
  vi.restoreAllMocks();
  await world[Symbol.asyncDispose]();
});

/** The outcome of a login with a password, and the slow hashes that were computed for it, by kind and parameters. */
async function attempt(username: string, password: Uint8Array = bytes('wrong')) {
  const verify = vi.spyOn(world.hasher, 'verify');
  const request = { facts: facts('c', username), password, minRevision: 0 };
  const answer = await world.policy.authenticate(request);
  const works = verify.mock.calls.map(([verifier]) => workOf(verifier)).filter(Boolean);
  verify.mockRestore();
  return { outcome: answer.ok ? 'admitted' : answer.reason, works: works.toSorted() };
}

/** Adds a credential whose one secret costs this work. */
async function add(
  id: string,
  work: HashWork | undefined,
  more: Parameters<World['addCredential']>[2] = {},
): Promise<void> {
  if (work === undefined) await world.addCredential(id, 'secret', more);
  else if (work === BCRYPT) {
    const hash = await world.hasher.hashPassword('right', { name: 'bcrypt', saltRounds: 4 });
    await world.addImported(id, { algorithm: 'bcrypt', hash }, more);
  } else {
    const [, digest, iterations] = work.split(' ');
    if (digest !== 'sha512') throw new Error('no such work');
    const hash = 'ab'.repeat(64);
    await world.addImported(
      id,
      { algorithm: 'pbkdf2', digest, iterations: Number(iterations), hash },
      more,
    );
  }
}

describe('the work of a refusal (threat I4)', () => {
  it.each([undefined, BCRYPT, PBKDF2])(
    'is the same for a wrong password, a closed credential and an ended secret: %s',
    async (work) => {
      await add('open', work);
      await add('closed', work, { enabled: false });
      await add('over', work, { validity: { until: world.now } });
      await add('ended', work);
      const secret = { ...world.secret('ended', 's2', 'x'), expiresAt: world.now + 1 };
      await world.run({ type: 'RotateSecret', data: { id: 'ended', secret, retireAt: world.now } });
      world.now += 2;
      const expected = [...(work === undefined ? [] : [work]), ...DEFAULTS]
        .slice(0, SLOW_CHECKS_OF_REFUSAL)
        .toSorted();
      expect(await attempt('open')).toEqual({ outcome: 'wrong_secret', works: expected });
      expect(await attempt('closed')).toEqual({ outcome: 'disabled', works: expected });
      expect(await attempt('over')).toEqual({ outcome: 'not_valid_now', works: expected });
      expect(await attempt('ended')).toEqual({ outcome: 'wrong_secret', works: expected });
      // Not even with the right one.
      if (work === BCRYPT)
        expect((await attempt('closed', bytes('right'))).works).toEqual(expected);
    },
  );

  it('is for a name that nobody has that of those who are known', async () => {
    expect((await attempt('nobody')).works).toEqual(DEFAULTS);
    await add('pump', BCRYPT);
    await attempt('pump');
    const expected = { outcome: 'unknown_client', works: [DEFAULT_WORK, BCRYPT] };
    expect(await attempt('nobody')).toEqual(expected);
    expect(await attempt('somebody')).toEqual(expected);
  });

  it('is learnt from those who come in, too, and a name that has gone is forgotten', async () => {
    await add('pump', BCRYPT);
    expect(await attempt('pump', bytes('right'))).toEqual({ outcome: 'admitted', works: [BCRYPT] });
    expect((await attempt('nobody')).works).toEqual([DEFAULT_WORK, BCRYPT]);
    await world.run({ type: 'RemoveCredential', data: { id: 'pump' } });
    await attempt('pump');
    expect((await attempt('nobody')).works).toEqual(DEFAULTS);
  });

  it('is that of all stores where a name has a credential in several, closed or not', async () => {
    await add('a', BCRYPT, { match: { username: 'pump' } });
    await add('b', PBKDF2, { match: { username: 'pump' }, store: 'cybus', enabled: false });
    await add('c', PBKDF2, { match: { username: 'pump' }, store: 'tbmq' });
    const works = [BCRYPT, PBKDF2, PBKDF2];
    expect((await attempt('pump')).works).toEqual(works);
    expect((await attempt('nobody')).works).toEqual(works);
  });

  it('is done for a password that is not UTF-8, whoever is asked for', async () => {
    const binary = Uint8Array.of(0xff, 0xfe);
    expect(await attempt('nobody', binary)).toEqual({ outcome: 'unknown_client', works: DEFAULTS });
    await add('machine', undefined);
    await add('pump', BCRYPT);
    const works = [DEFAULT_WORK, BCRYPT];
    expect(await attempt('machine', binary)).toEqual({ outcome: 'wrong_secret', works: DEFAULTS });
    expect(await attempt('pump', binary)).toEqual({ outcome: 'wrong_secret', works });
  });
});

describe('what is not slow of a refusal (threat I4)', () => {
  /** How many secrets are opened for it, and how many lookups made. */
  async function countsOf(username: string, password?: Uint8Array): Promise<number[]> {
    const open = vi.spyOn(world.box, 'open');
    const lookUp = vi.spyOn(world.model, 'credentialsByLogin');
    const request = { facts: facts('c', username), minRevision: 0 };
    await world.policy.authenticate({ ...request, ...(password && { password }) });
    const counts = [open, lookUp].map((one) => one.mock.calls.length);
    for (const one of [open, lookUp]) one.mockRestore();
    return counts;
  }

  it('is as much for a name that nobody has as for one in rotation, a closed one, and without a password', async () => {
    await add('pump', undefined);
    await add('closed', undefined, { enabled: false });
    await add('turned', undefined);
    const secret = world.secret('turned', 's2', 'x');
    const retireAt = world.now + 1_000;
    await world.run({ type: 'RotateSecret', data: { id: 'turned', secret, retireAt } });
    const names = ['nobody', 'pump', 'closed', 'turned'];
    // Once for each kind, because the first ones know nobody of the other.
    for (const name of names) await countsOf(name, bytes('wrong'));
    for (const name of names) {
      const opened = 2 * LIVE_SECRETS_MAX;
      expect(await countsOf(name, bytes('wrong')), name).toEqual([opened, 2]);
      expect(await countsOf(name), name).toEqual([0, 2]);
    }
  });

  it('is looked at in some who are known before the first stranger is refused, once', async () => {
    for (let index = 0; index < 200; index++) await add(`pump-${index}`, PBKDF2);
    const some = vi.spyOn(world.model, 'someCredentials');
    for (const name of ['nobody', 'somebody']) {
      expect((await attempt(name)).works).toEqual([DEFAULT_WORK, PBKDF2]);
    }
    expect(some).toHaveBeenCalledTimes(1);
  });
});

describe('the stand-in of a name that nobody has', () => {
  const box = new SecretBox(Buffer.alloc(32, 7));
  const NAMES = 2 * SAMPLED_NAMES_MAX;

  function known(name: string, work: HashWork): Credential {
    const verifier = box.seal(decoyOf(work), sealingContext({ kind: 'credential', id: name }));
    // What is looked at.
    return {
      id: name,
      secrets: [{ secretId: 's', verifier, createdAt: 0 }],
    } as unknown as Credential;
  }

  const newWork = () => new RefusalWork(box);

  const learnt = (from: number, to: number, work = newWork()): RefusalWork => {
    for (let index = from; index < to; index++) {
      const name = `known-${index}`;
      work.learn(facts('c', name), [known(name, index % 4 === 0 ? BCRYPT : DEFAULT_WORK)], 0);
    }
    return work;
  };

  const strangers = (work: RefusalWork): string[] =>
    Array.from({ length: 2000 }, (_, index) => work.of(facts('c', `stranger-${index}`), [], 0)).map(
      (works) => works.join(),
    );

  it('has each kind of work as often as those who are known', () => {
    const slow = strangers(learnt(0, NAMES)).filter((one) => one.includes(BCRYPT)).length;
    expect(slow / 2000).toBeGreaterThan(0.15);
    expect(slow / 2000).toBeLessThan(0.35);
  });

  it('is the same one at every try, on every replica, and whoever else comes again', () => {
    const work = learnt(0, NAMES);
    const before = strangers(work);
    // One who is hammered at counts once.
    for (let count = 0; count < 1000; count++) {
      work.of(facts('c', 'known-0'), [known('known-0', BCRYPT)], 0);
    }
    expect(strangers(work)).toEqual(before);
    expect(strangers(learnt(0, NAMES))).toEqual(before);
  });

  it('depends neither on the order in which they came, nor on who was forgotten meanwhile', () => {
    const expected = strangers(learnt(0, NAMES));
    const turned = newWork();
    for (let index = NAMES - 1; index >= 0; index--) learnt(index, index + 1, turned);
    expect(strangers(turned)).toEqual(expected);
    for (let index = 0; index < NAMES; index += 2) turned.of(facts('c', `known-${index}`), [], 0);
    expect(strangers(turned)).not.toEqual(expected);
    expect(strangers(learnt(0, NAMES, turned))).toEqual(expected);
  });

  it('stays for most when others come', () => {
    const work = learnt(0, NAMES);
    const before = strangers(work);
    const after = strangers(learnt(NAMES, NAMES + 40, work));
    const others = after.filter((one, index) => one !== before[index]).length;
    expect(others / 2000).toBeLessThan(0.1);
  });
});
