import { randomUUID } from 'node:crypto';
import type { Actor } from '@sallyport/domain';
import { OperationalError } from '@sallyport/errors';
import type { AdminApiPorts } from '../../ports.ts';

type Ports = Pick<AdminApiPorts, 'executor' | 'model' | 'clock' | 'telemetry'>;

/**
 * Removes the users of authenticators that are gone, as many commits as it takes. They open nothing from the first commit on, so it
 * does not matter who goes on with it, nor when. Never throws what the world says: what is left is left for the next.
 */
export async function removeUsers(ports: Ports, scope: string, actor: Actor): Promise<void> {
  const { executor, model, clock, telemetry } = ports;
  try {
    for (;;) {
      const [authenticator] = model.reads.authChain(scope)?.removing ?? [];
      if (authenticator === undefined) return;
      const command = { type: 'RemoveAuthenticatorUsers', data: { scope, authenticator } } as const;
      await executor.execute(command, { commitId: randomUUID(), at: clock(), actor });
    }
  } catch (error) {
    if (!(error instanceof OperationalError)) throw error;
    const { code } = error;
    telemetry.logger.warn({ code, scope }, 'users of a removed authenticator are still there');
  }
}

/** Goes on with what a process that has ended left behind. */
export async function resumeRemovals(ports: Ports): Promise<void> {
  const actor = { kind: 'system', id: 'auth-chains' } as const;
  for (const { scope, removing } of ports.model.lists.authChains()) {
    if (removing.length > 0) await removeUsers(ports, scope, actor);
  }
}
