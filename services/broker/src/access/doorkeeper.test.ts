import type { BanRule, DomainEvent } from '@sallyport/domain';
import { ANONYMOUS_ID } from '@sallyport/policy-client';
import { describe, expect, it } from 'vitest';
import { RateLimit } from '../listeners/rate-limit.ts';
import { BanList } from './ban-list.ts';
import { Doorkeeper } from './doorkeeper.ts';
import { Flapping } from './flapping.ts';
import { RefusedAttempts } from './refused-attempts.ts';

const thief: BanRule = { id: '1', kind: 'client_id', value: 'thief' };
const network: BanRule = { id: '2', kind: 'cidr', value: '2001:db8::/32' };

function setUp(bans: readonly BanRule[] = [], connectsMax = 0) {
  let now = 1000;
  const clock = (): number => now;
  const list = new BanList({ revision: 10, bans }, clock);
  const refused = new RefusedAttempts({ entriesMax: 10, keepMs: 1000, clock });
  const door = new Doorkeeper({
    bans: list,
    flapping: new Flapping({
      connectsMax,
      windowMs: 1000,
      blockMs: 1000,
      isExempt: () => false,
      onBlocked: () => undefined,
      clock,
    }),
    credentialRate: new RateLimit({ perSecond: 1, burst: 2, keysMax: 10, clock }),
    refused,
  });
  const asked = (clientId: string, peer = '192.0.2.1:5', username?: string) =>
    door.objection({ clientId, peer, username, listener: 'tcp:default' })?.reason;
  return { list, door, refused, asked, pass: (ms: number) => (now += ms) };
}

describe('Doorkeeper', () => {
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
    const { door } = setUp([thief]);
    const nobody = { credentialId: ANONYMOUS_ID, clientId: 'c', peer: '192.0.2.1:5' };
    for (let index = 0; index < 5; index++) expect(door.lastObjection(nobody)).toBeUndefined();
    expect(door.lastObjection({ ...nobody, clientId: 'thief' })?.verdict).toBe('banned');
  });

  it('objects again once it is known who it is: to a ban that came meanwhile, and to a credential that is too fast', () => {
    const { door, list } = setUp();
    const proven = { credentialId: 'k', clientId: 'c', username: 'late', peer: '192.0.2.1:5' };
    expect(door.lastObjection(proven)).toBeUndefined();
    expect(door.lastObjection(proven)).toBeUndefined();
    expect(door.lastObjection(proven)?.reason).toBe('credential_rate');
    expect(door.lastObjection({ ...proven, credentialId: 'other' })).toBeUndefined();
    const data = { id: '9', kind: 'username', value: 'late', by: 'test' } as const;
    expect(list.apply({ revision: 11, events: [{ type: 'BanAdded', data }] })).toBe(true);
    expect(door.lastObjection(proven)?.verdict).toBe('banned');
    expect(door.isBanned(proven)).toBe(true);
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
