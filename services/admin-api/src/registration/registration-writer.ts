import { randomUUID } from 'node:crypto';
import type { RegistrationAttempt } from '@sallyport/domain';
import { assert } from '@sallyport/errors';
import type { CommandExecutor } from '@sallyport/event-log';

export interface RegistrationWriterPorts {
  readonly executor: Pick<CommandExecutor, 'execute'>;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
}

/** Who causes the commits of those who are not known yet. */
export const REGISTRATION_ACTOR = { kind: 'system', id: 'registration' } as const;

/**
 * Records refused connections, in one commit; what may not be recorded is left out. @throws OperationalError as
 * `CommandExecutor.execute`
 */
export async function writeRegistrations(
  { executor, clock }: RegistrationWriterPorts,
  attempts: readonly RegistrationAttempt[],
): Promise<void> {
  const executed = await executor.execute(
    { type: 'RecordRegistrations', data: { attempts } },
    { commitId: randomUUID(), at: clock(), actor: REGISTRATION_ACTOR },
  );
  assert(executed.ok, 'RecordRegistrations is never refused');
}
