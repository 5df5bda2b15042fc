import type { EnforcedAnswer, NodeReport, NodeView } from './node-registry.ts';

/** After this silence a node is forgotten altogether; the bucket forgets it at the same age. */
export const FORGET_AFTER_MS = 3_600_000;

interface Known {
  readonly report: NodeReport;
  readonly heardAt: number;
}

/** What one process knows of the nodes, on its own monotonic clock. */
export class NodeTable {
  readonly #maxStalenessMs: number;
  readonly #nodes = new Map<string, Known>();
  readonly #waiters = new Set<() => void>();
  #newestRevision = 0;

  constructor(maxStalenessMs: number) {
    this.#maxStalenessMs = maxStalenessMs;
  }

  /** Found out whenever somebody is heard, because it is asked for more often. */
  get newestRevision(): number {
    return this.#newestRevision;
  }

  heard(report: NodeReport): void {
    const now = performance.now();
    this.#nodes.set(report.nodeId, { report, heardAt: now });
    const counting = [...this.#nodes.values()].filter(
      ({ heardAt }) => now - heardAt <= this.#maxStalenessMs,
    );
    this.#newestRevision = Math.max(...counting.map((known) => known.report.revision));
    this.#changed();
  }

  gone(nodeId: string): void {
    if (this.#nodes.delete(nodeId)) this.#changed();
  }

  nodes(): readonly NodeView[] {
    const now = performance.now();
    this.#forget(now);
    return [...this.#nodes.values()]
      .map(({ report, heardAt }) => ({ ...report, silentMs: now - heardAt }))
      .sort((a, b) => (a.nodeId < b.nodeId ? -1 : 1));
  }

  /** Nodes that count and have not announced `revision`, sorted. */
  pending(revision: number): readonly string[] {
    const now = performance.now();
    this.#forget(now);
    return [...this.#nodes.values()]
      .filter((known) => this.#isPending(known, revision, now))
      .map((known) => known.report.nodeId)
      .sort();
  }

  /** Waits for the nodes that are known now. `deadline` is a `performance.now()`. */
  async waitEnforced(revision: number, deadline: number): Promise<EnforcedAnswer> {
    const awaited = new Set(this.#nodes.keys());
    for (;;) {
      const pending = this.pending(revision).filter((nodeId) => awaited.has(nodeId));
      if (pending.length === 0) return { enforced: true, pending };
      const now = performance.now();
      if (now >= deadline) return { enforced: false, pending };
      await this.#change(Math.min(deadline, this.#nextStale(pending, now)) - now);
    }
  }

  #isPending({ report, heardAt }: Known, revision: number, now: number): boolean {
    if (report.revision >= revision) return false;
    // INVARIANT: a node that drops its sessions when its log is silent enforces nothing older after this time.
    return report.whenStale === 'keep' || now - heardAt <= this.#maxStalenessMs;
  }

  /** When the first of these nodes may count as gone without saying anything. */
  #nextStale(nodeIds: readonly string[], now: number): number {
    const times = nodeIds.map((nodeId) => {
      const known = this.#nodes.get(nodeId);
      if (known?.report.whenStale !== 'drop') return Infinity;
      return known.heardAt + this.#maxStalenessMs;
    });
    return Math.max(Math.min(...times), now) + 1;
  }

  #forget(now: number): void {
    for (const [nodeId, { heardAt }] of this.#nodes) {
      if (now - heardAt > FORGET_AFTER_MS) this.#nodes.delete(nodeId);
    }
  }

  async #change(timeoutMs: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.#waiters.delete(done);
        resolve();
      };
      const timer = setTimeout(done, timeoutMs);
      this.#waiters.add(done);
    });
  }

  #changed(): void {
    for (const waiter of [...this.#waiters]) waiter();
  }
}
