export { type CollectedPage, collectPage, type CollectRequest, Scatter } from './collect-list.ts';
export {
  answerList,
  compareKeys,
  LIST_PARTS_MAX,
  LIST_ROWS_MAX,
  type ListKey,
  type ListQuery,
  type ListQuestion,
  type ListRow,
  type PageOfNode,
  parseListQuestion,
  type SortedRows,
  type SplitOfNode,
} from './live-list.ts';
export { LocalNodeCalls } from './local-calls.ts';
export { MemoryNodeRegistry } from './memory-registry.ts';
export {
  ANSWER_BYTES_MAX,
  type AnswerQuestion,
  type NodeCalls,
  QUESTION_BYTES_MAX,
} from './node-calls.ts';
export {
  DEFAULT_MAX_STALENESS_MS,
  type EnforcedAnswer,
  HEARTBEAT_MS,
  type Membership,
  type NodeRegistry,
  type NodeReport,
  type NodeView,
} from './node-registry.ts';
