import type { BanRule, DomainEvent } from '@sallyport/domain';
import { ANONYMOUS_ID, type Principal } from '@sallyport/policy-client';
import type { Facts } from '@sallyport/rules';
import { describe, expect, it } from 'vitest';
import { openDoor } from '../../test-support/open-door.ts';
import { RateLimit } from '../listeners/rate-limit.ts';
import { BanList } from './ban-list.ts';
import { RefusedAttempts } from './refused-attempts.ts';

const thief: BanRule = { id: '1', kind: 'client_id', value: 'thief' };
const network: BanRule = { id: '2', kind: 'cidr', value: '2001:db8::/32' };

function setUp(bans: readonly BanRule[] = [], connectsMax = 0) {
  let now = 1000;
  const clock = (): number => now;
  const list = new BanList({ revision: 10, bans }, clock);
  const refused = new RefusedAttempts({ entriesMax: 10, keepMs: 1000, clock });
  const door = openDoor({
    clock,
    bans: list,
    flapping: { connectsMax, windowMs: 1000, blockMs: 1000 },
    credentialFlapping: { connectsMax, windowMs: 1000, blockMs: 1000 },
    guessing: { failuresMax: 2, delayMs: 1000, delayMsMax: 1000, forgetMs: 1000 },
    credentialRate: new RateLimit({ perSecond: 1, burst: 2, keysMax: 10, clock }),
    refused,
  });
  const proven = (changes: Partial<Facts> = {}, credentialId = 'k'): Principal => ({
    credentialId,
    store: 'native',
    secretId: 's',
    facts: { clientId: 'c', listener: 'tcp:default', peer: '192.0.2.1:5', ...changes },
  });
  const asked = (clientId: string, peer = '192.0.2.1:5', username?: string) =>
    door.objection({ clientId, peer, username, listener: 'tcp:default' })?.reason;
  return { list, door, refused, asked, proven, pass: (ms: number) => (now += ms) };
}

describe('Doorkeeper', () => {
  it('names the ban, and the revision of the list that has it', () => {
    const { list, door } = setUp([thief]);
    const caller = { clientId: 'thief', peer: '192.0.2.1:5', listener: 'tcp:default' };
    const by = { ruleId: 'ban:1', revision: 10 };
    expect(door.objection(caller)).toEqual({ verdict: 'banned', reason: 'banned', by });
    const events: DomainEvent[] = [
      { type: 'BanRemoved', data: thief },
      {
        type: 'BanAdded',
        data: { ...thief, id: '9', by: 'test' },
      },
    ];
    list.apply({ revision: 10, events });
    expect(door.banOf(caller)).toEqual(by);
    list.apply({ revision: 12, events });
    expect(door.banOf(caller)).toEqual({ ruleId: 'ban:9', revision: 12 });
    expect(door.banOf({ clientId: 'other' })).toBeUndefined();
  });

  it('objects to the banned: by client id, username, address and network', () => {
    const { asked } = setUp([
      thief,
      network,
      { id: '3', kind: 'username', value: 'eve' },
      { id: '4', kind: 'address', value: '192.0.2.66' },
    ]);
    expect(asked('thief')).toBe('banned');
    expect(asked('x', '[2001:db8:1::9]:5')).toBe('banned');
    expect(asked('x', '192.0.2.66:1')).toBe('banned');
    expect(asked('x', '192.0.2.1:1', 'eve')).toBe('banned');
    expect(asked('eve', '192.0.2.67:1', 'thief')).toBeUndefined();
  });

  it('objects to the flapping, and does not count the banned as such', () => {
    const { asked } = setUp([thief], 2);
    for (let index = 0; index < 5; index++) expect(asked('thief')).toBe('banned');
    expect([asked('c'), asked('c'), asked('c')]).toEqual([undefined, undefined, 'flapping']);
  });

  it('does not count those as one who have no credential; a ban meets them', () => {
    const { door, proven } = setUp([thief], 2);
    const nobody = proven({}, ANONYMOUS_ID);
    for (let index = 0; index < 5; index++) {
      expect(door.lastObjection(nobody)).toBeUndefined();
      door.ended(nobody, 1);
    }
    expect(door.lastObjection(proven({ clientId: 'thief' }, ANONYMOUS_ID))?.verdict).toBe('banned');
  });

  it('objects again once it is known who it is: to a ban that came meanwhile, and to a credential that is too fast', () => {
    const { door, list, proven } = setUp();
    const late = proven({ username: 'late' });
    expect(door.lastObjection(late)).toBeUndefined();
    expect(door.lastObjection(late)).toBeUndefined();
    expect(door.lastObjection(late)?.reason).toBe('credential_rate');
    expect(door.lastObjection(proven({ username: 'late' }, 'other'))).toBeUndefined();
    const data = { id: '9', kind: 'username', value: 'late', by: 'test' } as const;
    expect(list.apply({ revision: 11, events: [{ type: 'BanAdded', data }] })).toBe(true);
    expect(door.lastObjection(late)?.verdict).toBe('banned');
    expect(door.banOf(late.facts)).toMatchObject({ ruleId: 'ban:9' });
  });

  it('objects to who guesses, and not to who has the secret, nor to the same name from elsewhere (threat I5)', () => {
    const { door, asked, proven } = setUp();
    const guess = (password: string): void => {
      const caller = { clientId: password, username: 'pump', peer: '192.0.2.1:5' };
      door.unproven(caller, Buffer.from(password));
    };
    for (const password of ['1', '2']) guess(password);
    expect(door.lastObjection(proven({ username: 'pump' }))).toBeUndefined();
    for (const password of ['1', '2']) guess(password);
    expect(asked('new', '192.0.2.1:6', 'pump')).toBeUndefined();
    guess('3');
    expect(asked('new', '192.0.2.1:7', 'pump')).toBe('guessing');
    expect(asked('new', '192.0.2.2:7', 'pump')).toBeUndefined();
    expect(asked('new', '192.0.2.1:7', 'other')).toBeUndefined();
  });

  it('forgets no guess because of somebody who has proven no secret', () => {
    const { door, asked, proven } = setUp();
    const caller = { clientId: 'c', username: 'pump', peer: '192.0.2.1:5' };
    for (const password of ['1', '2', '3']) door.unproven(caller, Buffer.from(password));
    const { secretId: _none, ...without } = proven({ username: 'pump' });
    expect(door.lastObjection(without)).toBeUndefined();
    door.lastObjection(proven({ username: 'pump' }, ANONYMOUS_ID));
    expect(asked('c', '192.0.2.1:5', 'pump')).toBe('guessing');
  });

  it('blocks a credential from one source whose connections are short, whatever its client ids', () => {
    const { door, proven } = setUp([], 1);
    const one = proven({ clientId: 'a' });
    door.ended(one, 999);
    expect(door.lastObjection(proven({ clientId: 'b' }))?.reason).toBe('flapping');
    expect(door.lastObjection(proven({ peer: '192.0.2.2:1' }))).toBeUndefined();
    expect(door.lastObjection(proven({}, 'other'))).toBeUndefined();
  });

  it('counts clients that send no client id together, whatever was made up for them', () => {
    const { door, refused } = setUp();
    for (const clientId of ['auto-1', 'auto-2']) {
      const subject = { listener: 'tcp:default', peer: '192.0.2.1:5', clientId, username: 'u' };
      door.refused({ ...subject, clientIdAssigned: true }, 'wrong_secret');
    }
    expect(refused.all()).toMatchObject([{ username: 'u', clientId: undefined, count: 2 }]);
  });

  it('keeps where a refused client came from', () => {
    const { door, refused } = setUp();
    door.refused({ listener: 'tcp:default', peer: '[2001:db8::1]:9', clientId: 'c' }, 'banned');
    door.refused({ listener: 'ws:default', peer: undefined }, 'websocket_upgrade');
    expect(refused.all().map(({ address, reason }) => `${reason} ${address}`)).toEqual([
      'banned 2001:db8::1',
      'websocket_upgrade ',
    ]);
  });
});

describe('BanList', () => {
  it('takes nothing twice that it began with', () => {
    const { list, asked } = setUp([thief]);
    const removed: DomainEvent = { type: 'BanRemoved', data: thief };
    expect(list.apply({ revision: 10, events: [removed] })).toBe(false);
    expect(asked('thief')).toBe('banned');
    expect(list.apply({ revision: 11, events: [removed] })).toBe(false);
    expect(asked('thief')).toBeUndefined();
  });

  it('tells of a banned address as long as the ban lasts', () => {
    const { list, pass } = setUp([{ ...network, until: 1001 }]);
    expect(list.hasAddress('2001:db8::1')).toBe(true);
    expect(list.hasAddress('192.0.2.1')).toBe(false);
    pass(1);
    expect(list.hasAddress('2001:db8::1')).toBe(false);
  });
});
