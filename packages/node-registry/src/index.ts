export { MemoryNodeRegistry } from './memory-registry.ts';
export {
  DEFAULT_MAX_STALENESS_MS,
  type EnforcedAnswer,
  HEARTBEAT_MS,
  type Membership,
  type NodeRegistry,
  type NodeReport,
  type NodeView,
} from './node-registry.ts';
