import type { KV } from '@nats-io/kv';
import { OperationalError } from '@sallyport/errors';
import { HEARTBEAT_MS, type Membership, type NodeReport } from '../node-registry.ts';
import { encodeReport, nodeKey } from './bucket.ts';

/** Least time between two messages of one node; see `HISTORY_VALUES`. */
export const PUT_INTERVAL_MS = 25;
/** How long to try to store a registration, or to take it away. */
export const SETTLE_TIMEOUT_MS = 10_000;

/** A node's entry in the bucket: one message is in flight at most, and the newest state is what the next one says. */
export class NatsMembership implements Membership {
  readonly #kv: KV;
  readonly #key: string;
  readonly #onLeave: () => void;
  #report: NodeReport;
  #dirty = false;
  #stopped = false;
  #left = false;
  #wake: (() => void) | undefined;
  #running: Promise<void> = Promise.resolve();

  constructor(kv: KV, report: NodeReport, onLeave: () => void) {
    this.#kv = kv;
    this.#key = nodeKey(report.nodeId);
    this.#report = report;
    this.#onLeave = onLeave;
  }

  /** Stores the registration, and begins to repeat it. @throws OperationalError `node_registry_unavailable` */
  async start(): Promise<void> {
    await settle(`register node ${this.#report.nodeId}`, () => this.#put());
    this.#running = this.#run();
  }

  announce(state: { readonly revision: number; readonly hash: string }): void {
    this.#report = { ...this.#report, revision: state.revision, hash: state.hash };
    this.#dirty = true;
    this.#wake?.();
  }

  async leave(): Promise<void> {
    if (this.#left) return;
    this.#left = true;
    await this.stop();
    this.#onLeave();
    await settle(`take away node ${this.#report.nodeId}`, () => this.#kv.delete(this.#key));
  }

  /** Ends the heartbeat, and leaves the entry: others see a node that has fallen silent. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#wake?.();
    await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      await delay(PUT_INTERVAL_MS);
      if (!this.#dirty) await this.#announcedOr(HEARTBEAT_MS - PUT_INTERVAL_MS);
      if (this.#stopped) return;
      this.#dirty = false;
      try {
        await this.#put();
      } catch {
        this.#dirty = true; // The server does not answer: say it again.
      }
    }
  }

  async #put(): Promise<void> {
    await this.#kv.put(this.#key, encodeReport(this.#report));
  }

  async #announcedOr(timeoutMs: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      timer = setTimeout(resolve, timeoutMs);
      if (this.#stopped) resolve();
    });
    clearTimeout(timer);
    this.#wake = undefined;
  }
}

async function settle(what: string, attempt: () => Promise<void>): Promise<void> {
  const deadline = performance.now() + SETTLE_TIMEOUT_MS;
  for (;;) {
    try {
      return await attempt();
    } catch (cause) {
      if (performance.now() > deadline) {
        throw new OperationalError('node_registry_unavailable', `failed to ${what}`, { cause });
      }
    }
    await delay(PUT_INTERVAL_MS);
  }
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
