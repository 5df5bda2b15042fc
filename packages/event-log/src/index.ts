export {
  type AppendResult,
  COMMIT_BYTES_MAX,
  type EventLog,
  type FollowOptions,
  type RecordedCommit,
  type Tail,
} from './event-log.ts';
export {
  type CommandMeta,
  CommandExecutor,
  type DecisionModel,
  type Executed,
} from './execute-command.ts';
