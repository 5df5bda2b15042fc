import type { KV, KvWatchEntry } from '@nats-io/kv';
import type { NatsConnection } from '@nats-io/nats-core';
import { OperationalError } from '@sallyport/errors';
import {
  DEFAULT_MAX_STALENESS_MS,
  type EnforcedAnswer,
  type Membership,
  type NodeRegistry,
  type NodeReport,
  type NodeView,
} from '../node-registry.ts';
import { NodeTable } from '../node-table.ts';
import { BucketWatch } from './bucket-watch.ts';
import { decodeReport, nodeOfKey, openBucket } from './bucket.ts';
import { NatsMembership } from './membership.ts';

/** How long to wait between two barriers when one was not seen. */
const BARRIER_RETRY_MS = 50;

export interface NatsNodeRegistryOptions {
  /** The caller's, which stays open; with pings that notice a dead server within seconds. */
  readonly connection: NatsConnection;
  readonly bucket?: string;
  /** Copies of the bucket when it is created. */
  readonly replicas: number;
  readonly maxStalenessMs?: number;
}

/**
 * Opens the registry that is one JetStream key-value bucket.
 * @throws OperationalError `node_registry_unavailable`, `config_invalid`
 */
export async function openNatsNodeRegistry(
  options: NatsNodeRegistryOptions,
): Promise<NodeRegistry> {
  const { connection, replicas, bucket = 'sallyport-nodes' } = options;
  const kv = await openBucket(connection, { bucket, replicas });
  return new NatsNodeRegistry(connection, kv, options.maxStalenessMs ?? DEFAULT_MAX_STALENESS_MS);
}

class NatsNodeRegistry implements NodeRegistry {
  readonly #kv: KV;
  readonly #table: NodeTable;
  readonly #watch: BucketWatch;
  readonly #members = new Set<NatsMembership>();
  /** The newest message of each node: one that a new watch shows again is no sign of life. */
  readonly #messages = new Map<string, number>();
  #closed = false;

  constructor(connection: NatsConnection, kv: KV, maxStalenessMs: number) {
    this.#kv = kv;
    this.#table = new NodeTable(maxStalenessMs);
    this.#watch = new BucketWatch(connection, kv, (entry) => this.#apply(entry));
  }

  async join(report: NodeReport): Promise<Membership> {
    this.#assertOpen();
    const member: NatsMembership = new NatsMembership(this.#kv, report, () =>
      this.#members.delete(member),
    );
    await member.start();
    this.#members.add(member);
    return member;
  }

  async waitEnforced(revision: number, timeoutMs: number): Promise<EnforcedAnswer> {
    this.#assertOpen();
    const deadline = performance.now() + timeoutMs;
    if (await this.#knowsAll(deadline)) return this.#table.waitEnforced(revision, deadline);
    const pending = this.#table.pending(revision);
    if (pending.length > 0) return { enforced: false, pending };
    throw new OperationalError(
      'node_registry_unavailable',
      'it cannot be found out which nodes there are',
    );
  }

  get newestRevision(): number {
    return this.#table.newestRevision;
  }

  nodes(): readonly NodeView[] {
    return this.#table.nodes();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    this.#watch.stop();
    await Promise.all([...this.#members].map((member) => member.stop()));
  }

  /** Whether every registration that was stored before this call is in the table, found out before the deadline. */
  async #knowsAll(deadline: number): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<false>((resolve) => {
      timer = setTimeout(() => resolve(false), Math.max(0, deadline - performance.now()));
    });
    try {
      for (;;) {
        const passed = await Promise.race([this.#watch.barrier(), late]);
        if (passed) return true;
        if (performance.now() >= deadline || this.#closed) return false;
        await new Promise((resolve) => setTimeout(resolve, BARRIER_RETRY_MS));
      }
    } finally {
      clearTimeout(timer);
    }
  }

  #apply(entry: KvWatchEntry): void {
    const nodeId = nodeOfKey(entry.key);
    if (nodeId === undefined || this.#messages.get(nodeId) === entry.revision) return;
    if (entry.operation === 'PUT') {
      this.#messages.set(nodeId, entry.revision);
      this.#table.heard(decodeReport(nodeId, entry.string()));
    } else {
      this.#messages.delete(nodeId);
      this.#table.gone(nodeId);
    }
  }

  #assertOpen(): void {
    if (this.#closed) {
      throw new OperationalError('node_registry_unavailable', 'the registry is closed');
    }
  }
}
