import type { Rejection } from '@sallyport/errors';
import type { Actor, Command, DecisionReads, DomainEvent, Revision } from '@sallyport/domain';
import type { EventLog } from './event-log.ts';

/** A projection that decisions are made on. */
export interface DecisionModel {
  /** Revision that `reads` answers for. */
  readonly revision: Revision;
  readonly reads: DecisionReads;
  /** The revision at which a commit id was stored, for retries that come after the log's own window. */
  commitRevision(commitId: string): Revision | undefined;
  /** Resolves when `revision` has been folded. @throws OperationalError `policy_not_ready` after `timeoutMs` */
  waitFor(revision: Revision, timeoutMs: number): Promise<void>;
}

export interface CommandMeta {
  readonly commitId: string;
  readonly at: number;
  readonly actor: Actor;
  readonly reason?: string;
  readonly traceparent?: string;
  readonly fingerprint?: string;
}

export type Executed =
  | {
      readonly ok: true;
      /** Revision of the commit; for a command that changes nothing, the revision it was decided at. */
      readonly revision: Revision;
      /** True when this commit id was stored before; nothing was done again. */
      readonly replayed: boolean;
      readonly events: readonly DomainEvent[];
    }
  | { readonly ok: false; readonly rejection: Rejection };

/** Runs commands: load, decide, append, and again on conflict. Commands that arrive together share one append. */
export class CommandExecutor {
  constructor(_options: { readonly log: EventLog; readonly model: DecisionModel }) {
    throw new Error('not built yet');
  }

  /** The answer comes after the commit is stored and folded by the model, so that the caller reads its own write. */
  execute(_command: Command, _meta: CommandMeta): Promise<Executed> {
    throw new Error('not built yet');
  }
}
