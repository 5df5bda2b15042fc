import { isOperational } from '@sallyport/errors';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { NodeRegistry, NodeReport } from './node-registry.ts';

/** One registry under test, without nodes. */
export interface NodeRegistryUnderTest extends AsyncDisposable {
  /** One more handle on the same registry, as another process would have it. */
  open(): Promise<NodeRegistry>;
}

export function report(
  nodeId: string,
  revision: number,
  more: Partial<NodeReport> = {},
): NodeReport {
  return { nodeId, revision, hash: `hash-${revision}`, whenStale: 'drop', ...more };
}

const SHORT_MS = 150;
const LONG_MS = 10_000;

/** What every node registry has to do. Runs inside of vitest. */
export function describeNodeRegistryContract(
  name: string,
  start: () => Promise<NodeRegistryUnderTest>,
): void {
  describe(`${name} keeps the contract of a node registry:`, () => {
    let underTest: NodeRegistryUnderTest;
    let registry: NodeRegistry;

    beforeEach(async () => {
      underTest = await start();
      registry = await underTest.open();
    });
    afterEach(() => underTest[Symbol.asyncDispose]());

    it('does not call a revision enforced that a node has not announced', async () => {
      const node = await underTest.open();
      await node.join(report('b', 4));
      await node.join(report('a', 0));
      await node.join(report('c', 5));
      const answer = await registry.waitEnforced(5, LONG_MS / 10);
      expect(answer).toEqual({ enforced: false, pending: ['a', 'b'] });
    });

    it('calls everything enforced when there are no nodes', async () => {
      expect(await registry.waitEnforced(5, LONG_MS)).toEqual({ enforced: true, pending: [] });
    });

    it('sees every registration that was stored before it was asked', async () => {
      const node = await underTest.open();
      for (let round = 0; round < 20; round += 1) {
        const membership = await node.join(report(`n${round}`, 0));
        // Of a revision that they all have: it is known then who they are, and nobody is waited for.
        expect(await registry.waitEnforced(0, LONG_MS)).toEqual({ enforced: true, pending: [] });
        expect(registry.nodes().map(({ nodeId }) => nodeId)).toEqual([`n${round}`]);
        await membership.leave();
      }
    });

    it('sees them also through a handle that was opened just now', async () => {
      const node = await underTest.open();
      await node.join(report('old', 0));
      const fresh = await underTest.open();
      await node.join(report('new', 0));
      const answer = await fresh.waitEnforced(1, LONG_MS / 10);
      expect(answer).toEqual({ enforced: false, pending: ['new', 'old'] });
    });

    it('waits until every node has announced the revision, or a later one', async () => {
      const node = await underTest.open();
      const first = await node.join(report('a', 1));
      const second = await node.join(report('b', 1));
      let answered = false;
      const waiting = registry.waitEnforced(5, LONG_MS).finally(() => (answered = true));
      first.announce({ revision: 4, hash: 'x' });
      second.announce({ revision: 9, hash: 'y' });
      await expect
        .poll(() => registry.nodes().map((one) => one.revision), { timeout: LONG_MS })
        .toEqual([4, 9]);
      expect(answered).toBe(false);
      first.announce({ revision: 5, hash: 'z' });
      expect(await waiting).toEqual({ enforced: true, pending: [] });
    });

    it('tells the newest revision that a node has announced', async () => {
      expect(registry.newestRevision).toBe(0);
      const node = await underTest.open();
      const one = await node.join(report('one', 3));
      const two = await node.join(report('two', 7));
      await expect.poll(() => registry.newestRevision, { timeout: LONG_MS }).toBe(7);
      one.announce({ revision: 9, hash: '' });
      await expect.poll(() => registry.newestRevision, { timeout: LONG_MS }).toBe(9);
      two.announce({ revision: 8, hash: '' });
      await expect.poll(() => registry.nodes().map((node) => node.revision)).toEqual([9, 8]);
      expect(registry.newestRevision).toBe(9);
    });

    it('answers many who wait for different revisions', async () => {
      const node = await underTest.open();
      const membership = await node.join(report('a', 0));
      const revisions = Array.from({ length: 50 }, (_, index) => index + 1);
      const waiting = Promise.all(revisions.map((one) => registry.waitEnforced(one, LONG_MS)));
      for (const revision of revisions) membership.announce({ revision, hash: `${revision}` });
      expect((await waiting).every((one) => one.enforced)).toBe(true);
      await expect.poll(() => registry.nodes()[0]?.hash).toBe('50');
    });

    it('does not wait for a node that leaves', async () => {
      const node = await underTest.open();
      const membership = await node.join(report('a', 0, { whenStale: 'keep' }));
      const waiting = registry.waitEnforced(5, LONG_MS);
      await expect.poll(() => registry.nodes().length).toBe(1);
      await membership.leave();
      expect(await waiting).toEqual({ enforced: true, pending: [] });
      expect(registry.nodes()).toEqual([]);
      membership.announce({ revision: 1, hash: '' });
      await membership.leave();
      expect(await registry.waitEnforced(5, LONG_MS)).toEqual({ enforced: true, pending: [] });
    });

    it('does not wait for a node that joined after it was asked', async () => {
      const node = await underTest.open();
      const early = await node.join(report('early', 0));
      // The first answer proves that the second question is asked of a registry that is up to date.
      await registry.waitEnforced(0, LONG_MS);
      const waiting = registry.waitEnforced(1, LONG_MS);
      // Whoever asks behind it is answered behind it: it knows now whom it waits for.
      await registry.waitEnforced(0, LONG_MS);
      await node.join(report('late', 0));
      await expect.poll(() => registry.nodes().length).toBe(2);
      early.announce({ revision: 1, hash: '' });
      expect(await waiting).toEqual({ enforced: true, pending: [] });
      const again = await registry.waitEnforced(1, SHORT_MS);
      expect(again).toEqual({ enforced: false, pending: ['late'] });
    });

    it('lists the nodes by id, with what they said and how long ago', async () => {
      const ids = ['b', 'a', 'ü.*>/ =x', 'x'.repeat(100)];
      const node = await underTest.open();
      for (const id of ids) await node.join(report(id, 7, { whenStale: 'keep' }));
      await registry.waitEnforced(7, LONG_MS);
      const nodes = registry.nodes();
      expect(nodes.map(({ silentMs: _, ...rest }) => rest)).toEqual(
        [...ids].sort().map((id) => report(id, 7, { whenStale: 'keep' })),
      );
      for (const one of nodes) {
        expect(one.silentMs).toBeGreaterThanOrEqual(0);
        expect(one.silentMs).toBeLessThan(LONG_MS);
      }
    });

    it('hears a node again and again', async () => {
      const node = await underTest.open();
      await node.join(report('a', 1));
      await expect.poll(() => registry.nodes().length).toBe(1);
      const silent = (): number => registry.nodes()[0]?.silentMs ?? Infinity;
      await expect.poll(silent, { interval: 20 }).toBeGreaterThan(500);
      await expect.poll(silent, { interval: 20 }).toBeLessThan(200);
    });

    it('refuses everything after it was disposed', async () => {
      const closed = await underTest.open();
      await closed[Symbol.asyncDispose]();
      for (const call of [closed.join(report('a', 1)), closed.waitEnforced(1, LONG_MS)]) {
        await expect(call).rejects.toSatisfy((error) =>
          isOperational(error, 'node_registry_unavailable'),
        );
      }
    });
  });
}
