import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { NodeReport } from './node-registry.ts';
import { FORGET_AFTER_MS, NodeTable } from './node-table.ts';

const MAX_STALENESS_MS = 30_000;

describe('A node table', () => {
  let table: NodeTable;

  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['performance', 'setTimeout', 'clearTimeout'] });
    table = new NodeTable(MAX_STALENESS_MS);
  });
  afterEach(() => vi.useRealTimers());

  const heard = (nodeId: string, revision: number, whenStale: NodeReport['whenStale']): void =>
    table.heard({ nodeId, revision, hash: '', whenStale });

  it('waits for a silent node as long as it may still serve on its old policy', () => {
    heard('a', 1, 'drop');
    vi.advanceTimersByTime(MAX_STALENESS_MS);
    expect(table.pending(2)).toEqual(['a']);
    vi.advanceTimersByTime(1);
    expect(table.pending(2)).toEqual([]);
  });

  it('waits for a silent node that keeps its sessions until it is forgotten', () => {
    heard('a', 1, 'keep');
    vi.advanceTimersByTime(FORGET_AFTER_MS);
    expect(table.pending(2)).toEqual(['a']);
    expect(table.nodes()).toMatchObject([{ nodeId: 'a', silentMs: FORGET_AFTER_MS }]);
    vi.advanceTimersByTime(1);
    expect(table.pending(2)).toEqual([]);
    expect(table.nodes()).toEqual([]);
  });

  it('releases who waits at the moment at which the last silent node counts as gone', async () => {
    heard('a', 1, 'drop');
    await vi.advanceTimersByTimeAsync(1_000);
    heard('b', 1, 'drop');
    let answer: unknown;
    void table.waitEnforced(2, performance.now() + 60_000).then((found) => (answer = found));
    await vi.advanceTimersByTimeAsync(MAX_STALENESS_MS);
    expect(answer).toBeUndefined();
    await vi.advanceTimersByTimeAsync(2);
    expect(answer).toEqual({ enforced: true, pending: [] });
  });

  it('waits again for a node that is heard after it counted as gone', () => {
    heard('a', 1, 'drop');
    vi.advanceTimersByTime(MAX_STALENESS_MS + 1);
    heard('a', 1, 'drop');
    expect(table.pending(2)).toEqual(['a']);
  });

  it('answers at the deadline with those that keep their sessions', async () => {
    heard('a', 1, 'drop');
    heard('b', 1, 'keep');
    const waiting = table.waitEnforced(2, performance.now() + MAX_STALENESS_MS + 500);
    await vi.advanceTimersByTimeAsync(MAX_STALENESS_MS + 500);
    expect(await waiting).toEqual({ enforced: false, pending: ['b'] });
  });

  it('answers at once when the deadline has passed', async () => {
    heard('a', 1, 'drop');
    expect(await table.waitEnforced(2, performance.now())).toEqual({
      enforced: false,
      pending: ['a'],
    });
  });
});
