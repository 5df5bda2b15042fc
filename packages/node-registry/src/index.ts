export {
  type EnforcedAnswer,
  HEARTBEAT_MS,
  type Membership,
  type NodeRegistry,
  type NodeReport,
  type NodeView,
} from './node-registry.ts';
