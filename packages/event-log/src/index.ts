export {
  type AppendResult,
  COMMIT_BYTES_MAX,
  type EventLog,
  type FollowOptions,
  type RecordedCommit,
  type Tail,
} from './event-log.ts';
export {
  BATCH_COMMANDS_MAX,
  type CommandMeta,
  CommandExecutor,
  CONFLICT_RETRIES_MAX,
  type DecisionModel,
  type Executed,
  FOLD_TIMEOUT_MS,
  QUEUE_COMMANDS_MAX,
} from './execute-command.ts';
export { digestOf, INITIAL_HASH, nextHash } from './hash.ts';
export { MemoryEventLog } from './memory-log.ts';
export { FOLLOW_BATCH_COMMITS_MAX } from './record.ts';
