import { saslprep } from './saslprep.ts';
import type { Problems } from './text.ts';

export const SCRAM_MECHANISMS = ['SCRAM-SHA-256', 'SCRAM-SHA-512'] as const;

/** A way to prove a password without sending it; the names are those of MQTT 5's Authentication Method. RFC 5802, RFC 7677 */
export type ScramMechanism = (typeof SCRAM_MECHANISMS)[number];

/** What one mechanism verifies a secret with; made from the same password as the secret's own verifier. */
export interface ScramKeys {
  readonly mechanism: ScramMechanism;
  /** Iterations, salt and keys, sealed under the deployment key. */
  readonly verifier: string;
}

interface HoldsScram {
  readonly scram?: readonly ScramKeys[];
}

/** SCRAM proves a user name, so a credential with SCRAM keys must match one, and in the form that SCRAM compares. */
export function checkScram(
  problems: Problems,
  pointer: string,
  username: string | undefined,
  secrets: readonly HoldsScram[],
): void {
  const keys = secrets.filter((one) => one.scram !== undefined && one.scram.length > 0);
  if (keys.length === 0) return;
  if (username === undefined) problems.add(pointer, 'is needed, because SCRAM proves a user name');
  else if (saslprep(username) !== username) {
    problems.add(pointer, 'must be as SASLprep (RFC 4013) leaves it, because SCRAM proves it');
  }
  for (const { scram = [] } of keys) {
    if (new Set(scram.map((one) => one.mechanism)).size < scram.length) {
      problems.add('/scram', 'must name each mechanism once');
    }
  }
}
