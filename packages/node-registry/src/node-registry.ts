/** What a broker node says of itself. */
export interface NodeReport {
  readonly nodeId: string;
  /** Every session of the node is decided by a policy of this revision or newer. */
  readonly revision: number;
  /** Running hash of the log at `revision`, to find nodes that read another log. */
  readonly hash: string;
  /** What the node does with live sessions when its log has been silent for longer than `maxStalenessMs`. */
  readonly whenStale: 'drop' | 'keep';
}

export interface NodeView extends NodeReport {
  /** How long ago the node was last heard, in milliseconds, on this process' clock. */
  readonly silentMs: number;
}

export interface EnforcedAnswer {
  readonly enforced: boolean;
  /** Nodes that have not announced the revision, sorted. Empty exactly when enforced. */
  readonly pending: readonly string[];
}

/**
 * Which broker nodes are alive, and what revision each of them enforces.
 * INVARIANT: a node joins before it reads the log's head and before it accepts a connection; so a node that
 * `waitEnforced(r)` does not see, called after r was appended, enforces r from its first session on.
 */
export interface NodeRegistry extends AsyncDisposable {
  /** Resolves when the registration is stored. @throws OperationalError `node_registry_unavailable` */
  join(report: NodeReport): Promise<Membership>;

  /**
   * Resolves when every live node has announced `revision` or a later one, or after `timeoutMs` with those that have not.
   * A node that has been silent for longer than `maxStalenessMs` counts as gone when it drops its sessions then. A node
   * that joins after the call is not waited for: it enforces `revision` from its first session on.
   * @throws OperationalError `node_registry_unavailable` when it cannot be known in time which nodes there are, and no
   * node that is known is pending
   */
  waitEnforced(revision: number, timeoutMs: number): Promise<EnforcedAnswer>;

  /** The newest revision that a node has announced, as far as this process has heard; of nodes that count as gone, none. In memory. */
  readonly newestRevision: number;

  /** All nodes known, sorted by id, those that left excluded. */
  nodes(): readonly NodeView[];
}

/** A node's own entry. Repeats itself every `HEARTBEAT_MS` until it leaves. */
export interface Membership {
  /** Says a newer revision, soon: bursts are joined into one message. Never throws; a failed message is repeated. */
  announce(state: { readonly revision: number; readonly hash: string }): void;
  /** Takes the entry away; for a node that has closed its sessions. */
  leave(): Promise<void>;
}

export const HEARTBEAT_MS = 1000;

/** How long a node may be silent before it counts as gone, unless an option says otherwise. */
export const DEFAULT_MAX_STALENESS_MS = 30_000;
