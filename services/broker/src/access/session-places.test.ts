import { OperationalError } from '@sallyport/errors';
import { ANONYMOUS_ID } from '@sallyport/policy-client';
import { compilePolicy } from '@sallyport/rules';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { FarStore, placesOf } from '../../test-support/session-places.ts';
import { LiveSession } from './live-sessions.ts';
import { LEAVE_RETRY_MS, LIMIT_WAIT_MS, RECOUNT_MS, type SessionPlaces } from './session-places.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const policy = compilePolicy({
  ...{ policyId: 'p', superuser: false, authorities: [] },
  ...{ noMatch: 'deny', denyAction: 'ignore' },
});

function session(
  clientId: string,
  sessionsMax?: number,
  credentialId = 'k',
  close: (reason: string) => void = () => undefined,
): LiveSession {
  const facts = { clientId, listener: 'l', peer: '192.0.2.1:1' };
  const principal = { credentialId, store: 'native', facts } as const;
  const resolved = { policyId: 'p', tags: [], ...(sessionsMax !== undefined && { sessionsMax }) };
  return new LiveSession({ principal, resolved, policy, revision: 1 }, close);
}

const away = new OperationalError('session_store_unavailable', 'away');

describe('the places of a credential', () => {
  it('are refused from its limit on, at once where nobody else has to be asked', () => {
    const places = placesOf();
    expect(places.take(session('a', 2))).toBe(true);
    const second = session('b', 2);
    expect(places.take(second)).toBe(true);
    expect(places.take(session('c', 2))).toBe(false);
    places.leave(second);
    expect(places.take(session('c', 2))).toBe(true);
  });

  it('are as many as is usual for one that says nothing, and what it says for one that does', () => {
    const places = placesOf({ sessionsMax: 1 });
    expect(places.take(session('a'))).toBe(true);
    expect(places.take(session('b'))).toBe(false);
    expect(places.take(session('b', 2))).toBe(true);
    expect(places.take(session('a', undefined, 'other'))).toBe(true);
  });

  it('have no limit where none is set, and cost no question then', async () => {
    const store = new FarStore();
    const places = placesOf({ store });
    for (let index = 0; index < 1000; index++) expect(places.take(session(`c${index}`))).toBe(true);
    expect(store.asked).toBe(0);
  });

  it('are not counted for those that have no credential', () => {
    const places = placesOf({ sessionsMax: 1 });
    for (const name of ['a', 'b']) {
      expect(places.take(session(name, undefined, ANONYMOUS_ID))).toBe(true);
    }
  });

  it('are counted on nodes that are alive', async () => {
    const store = new FarStore();
    const alive = new Set(['n1', 'n2']);
    const otherNodes = () => [...alive];
    const one = placesOf({ store, otherNodes });
    const other = placesOf({ store, nodeId: 'n2', otherNodes });
    expect(await other.take(session('b', 1))).toBe(true);
    expect(await one.take(session('a', 1))).toBe(false);
    alive.delete('n2');
    expect(await one.take(session('a', 1))).toBe(true);
  });

  it('go with the client id that comes to another node, and with one that is renewed', async () => {
    const store = new FarStore();
    const otherNodes = () => ['n1', 'n2'];
    const one = placesOf({ store, otherNodes });
    const other = placesOf({ store, nodeId: 'n2', otherNodes });
    const [before, after, renewed] = [session('a', 1), session('a', 1), session('a', 1)];
    expect(await one.take(before)).toBe(true);
    expect(await other.take(after)).toBe(true);
    one.leave(before);
    other.renew(after, renewed);
    other.leave(after);
    await vi.advanceTimersByTimeAsync(0);
    expect(await one.take(session('b', 1))).toBe(false);
    other.leave(renewed);
    await vi.advanceTimersByTimeAsync(0);
    expect(await one.take(session('b', 1))).toBe(true);
  });

  describe('that are fewer now', () => {
    const closed: string[] = [];
    const closing = (clientId: string, sessionsMax?: number, credentialId?: string): LiveSession =>
      session(clientId, sessionsMax, credentialId, (reason) =>
        closed.push(`${clientId} ${reason}`),
      );
    beforeEach(() => void closed.splice(0));

    /** As many, each a second older than the next one, and without a limit so far. */
    function gathered(...names: readonly string[]): LiveSession[] {
      return names.map((name) => {
        vi.advanceTimersByTime(1000);
        return closing(name);
      });
    }

    const lowered = (all: readonly LiveSession[], sessionsMax: number): readonly LiveSession[] => {
      for (const one of all) {
        one.adopt({ policyId: 'p', tags: [], sessionsMax }, policy, 2);
      }
      return all;
    };

    it('end the youngest of the node, each once, and leave their rights until then', async () => {
      const places = placesOf();
      const all = gathered('a', 'b', 'c', 'd');
      for (const one of all) expect(places.take(one)).toBe(true);
      await places.limit(lowered(all, 4), 2);
      expect(closed).toEqual([]);
      await places.limit(lowered(all, 2).toReversed(), 2);
      expect(closed).toEqual(['c credential_sessions', 'd credential_sessions']);
      expect(places.take(closing('e', 2))).toBe(false);
      for (const one of all.slice(1)) places.leave(one);
      expect(places.take(closing('e', 2))).toBe(true);
      expect(places.take(closing('f', 2))).toBe(false);
    });

    it('are those of the oldest over all nodes, whichever asks first', async () => {
      const nodes = () => ['n1', 'n2'];
      for (const order of [
        [0, 1],
        [1, 0],
      ]) {
        const store = new FarStore();
        const both = [
          placesOf({ store, otherNodes: nodes }),
          placesOf({ store, nodeId: 'n2', otherNodes: nodes }),
        ];
        const all = gathered('a', 'b', 'c', 'd');
        // They had a limit before.
        for (const [index, one] of lowered(all, 9).entries()) {
          expect(await both[index % 2]?.take(one)).toBe(true);
        }
        lowered(all, 3);
        for (const node of order) {
          await both[node]?.limit(
            all.filter((_, index) => index % 2 === node),
            2,
          );
        }
        expect(closed.splice(0)).toEqual(['d credential_sessions']);
      }
    });

    describe('where there was no limit', () => {
      const nodeIds = ['n1', 'n2'];
      /** What each node has said to enforce. */
      let enforced: Record<string, number>;
      let store: FarStore;
      const nodeOf = (nodeId: string): SessionPlaces => {
        const others = nodeIds.filter((one) => one !== nodeId);
        return placesOf({
          ...{ store, nodeId },
          otherNodes: () => others,
          nodesBehind: (revision) => others.filter((one) => (enforced[one] ?? 0) < revision),
        });
      };
      let both: readonly [SessionPlaces, SessionPlaces];
      beforeEach(() => {
        enforced = {};
        store = new FarStore();
        both = [nodeOf('n1'), nodeOf('n2')];
      });
      /** Of both nodes by turns; those of a node. */
      const of = (all: readonly LiveSession[], node: number): LiveSession[] =>
        all.filter((_, index) => index % 2 === node);

      it('are those of the oldest too, and no node is done before it knows of all', async () => {
        for (const [first, second] of [
          [0, 1],
          [1, 0],
        ] as const) {
          const all = lowered(gathered('a', 'b', 'c', 'd', 'e'), 2);
          let done = false;
          const limited = both[first].limit(of(all, first), 2).then(() => (done = true));
          await vi.advanceTimersByTimeAsync(500);
          expect(done).toBe(false);
          await both[second].limit(of(all, second), 2);
          await vi.advanceTimersByTimeAsync(100);
          expect(done).toBe(true);
          await limited;
          expect(closed.splice(0).toSorted()).toEqual([
            'c credential_sessions',
            'd credential_sessions',
            'e credential_sessions',
          ]);
          for (const node of [0, 1]) for (const one of of(all, node)) both[node]?.leave(one);
          await store.tellPlaces('n1', 0);
          await store.tellPlaces('n2', 0);
        }
      });

      it('are not waited for where a node enforces the limit, or has told of a newer one', async () => {
        const all = lowered(gathered('a', 'b'), 1);
        enforced = { n2: 2 };
        await both[0].limit(all, 2);
        enforced = {};
        await store.tellPlaces('n2', 4);
        await both[0].limit(all.slice(0, 1), 3);
        expect(closed).toEqual(['b credential_sessions']);
      });

      it('are counted again for a node that is silent for too long, once it has told', async () => {
        const all = lowered(gathered('a', 'b', 'c', 'd'), 2);
        const limited = both[0].limit(of(all, 0), 2);
        await vi.advanceTimersByTimeAsync(LIMIT_WAIT_MS + 100);
        await limited;
        await vi.advanceTimersByTimeAsync(10 * RECOUNT_MS);
        expect(closed).toEqual([]);
        enforced = { n1: 2 };
        await both[1].limit(of(all, 1), 2);
        enforced = { n1: 2, n2: 2 };
        expect(closed).toEqual(['d credential_sessions']);
        await vi.advanceTimersByTimeAsync(2 * RECOUNT_MS);
        expect(closed).toEqual(['d credential_sessions', 'c credential_sessions']);
        expect(vi.getTimerCount()).toBe(0);
      });

      it('are not kept by one that came before the others knew of it, nor by one that has gone meanwhile', async () => {
        const all = lowered(gathered('a', 'b'), 1);
        const late = lowered(gathered('late'), 1)[0] ?? closing('');
        expect(await both[1].take(late)).toBe(true);
        const limited = both[0].limit(all, 2);
        await vi.advanceTimersByTimeAsync(100);
        expect(closed).toEqual(['b credential_sessions']);
        both[0].leave(all[1] ?? late);
        enforced = { n1: 2, n2: 2 };
        await vi.advanceTimersByTimeAsync(2 * RECOUNT_MS);
        await limited;
        expect(closed).toEqual(['b credential_sessions', 'late credential_sessions']);
        both[0].leave(all[0] ?? late);
        await vi.advanceTimersByTimeAsync(0);
        expect(await both[1].take(session('next', 1))).toBe(true);
        expect(vi.getTimerCount()).toBe(0);
      });
    });

    it('are asked for again when the store was away, and end nobody who went meanwhile', async () => {
      const store = new FarStore();
      const places = placesOf({ store });
      const all = lowered(gathered('a', 'b', 'c'), 1);
      store.failure = away;
      await expect(places.limit(all, 2)).rejects.toBe(away);
      expect(closed).toEqual([]);
      store.failure = undefined;
      const limited = places.limit(all, 2);
      for (const one of all.slice(2)) places.leave(one);
      await limited;
      expect(closed).toEqual(['b credential_sessions']);
      await places.limit([], 2);
    });

    it('are no fewer for those that have no credential', async () => {
      const places = placesOf({ sessionsMax: 1 });
      await places.limit([closing('a', 1, ANONYMOUS_ID), closing('b', 1, ANONYMOUS_ID)], 2);
      expect(closed).toEqual([]);
    });
  });

  it('are given back until it works, also one that perhaps was taken', async () => {
    const store = new FarStore();
    const places = placesOf({ store });
    const there = session('a', 1);
    expect(await places.take(there)).toBe(true);
    store.failure = away;
    await expect(places.take(session('b', 2))).rejects.toBe(away);
    places.leave(there);
    await vi.advanceTimersByTimeAsync(3 * LEAVE_RETRY_MS);
    store.failure = undefined;
    expect(await places.take(session('b', 1))).toBe(false);
    await vi.advanceTimersByTimeAsync(LEAVE_RETRY_MS);
    expect(await places.take(session('b', 1))).toBe(true);
    expect(vi.getTimerCount()).toBe(0);
  });
});
