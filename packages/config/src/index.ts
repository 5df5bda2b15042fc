export {
  ConnectAddress,
  formatHostPort,
  type HostPort,
  isListenAddress,
  ListenAddress,
  parseConnectAddress,
  parseHostPort,
  parseListenAddress,
  Url,
} from './address.ts';
export type { ConfigProblem } from './environment.ts';
export {
  allOrNone,
  type ConfigOf,
  type Frozen,
  loadConfig,
  type LoadOptions,
  redacted,
} from './load-config.ts';
export { printReference } from './reference.ts';
export {
  deploymentKey,
  maxStalenessSeconds,
  natsSection,
  adminNatsSection,
  opsSection,
  passwordPolicySection,
  policyClientSection,
  telemetrySection,
  TOKEN_LENGTH_MIN,
} from './sections.ts';
