import { randomUUID } from 'node:crypto';
import type { CredentialRehash } from '@sallyport/domain';
import type { CommandExecutor } from '@sallyport/event-log';
import { assert } from '@sallyport/errors';
import { count } from '@sallyport/telemetry';

export interface RehashWriterPorts {
  readonly executor: Pick<CommandExecutor, 'execute'>;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
}

/**
 * Writes verifiers that replace imported hashes to the log, in one commit. What is replaced already is left alone, so it may be
 * repeated. @throws OperationalError as `CommandExecutor.execute`
 */
export async function writeRehashes(
  { executor, clock }: RehashWriterPorts,
  secrets: readonly CredentialRehash[],
): Promise<void> {
  const executed = await executor.execute(
    { type: 'RehashSecrets', data: { secrets } },
    { commitId: randomUUID(), at: clock(), actor: { kind: 'system', id: 'rehash' } },
  );
  assert(executed.ok, 'RehashSecrets is never refused');
  for (const _one of executed.events) count('sallyport.secrets.rehashed', { outcome: 'stored' });
}
