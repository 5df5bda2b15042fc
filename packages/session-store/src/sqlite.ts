import type { OperationalError } from '@sallyport/errors';
import type { SessionStore, StoreLimits, StoreObserver } from './session-store.ts';
import { openDatabase } from './sqlite-database.ts';
import { SqliteSessionStore } from './sqlite-store.ts';

export interface SqliteSessionStoreOptions {
  /** Made when it is not there. One process has it at a time. */
  readonly path: string;
  readonly limits?: StoreLimits;
  readonly observer?: StoreObserver;
  /** `full`: what is acknowledged survives a power cut. `normal`: it survives a crash of the process. Default: `full`. */
  readonly synchronous?: 'full' | 'normal';
  /** Something to log: called once for each time that the disk fails or is full. */
  readonly onProblem?: (problem: OperationalError) => void;
}

/**
 * The store of a single node, in one SQLite file. Sessions, subscriptions and topics are in memory too; messages are not.
 * @throws OperationalError `session_store_unavailable` when the file is in use, damaged, or something else
 */
export async function openSqliteSessionStore(
  options: SqliteSessionStoreOptions,
): Promise<SessionStore> {
  const { path, synchronous = 'full' } = options;
  return SqliteSessionStore.open(openDatabase({ path, synchronous }), options);
}
