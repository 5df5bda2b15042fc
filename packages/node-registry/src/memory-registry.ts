import { OperationalError } from '@sallyport/errors';
import {
  DEFAULT_MAX_STALENESS_MS,
  type EnforcedAnswer,
  HEARTBEAT_MS,
  type Membership,
  type NodeRegistry,
  type NodeReport,
  type NodeView,
} from './node-registry.ts';
import { NodeTable } from './node-table.ts';

/** The registry of one process, which is all nodes there are. */
export class MemoryNodeRegistry implements NodeRegistry {
  readonly #table: NodeTable;
  readonly #members = new Set<MemoryMembership>();
  #closed = false;

  constructor(options: { readonly maxStalenessMs?: number } = {}) {
    this.#table = new NodeTable(options.maxStalenessMs ?? DEFAULT_MAX_STALENESS_MS);
  }

  async join(report: NodeReport): Promise<Membership> {
    this.#assertOpen();
    const member: MemoryMembership = new MemoryMembership(this.#table, report, () =>
      this.#members.delete(member),
    );
    this.#members.add(member);
    return member;
  }

  async waitEnforced(revision: number, timeoutMs: number): Promise<EnforcedAnswer> {
    this.#assertOpen();
    return this.#table.waitEnforced(revision, performance.now() + timeoutMs);
  }

  get newestRevision(): number {
    return this.#table.newestRevision;
  }

  nodes(): readonly NodeView[] {
    return this.#table.nodes();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    for (const member of this.#members) member.stop();
  }

  #assertOpen(): void {
    if (this.#closed) {
      throw new OperationalError('node_registry_unavailable', 'the registry is closed');
    }
  }
}

class MemoryMembership implements Membership {
  readonly #table: NodeTable;
  readonly #timer: NodeJS.Timeout;
  readonly #onLeave: () => void;
  #report: NodeReport;
  #left = false;

  constructor(table: NodeTable, report: NodeReport, onLeave: () => void) {
    this.#table = table;
    this.#report = report;
    this.#onLeave = onLeave;
    this.#table.heard(report);
    this.#timer = setInterval(() => this.#table.heard(this.#report), HEARTBEAT_MS);
  }

  announce(state: { readonly revision: number; readonly hash: string }): void {
    if (this.#left) return;
    this.#report = { ...this.#report, revision: state.revision, hash: state.hash };
    this.#table.heard(this.#report);
  }

  async leave(): Promise<void> {
    if (this.#left) return;
    this.#left = true;
    this.stop();
    this.#onLeave();
    this.#table.gone(this.#report.nodeId);
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
