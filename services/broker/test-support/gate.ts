import {
  ConnectionGate,
  type ConnectionLimits,
  type Refusal,
} from '../src/listeners/connection-gate.ts';

/** A gate that lets everybody in, but for the limits that are given. */
export function openGate(
  limits: Partial<ConnectionLimits> = {},
  onRefused?: (refusal: Refusal) => void,
  isBanned?: (address: string) => boolean,
): ConnectionGate {
  return new ConnectionGate({
    limits: {
      connectionsMax: 100_000,
      unauthenticatedPercentMax: 100,
      connectsPerSourcePerSecond: 0,
      connectsPerSourceBurst: 1,
      acceptsPerSecond: 0,
      connectTimeoutMs: 10_000,
      ...limits,
    },
    ...(onRefused !== undefined && { onRefused }),
    ...(isBanned !== undefined && { isBanned }),
  });
}
