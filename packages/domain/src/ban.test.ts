import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { commit, given, onRevision } from '../test/given.ts';
import {
  BAN_BY_BYTES_MAX,
  BAN_PATTERN_KINDS,
  BAN_PATTERNS_MAX,
  BAN_REASON_BYTES_MAX,
  type BanEvent,
  type BanFields,
  BANS_MAX,
  EXPIRED_BANS_REMOVED_MAX,
} from './ban.ts';
import { BanIndex, type BanRule } from './ban-index.ts';
import { affects } from './cache-tags.ts';
import type { Command, PlannedCommand } from './domain.ts';
import { scopeOf } from './scope.ts';
import { streamOf } from './streams.ts';
import { startOf, parseIpAddress, parseIpNetwork } from './ip-address.ts';

const AT = 1000;

const fields = (changes: Partial<BanFields> = {}): BanFields => ({
  id: 'b1',
  kind: 'client_id',
  value: 'thief',
  by: 'operator:admin',
  ...changes,
});
const add = (changes: Partial<BanFields> = {}): Command => ({
  type: 'AddBan',
  data: fields(changes),
});
const added = (changes: Partial<BanFields> = {}): BanEvent => ({
  type: 'BanAdded',
  data: fields(changes),
});
const remove = (id = 'b1'): Command => ({ type: 'RemoveBan', data: { id } });

describe('AddBan', () => {
  it.each([
    [{ value: '' }, '/value'],
    [{ value: 'x'.repeat(257) }, '/value'],
    [{ value: 'a\u0000b' }, '/value'],
    [{ kind: 'address', value: '1.2.3' }, '/value'],
    [{ kind: 'address', value: '1.2.3.0/24' }, '/value'],
    [{ kind: 'cidr', value: '1.2.3.4' }, '/value'],
    [{ reason: '' }, '/reason'],
    [{ reason: 'x'.repeat(BAN_REASON_BYTES_MAX + 1) }, '/reason'],
    [{ by: '' }, '/by'],
    [{ by: 'x'.repeat(BAN_BY_BYTES_MAX + 1) }, '/by'],
    [{ until: AT }, '/until'],
    [{ until: Number.NaN }, '/until'],
    [{ bannedAt: -1 }, '/bannedAt'],
    [{ bannedAt: 0.5 }, '/bannedAt'],
  ] as [Partial<BanFields>, string][])('refuses %j and names %s', (changes, pointer) => {
    const { problems } = given().when(add(changes), AT).thenRejected('ban_invalid');
    expect(problems?.[0]?.pointer).toBe(pointer);
  });

  it('takes the longest name, reason and author, and an end just ahead', () => {
    const by = 'x'.repeat(BAN_BY_BYTES_MAX);
    const longest = { value: 'x'.repeat(256), reason: 'r'.repeat(BAN_REASON_BYTES_MAX), by };
    given()
      .when(add({ ...longest, until: AT + 1 }), AT)
      .then(added({ ...longest, until: AT + 1 }));
  });

  it('knows names that JavaScript has for itself', () => {
    for (const value of ['__proto__', 'constructor', 'toString']) {
      const world = given().when(add({ value })).thenGiven();
      expect(world.state.banByValue('client_id', value)?.id).toBe('b1');
      expect(world.state.banByValue('client_id', 'hasOwnProperty')).toBeUndefined();
    }
  });

  it('writes an address and a network in their one text', () => {
    given()
      .when(add({ kind: 'address', value: '::FFFF:192.0.2.1' }))
      .then(added({ kind: 'address', value: '192.0.2.1' }));
    given()
      .when(add({ kind: 'cidr', value: '2001:DB8::1/32' }))
      .then(added({ kind: 'cidr', value: '2001:db8::/32' }));
  });

  it('replaces a ban of the same kind and value, which keeps its id and when it was made', () => {
    const world = given(commit(added({ reason: 'old', until: AT + 5 })))
      .when(add({ id: 'b2', reason: 'new' }))
      .thenGiven();
    expect(world.state.ban('b2')).toBeUndefined();
    expect(world.state.ban('b1')).toEqual({
      ...fields({ reason: 'new' }),
      createdAt: 1,
      createdRevision: 1,
      updatedAt: AT,
      updatedRevision: 2,
    });
    world.when(add({ id: 'b3', reason: 'new' })).then();
  });

  it('remembers when it was made elsewhere, which says nothing of whether it holds', () => {
    const later = AT + 1_000_000;
    const world = given()
      .when(add({ bannedAt: later }), AT)
      .thenGiven();
    expect(world.state.ban('b1')).toMatchObject({ bannedAt: later, createdAt: AT });
    const index = new BanIndex();
    index.add(fields({ bannedAt: later }));
    expect(index.find({ clientId: 'thief' }, AT)).toBeDefined();
    world.when(add({ bannedAt: later })).then();
    world.when(add({ bannedAt: 0 })).then(added({ bannedAt: 0 }));
    world.when(add()).then(added());
  });

  it('of another kind is another ban', () => {
    given(commit(added()))
      .when(add({ id: 'b2', kind: 'username' }))
      .thenAccepted();
    given(commit(added()))
      .when(add({ kind: 'username' }))
      .thenRejected('ban_exists');
  });

  it('holds to the revision that it is asked to find', () => {
    const past = commit(added());
    given(past)
      .when(onRevision(add({ reason: 'x' }), 0))
      .thenRejected('precondition_failed');
    given(past)
      .when(onRevision(add({ reason: 'x' }), 1))
      .thenAccepted();
    given().when(onRevision(add(), 1)).thenRejected('precondition_failed');
    given().when(onRevision(add(), 0)).thenAccepted();
  });

  it(`takes ${BANS_MAX} bans and not one more, unless some have run out: those it removes`, () => {
    const many = (until?: number) =>
      Array.from({ length: BANS_MAX }, (_, index) =>
        added({ id: `${index}`, value: `c${index}`, ...(until !== undefined && { until }) }),
      );
    const full = given(commit(...many().slice(1)))
      .when(add({ id: 'last', value: 'last' }), AT)
      .thenGiven();
    full.when(add({ id: 'more', value: 'more' }), AT).thenRejected('too_many_bans');
    full.when(add({ id: 'more', value: 'last', reason: 'replaced' }), AT).thenAccepted();
    const over = given(commit(...many(AT)));
    const room = over.when(add(), AT).thenGiven();
    expect(room.state.banCount()).toBe(BANS_MAX - EXPIRED_BANS_REMOVED_MAX + 1);
    over.when(add(), AT - 1).thenRejected('too_many_bans');
  });
});

describe('a ban by a regular expression', () => {
  const pattern = (index: number, more: Partial<BanFields> = {}): Partial<BanFields> => ({
    id: `p${index}`,
    kind: BAN_PATTERN_KINDS[index % BAN_PATTERN_KINDS.length] ?? 'username_pattern',
    value: `^thief-${index}-`,
    ...more,
  });

  it.each(['a(', '(?=a)', '(a)\\1', '*'])('refuses %s, and names where it stands', (value) => {
    for (const kind of BAN_PATTERN_KINDS) {
      const { problems } = given().when(add({ kind, value }), AT).thenRejected('pattern_invalid');
      expect(problems).toMatchObject([{ pointer: '/value' }]);
    }
  });

  it.each(['', 'x'.repeat(257)])('has the length of a name', (value) => {
    given()
      .when(add({ kind: 'client_id_pattern', value }), AT)
      .thenRejected('ban_invalid');
  });

  it(`is one of at most ${BAN_PATTERNS_MAX}, unless some have run out; others still fit`, () => {
    const many = Array.from({ length: BAN_PATTERNS_MAX }, (_, index) => pattern(index));
    const full = given(commit(...many.map((one) => added(one))));
    full.when(add(pattern(1000)), AT).thenRejected('too_many_bans');
    full.when(add(), AT).thenAccepted();
    // The same again is no more of them.
    full.when(add(pattern(3, { reason: 'again' })), AT).thenAccepted();
    const below = given(commit(...many.slice(1).map((one) => added(one))));
    below.when(add(pattern(1000)), AT).thenAccepted();
    const over = given(
      commit(...many.slice(1).map((one) => added(one)), added(pattern(0, { until: AT }))),
    );
    over.when(add(pattern(1000)), AT).thenAccepted();
  });

  it('is counted among those of its own commit', () => {
    const many = Array.from({ length: BAN_PATTERNS_MAX }, (_, index) => add(pattern(index)));
    const together = (commands: readonly Command[]): Command => ({
      type: 'ChangeTogether',
      data: { commands: commands as readonly PlannedCommand[] },
    });
    given().when(together(many), AT).thenAccepted();
    given()
      .when(together([...many, add(pattern(1000))]), AT)
      .thenRejected('too_many_bans');
  });

  it('is searched in the name of its kind, until it ends or is lifted', () => {
    const index = new BanIndex();
    const one = { id: 'a', kind: 'client_id_pattern', value: 'thief', until: AT } as const;
    const two = { id: 'b', kind: 'username_pattern', value: '^ada$' } as const;
    index.apply({ type: 'BanAdded', data: { ...one, by: 'x' } });
    index.apply({ type: 'BanAdded', data: { ...two, by: 'x' } });
    expect([index.size, index.patterns]).toEqual([2, 2]);
    const found = (facts: object, at = AT - 1) => index.find(facts, at)?.id;
    expect(found({ clientId: 'the thief of 7' })).toBe('a');
    expect(found({ clientId: 'the thief of 7' }, AT)).toBeUndefined();
    expect(found({ clientId: 'THIEF', username: 'thief' })).toBeUndefined();
    expect(found({ clientId: 'ada', username: 'ada' })).toBe('b');
    expect(found({ clientId: 'ada', username: 'adam' })).toBeUndefined();
    expect(found({ clientId: 'ada' })).toBeUndefined();
    expect(found({ address: '192.0.2.1' })).toBeUndefined();
    const three = { id: 'c', kind: 'address_pattern', value: '^192\\.0\\.2\\.1?1$' } as const;
    index.add(three);
    expect([found({ address: '192.0.2.11' }), found({ address: '192.0.2.1' })]).toEqual(['c', 'c']);
    expect([found({ address: '192.0.2.21' }), found({ clientId: '192.0.2.1' })]).toEqual([
      undefined,
      undefined,
    ]);
    index.remove(three);
    index.remove(two);
    expect(found({ clientId: 'c', username: 'ada' })).toBeUndefined();
    expect(index.patterns).toBe(1);
  });
});

describe('RemoveBan', () => {
  it('refuses what is not there, and what has changed since', () => {
    given().when(remove()).thenRejected('ban_not_found');
    given(commit(added())).when(onRevision(remove(), 7)).thenRejected('precondition_failed');
  });

  it('names whom it is about', () => {
    const event: BanEvent = {
      type: 'BanRemoved',
      data: { id: 'b1', kind: 'client_id', value: 'thief' },
    };
    given(commit(added())).when(remove()).then(event);
    expect(affects(event)).toEqual(['ban:client_id:thief']);
    expect(streamOf(event)).toEqual({ aggregate: 'ban', key: 'b1' });
    expect(given(commit(added()), commit(event)).state.banCount()).toBe(0);
  });

  it('is decided after, never beside, another change of bans', () => {
    expect(scopeOf(add())).toEqual(scopeOf(remove('b9')));
  });
});

describe('BanIndex', () => {
  const index = (...bans: Partial<BanRule>[]): BanIndex =>
    new BanIndex(bans.map((ban) => fields(ban)));

  it('finds nobody when it is empty, and nobody by something that was not said', () => {
    const facts = { clientId: 'thief', username: 'thief', address: '192.0.2.1' };
    expect(index().find(facts, AT)).toBeUndefined();
    const some = index({}, { kind: 'username', value: 'eve' }, { kind: 'cidr', value: '::/0' });
    expect(some.find({}, AT)).toBeUndefined();
    expect(
      some.find({ clientId: 'eve', username: 'thief', address: 'rubbish' }, AT),
    ).toBeUndefined();
  });

  it('finds a ban up to its end, and not at it', () => {
    const bans = index({ until: AT }, { kind: 'cidr', value: '10.0.0.0/8', until: AT });
    expect(bans.find({ clientId: 'thief' }, AT - 1)?.value).toBe('thief');
    expect(bans.find({ clientId: 'thief' }, AT)).toBeUndefined();
    expect(bans.find({ address: '10.9.9.9' }, AT - 1)?.value).toBe('10.0.0.0/8');
    expect(bans.find({ address: '10.9.9.9' }, AT)).toBeUndefined();
  });

  it('a network that has run out hides no wider one', () => {
    const bans = index(
      { kind: 'cidr', value: '10.0.0.0/16', until: AT },
      { kind: 'cidr', value: '10.0.0.0/8' },
    );
    expect(bans.find({ address: '10.0.0.1' }, AT)?.value).toBe('10.0.0.0/8');
  });

  it('a ban of IPv4 is none of IPv6', () => {
    const all4 = index({ kind: 'cidr', value: '0.0.0.0/0' });
    expect(all4.find({ address: '2001:db8::1' }, AT)).toBeUndefined();
    expect(all4.find({ address: '255.255.255.255' }, AT)).toBeDefined();
  });

  it('forgets what is removed', () => {
    const bans = index({}, { kind: 'cidr', value: '10.0.0.0/8' });
    expect(bans.size).toBe(2);
    bans.apply({ type: 'BanRemoved', data: fields({ kind: 'cidr', value: '10.0.0.0/8' }) });
    bans.apply({ type: 'BanRemoved', data: fields() });
    bans.remove({ kind: 'cidr', value: '11.0.0.0/8' });
    expect(bans.size).toBe(0);
  });

  it('finds addresses as a look at every network would', () => {
    const octet = fc.integer({ min: 0, max: 3 });
    const v4 = fc.tuple(octet, octet, octet, octet).map((parts) => parts.join('.'));
    const v6 = fc.tuple(octet, octet).map(([a, b]) => `2001:db8:${a}::${b}`);
    const address = fc.oneof(v4, v6);
    const cidr = fc.oneof(
      fc.tuple(v4, fc.integer({ min: 0, max: 32 })),
      fc.tuple(v6, fc.integer({ min: 0, max: 128 })),
    );
    fc.assert(
      fc.property(fc.array(cidr, { maxLength: 8 }), address, (networks, text) => {
        const parsed = networks.flatMap(
          ([from, prefix]) => parseIpNetwork(`${from}/${prefix}`) ?? [],
        );
        const bans = index(
          ...networks.map(([from, prefix]) => ({
            kind: 'cidr' as const,
            value: `${from}/${prefix}`,
          })),
        );
        const sought = parseIpAddress(text);
        const expected = parsed.some(
          (one) => one.bits === sought?.bits && startOf(sought, one.prefix) === one.value,
        );
        expect(bans.find({ address: text }, AT) !== undefined).toBe(expected);
      }),
    );
  });
});
