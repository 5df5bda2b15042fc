// The only import of the driver in this package. Its API is `node:sqlite`'s.
import type { DatabaseSyncInstance, StatementSyncInstance } from '@photostructure/sqlite';

export { DatabaseSync } from '@photostructure/sqlite';
export type Database = DatabaseSyncInstance;
export type Statement = StatementSyncInstance;
