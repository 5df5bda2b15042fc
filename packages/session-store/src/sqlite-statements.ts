import { SECRET_USES_MAX } from './session-store.ts';
import type { Database } from './sqlite-database.ts';

const ENTRY = `
  SELECT position, state, message_id, broker, counter, bytes, delivery,
    coalesce(queue.body, bodies.body) AS body
  FROM queue LEFT JOIN bodies ON bodies.id = queue.shared
`;

/** A row of `ENTRY`. */
export interface EntryRow {
  readonly position: number;
  readonly state: 0 | 1 | 2;
  readonly message_id: number | null;
  readonly broker: string;
  readonly counter: number;
  readonly bytes: number;
  readonly delivery: string;
  readonly body: Uint8Array;
}

export type Statements = ReturnType<typeof prepareStatements>;

export function prepareStatements(database: Database) {
  const prepare = (sql: string) => database.prepare(sql);
  return {
    saveSession: prepare('INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?, ?)'),
    deleteSession: prepare('DELETE FROM sessions WHERE client = ?'),
    sessions: prepare('SELECT epoch, ends_at, record, will FROM sessions'),
    saveWill: prepare('INSERT OR REPLACE INTO wills VALUES (?, ?, ?, ?)'),
    deleteWill: prepare('DELETE FROM wills WHERE epoch = ?'),
    wills: prepare('SELECT epoch, due_at, record, will FROM wills ORDER BY epoch'),

    subscribe: prepare('INSERT OR REPLACE INTO subscriptions VALUES (?, ?, ?)'),
    unsubscribe: prepare('DELETE FROM subscriptions WHERE client = ? AND filter = ?'),
    unsubscribeAll: prepare('DELETE FROM subscriptions WHERE client = ?'),
    subscriptions: prepare('SELECT client, filter, options FROM subscriptions'),

    enqueue: prepare('INSERT INTO queue VALUES (?, ?, ?, ?, 0, NULL, ?, ?, ?, ?)'),
    saveBody: prepare('INSERT INTO bodies VALUES (?, ?, ?)'),
    lastBody: prepare('SELECT coalesce(max(id), 0) AS id FROM bodies'),
    deliveriesOf: prepare(`
      SELECT position, state, message_id, bytes, delivery FROM queue
      WHERE client = ? AND counter = ? AND broker = ? ORDER BY position
    `),
    send: prepare('UPDATE queue SET state = max(state, 1), message_id = ? WHERE position = ?'),
    release: prepare('UPDATE queue SET state = 2 WHERE position = ?'),
    positionOf: prepare(`
      SELECT position FROM queue WHERE client = ? AND message_id = ? ORDER BY position LIMIT 1
    `),
    entryOf: prepare(`${ENTRY} WHERE client = ? AND message_id = ? ORDER BY position LIMIT 1`),
    page: prepare(`${ENTRY} WHERE client = ? AND position > ? ORDER BY position LIMIT ?`),
    removeEntry: prepare('DELETE FROM queue WHERE position = ?'),
    removeQueue: prepare('DELETE FROM queue WHERE client = ?'),
    lastPosition: prepare('SELECT coalesce(max(position), 0) AS position FROM queue'),
    queues: prepare(
      'SELECT client, count(*) AS messages, sum(bytes) AS bytes FROM queue GROUP BY client',
    ),

    noteIncoming: prepare('INSERT OR IGNORE INTO incoming VALUES (?, ?, NULL)'),
    storeIncoming: prepare('INSERT OR REPLACE INTO incoming VALUES (?, ?, ?)'),
    incomingOf: prepare('SELECT packet FROM incoming WHERE client = ? AND message_id = ?'),
    deleteIncoming: prepare('DELETE FROM incoming WHERE client = ? AND message_id = ?'),
    deleteAllIncoming: prepare('DELETE FROM incoming WHERE client = ?'),
    incoming: prepare('SELECT client, message_id FROM incoming'),

    retain: prepare('INSERT OR REPLACE INTO retained VALUES (?, ?, ?)'),
    unretain: prepare('DELETE FROM retained WHERE topic = ?'),
    retainedOf: prepare('SELECT body FROM retained WHERE topic = ?'),
    retainedExpired: prepare('SELECT topic FROM retained WHERE expiry <= ? LIMIT ?'),
    retained: prepare('SELECT topic FROM retained'),

    putWill: prepare('INSERT OR REPLACE INTO connection_wills VALUES (?, ?, ?)'),
    willOf: prepare('SELECT node, will FROM connection_wills WHERE client = ?'),
    removeWill: prepare('DELETE FROM connection_wills WHERE client = ?'),
    connectionWills: prepare('SELECT client, node, will FROM connection_wills'),

    noteUse: prepare(`
      INSERT INTO secret_uses VALUES (?, ?, ?)
      ON CONFLICT DO UPDATE SET at = max(at, excluded.at)
    `),
    forgetUses: prepare(`
      DELETE FROM secret_uses WHERE credential = ?1 AND secret IN (
        SELECT secret FROM secret_uses WHERE credential = ?1
        ORDER BY at DESC LIMIT -1 OFFSET ${SECRET_USES_MAX}
      )
    `),
    uses: prepare('SELECT secret, at FROM secret_uses WHERE credential = ?'),
    forgetOldUses: prepare(`
      DELETE FROM secret_uses WHERE credential IN (
        SELECT credential FROM secret_uses GROUP BY credential HAVING max(at) < ?
      )
    `),
  };
}

/** State that no session owns is of connections that went with the process. */
export const FORGET_ORPHANS = `
  DELETE FROM subscriptions WHERE client NOT IN (SELECT client FROM sessions);
  DELETE FROM queue WHERE client NOT IN (SELECT client FROM sessions);
  DELETE FROM incoming WHERE client NOT IN (SELECT client FROM sessions);
`;
