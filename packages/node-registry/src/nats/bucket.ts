import { jetstream } from '@nats-io/jetstream';
import { type KV, Kvm } from '@nats-io/kv';
import type { NatsConnection } from '@nats-io/nats-core';
import { OperationalError } from '@sallyport/errors';
import type { NodeReport } from '../node-registry.ts';
import { FORGET_AFTER_MS } from '../node-table.ts';

/** How long one request to the bucket may take. */
export const REQUEST_TIMEOUT_MS = 1_000;
/**
 * Values that the bucket keeps for each key. A watch goes through them in order, so a registration that was stored before
 * a barrier is seen before it, unless this many newer values of the same key have pushed it out meanwhile.
 * INVARIANT: more than a node can put (`PUT_INTERVAL_MS`) while a barrier is waited for (`BARRIER_TIMEOUT_MS`).
 */
export const HISTORY_VALUES = 64;
const OPEN_TIMEOUT_MS = 20_000;
const OPEN_RETRY_MS = 200;

/**
 * Opens the bucket, and creates it when it is not there. In files, also on one server: a registration that a restart
 * forgot would not be waited for.
 * @throws OperationalError `node_registry_unavailable`; `config_invalid` when the bucket keeps too little
 */
export async function openBucket(
  connection: NatsConnection,
  options: { readonly bucket: string; readonly replicas: number },
): Promise<KV> {
  const js = jetstream(connection, { timeout: REQUEST_TIMEOUT_MS, checkAPI: false });
  const deadline = performance.now() + OPEN_TIMEOUT_MS;
  for (;;) {
    try {
      const kv = await new Kvm(js).create(options.bucket, {
        history: HISTORY_VALUES,
        replicas: options.replicas,
        ttl: FORGET_AFTER_MS,
      });
      const { history } = await kv.status();
      if (history >= HISTORY_VALUES) return kv;
      const detail = `bucket ${options.bucket} keeps ${history} of ${HISTORY_VALUES} values`;
      throw new OperationalError('config_invalid', detail);
    } catch (cause) {
      if (cause instanceof OperationalError) throw cause;
      if (performance.now() > deadline || connection.isClosed()) {
        const detail = `bucket ${options.bucket} cannot be opened`;
        throw new OperationalError('node_registry_unavailable', detail, { cause });
      }
    }
    await new Promise((resolve) => setTimeout(resolve, OPEN_RETRY_MS));
  }
}

const NODE_PREFIX = 'node.';

/** A node's name as a part of a subject: bytes that it cannot have are written as `=XX`, so that no two nodes share one. */
export function encodeNodeId(nodeId: string): string {
  return Buffer.from(nodeId)
    .toString('latin1')
    .replace(
      /[^A-Za-z0-9_-]/g,
      (byte) => `=${byte.charCodeAt(0).toString(16).padStart(2, '0').toUpperCase()}`,
    );
}

/** The key of a node. */
export const nodeKey = (nodeId: string): string => NODE_PREFIX + encodeNodeId(nodeId);

/** The node that a key is for; `undefined` for keys that are something else. */
export function nodeOfKey(key: string): string | undefined {
  if (!key.startsWith(NODE_PREFIX)) return undefined;
  const bytes = key
    .slice(NODE_PREFIX.length)
    .replace(/=([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return Buffer.from(bytes, 'latin1').toString();
}

export function encodeReport(report: NodeReport): string {
  const { revision, hash, whenStale } = report;
  return JSON.stringify({ revision, hash, whenStale });
}

/** A report that cannot be read counts as that of a node that has announced nothing and drops nothing. */
export function decodeReport(nodeId: string, text: string): NodeReport {
  const unknown: NodeReport = { nodeId, revision: -1, hash: '', whenStale: 'keep' };
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return unknown;
  }
  if (typeof parsed !== 'object' || parsed === null) return unknown;
  const { revision, hash, whenStale } = parsed as Record<string, unknown>; // It is an object.
  if (!Number.isSafeInteger(revision) || typeof hash !== 'string') return unknown;
  if (whenStale !== 'drop' && whenStale !== 'keep') return unknown;
  return { nodeId, revision: revision as number, hash, whenStale }; // A safe integer.
}
