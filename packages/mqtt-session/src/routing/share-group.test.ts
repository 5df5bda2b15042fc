import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Subscription } from './router.ts';
import { Router } from './router.ts';
import { ShareGroup, type ShareMember } from './share-group.ts';

const FILTER = '$share/g/a';
const subscription: Subscription = {
  topicFilter: FILTER,
  filter: 'a',
  shared: true,
  qos: 1,
  noLocal: false,
  retainAsPublished: false,
  identifier: undefined,
};

const local = (subscriber: string): ShareMember<string> => ({
  kind: 'local',
  subscriber,
  subscription,
});
const remote = (clientId: string, nodeId = 'n2'): ShareMember<string> => ({
  kind: 'remote',
  clientId,
  nodeId,
});
const nameOf = (member: ShareMember<string> | undefined): string | undefined =>
  member?.kind === 'local' ? member.subscriber : member?.clientId;

const all = (): boolean => true;

const groupOf = (...members: ShareMember<string>[]): ShareGroup<string> => {
  const group = new ShareGroup<string>(FILTER, 'a');
  for (const member of members) group.put(member);
  return group;
};

const picks = (
  group: ShareGroup<string>,
  count: number,
  accepts: (member: ShareMember<string>) => boolean = all,
): (string | undefined)[] => Array.from({ length: count }, () => nameOf(group.next(accepts)));

describe('whose turn it is', () => {
  test('nobody’s, without members or without any that accepts', () => {
    expect(groupOf().next(all)).toBeUndefined();
    expect(groupOf(local('a')).next(() => false)).toBeUndefined();
  });

  test('one after the other, wherever they are connected', () => {
    const group = groupOf(local('a'), remote('b'), local('c'));
    expect(picks(group, 7)).toEqual(['a', 'b', 'c', 'a', 'b', 'c', 'a']);
  });

  test('a member that cannot take one is passed over, and is in turn again as soon as it can', () => {
    const group = groupOf(local('a'), local('b'), local('c'));
    const notB = (member: ShareMember<string>): boolean => nameOf(member) !== 'b';
    expect(picks(group, 4, notB)).toEqual(['a', 'c', 'a', 'c']);
    expect(picks(group, 3)).toEqual(['a', 'b', 'c']);
  });

  test('a member that left before its turn does not make the one behind it lose its own', () => {
    const group = groupOf(local('a'), local('b'), local('c'), local('d'));
    expect(picks(group, 2)).toEqual(['a', 'b']);
    expect(group.remove({ kind: 'local', subscriber: 'a' })).toBe(true);
    expect(picks(group, 3)).toEqual(['c', 'd', 'b']);
    expect(group.remove({ kind: 'local', subscriber: 'c' })).toBe(true);
    expect(picks(group, 2)).toEqual(['d', 'b']);
  });

  test('a member that subscribes again keeps its place', () => {
    const group = groupOf(local('a'), local('b'));
    group.put({ kind: 'local', subscriber: 'a', subscription: { ...subscription, qos: 2 } });
    expect(group.size).toBe(2);
    expect(group.next(all)).toMatchObject({ subscriber: 'a', subscription: { qos: 2 } });
  });

  test('a name that is here and one that is elsewhere are two members', () => {
    const group = groupOf(local('a'), remote('a'));
    expect(group.size).toBe(2);
    group.remove({ kind: 'local', subscriber: 'a' });
    expect(group.next(all)?.kind).toBe('remote');
  });

  test('removing what is not there says so', () => {
    const group = groupOf(local('a'), remote('b', 'n2'));
    expect(group.remove({ kind: 'local', subscriber: 'b' })).toBe(false);
    expect(group.remove({ kind: 'remote', clientId: 'a' })).toBe(false);
    expect(group.removeRemote('b', 'n3')).toBe(false);
    expect(group.size).toBe(2);
  });

  test('after any changes all that are left get the same number of messages, give or take one', () => {
    const change = fc.record({
      name: fc.constantFrom(...'abcdefgh'.split('')),
      kind: fc.constantFrom('join', 'leave', 'remote', 'gone', 'pick'),
    });
    fc.assert(
      fc.property(fc.array(change, { maxLength: 200 }), (changes) => {
        const group = groupOf();
        const present = new Set<string>();
        for (const { name, kind } of changes) {
          if (kind === 'join') group.put(local(name));
          if (kind === 'join') present.add(`local ${name}`);
          if (kind === 'remote') group.put(remote(name));
          if (kind === 'remote') present.add(`remote ${name}`);
          if (kind === 'leave') {
            expect(group.remove({ kind: 'local', subscriber: name })).toBe(
              present.delete(`local ${name}`),
            );
          }
          if (kind === 'gone') {
            expect(group.removeRemote(name, 'n2')).toBe(present.delete(`remote ${name}`));
          }
          if (kind === 'pick') expect(group.next(all) === undefined).toBe(present.size === 0);
        }
        expect(group.size).toBe(present.size);
        const counts = new Map([...present].map((name) => [name, 0]));
        for (let round = 0; round < 3 * present.size; round++) {
          const member = group.next(all);
          const name = `${member?.kind} ${nameOf(member)}`;
          counts.set(name, (counts.get(name) ?? 0) + 1);
        }
        expect([...counts.values()]).toEqual([...present].map(() => 3));
      }),
      { numRuns: 300, verbose: 1 },
    );
  });

  test('50,000 members leave in any order within a second', () => {
    const group = groupOf();
    const names = Array.from({ length: 50_000 }, (_, count) => `member ${count}`);
    for (const name of names) group.put(local(name));
    const before = process.cpuUsage().user;
    for (const [index, subscriber] of names.reverse().entries()) {
      group.remove({ kind: 'local', subscriber });
      if (index % 1000 === 0) group.next(all);
    }
    expect(group.size).toBe(0);
    // Of processor time: the tests share their machine.
    expect(process.cpuUsage().user - before).toBeLessThan(1_000_000);
  });
});

describe('members of other nodes', () => {
  const groups = () => new Router<string>().groups;

  test('what cannot be read as a shared filter is no group', () => {
    const all = groups();
    for (const filter of ['a', '$share/g', '$share//a', '$share/g/', '$share/+/a', '$share/g/a#']) {
      all.joinRemote(filter, 'c', 'n2');
      expect(all.get(filter)).toBeUndefined();
    }
  });

  test('a client that has come to another node is not removed by what its old node says late', () => {
    const all = groups();
    all.joinRemote(FILTER, 'c', 'n2');
    all.joinRemote(FILTER, 'c', 'n3');
    all.leaveRemote(FILTER, 'c', 'n2');
    expect(all.get(FILTER)?.next(() => true)).toEqual({
      kind: 'remote',
      clientId: 'c',
      nodeId: 'n3',
    });
    all.leaveRemote(FILTER, 'c', 'n3');
    expect(all.get(FILTER)).toBeUndefined();
  });

  test('a node that is gone takes its members along, and only those', () => {
    const all = groups();
    all.join('here', subscription);
    all.joinRemote(FILTER, 'c', 'n2');
    all.joinRemote(FILTER, 'd', 'n3');
    all.joinRemote('$share/h/b', 'c', 'n2');
    all.removeNode('n2');
    expect(all.get(FILTER)?.size).toBe(2);
    expect(all.get('$share/h/b')).toBeUndefined();
  });
});
