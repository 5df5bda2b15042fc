import {
  APPLY_MODES,
  type ApplyMode,
  type Command,
  type DomainEvent,
  type Revision,
} from '@sallyport/domain';
import { assert, OperationalError } from '@sallyport/errors';
import type { Executed } from '@sallyport/event-log';
import { attributes, currentTraceparent, observe, withSpan } from '@sallyport/telemetry';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import type { AdminApiPorts } from '../ports.ts';
import { type CommitIdentity, derivedId, reasonOf } from './commit-identity.ts';
import { etagOf, failed } from './etag.ts';
import { defaulted } from './list-query.ts';
import type { Caller } from './permissions.ts';
import { RefusedError, refused } from './problems.ts';

export const WAIT_DEFAULT_MS = 10_000;
export const WAIT_MAX_MS = 60_000;

/** Query parameters of every write, as they were sent. */
export interface WriteQuery {
  readonly wait?: 'enforced';
  readonly apply?: ApplyMode;
  readonly timeoutMs?: number;
}

/** Query parameters of every write. */
export const writeQuery = {
  wait: Type.Optional(
    Type.Literal('enforced', {
      description: 'Answers when every live node enforces the change.',
    }),
  ),
  apply: Type.Optional(
    Type.Enum([...APPLY_MODES], {
      description:
        'What this change does to all live sessions that it concerns, whatever their access says: `live` judges them anew, `kick` ' +
        'disconnects those whose rights are others now, `pinned` leaves them the rights that they have until they connect again or ' +
        'another change reaches them. Who may not be connected any more is not kept by `pinned`, except in the stores `clients` and `tbmq`.',
    }),
  ),
  timeoutMs: defaulted(
    Type.Integer({
      minimum: 0,
      maximum: WAIT_MAX_MS,
      default: WAIT_DEFAULT_MS,
      description: 'Longest wait, in milliseconds.',
    }),
  ),
};

/** What a command may be made from, the same on every attempt of the same request. */
export interface CommandInputs {
  readonly at: number;
  /** An id that a retry derives again. */
  id(purpose: string): string;
}

/** A commit that is stored. */
export interface Done {
  readonly revision: Revision;
  /** When the command was taken, in milliseconds since 1970. */
  readonly at: number;
  /** True when this is an earlier commit of the same request. */
  readonly replayed: boolean;
  readonly events: readonly DomainEvent[];
}

export interface Answer {
  readonly status: 200 | 201 | 204;
  readonly body?: Readonly<Record<string, unknown>>;
  /** Revision that last changed the object that is answered. */
  readonly updatedRevision?: Revision;
  readonly location?: string;
}

export interface Write {
  readonly command: (inputs: CommandInputs) => Command | Promise<Command>;
  readonly answer: (done: Done) => Answer;
  /** Revision that last changed the object now; for the entity tag of a 412. */
  readonly current?: () => Revision | undefined;
  /** What is left to do once the command is stored, before it is answered; also of a retry. Does not throw. */
  readonly afterwards?: () => Promise<void>;
  /** Makes the command again when the object has changed while it was made, because the caller set no condition. */
  readonly retryStale?: boolean;
}

/** Most attempts of one write whose object keeps changing. */
export const STALE_ATTEMPTS_MAX = 5;

/** A write as its caller identifies it. */
export interface WriteContext {
  readonly caller: Pick<Caller, 'kind' | 'id'>;
  readonly identity: CommitIdentity;
  readonly reason?: string;
  readonly apply?: ApplyMode;
}

type WritePorts = Pick<
  AdminApiPorts,
  'executor' | 'model' | 'log' | 'registry' | 'telemetry' | 'clock'
>;

/** Runs the commands of requests, once each, and answers with the revision at which they took effect. */
export class Writer {
  readonly #ports: WritePorts;

  constructor(ports: WritePorts) {
    this.#ports = ports;
  }

  /** For routes of the native API: idempotency, conditions, waiting and headers as all of them have it. */
  async respond(request: FastifyRequest, reply: FastifyReply, write: Write): Promise<unknown> {
    const { caller, commitIdentity: identity } = request;
    assert(caller !== null && identity !== null, 'a write is authenticated and identified');
    const reason = reasonOf(request);
    const { apply } = request.query as WriteQuery; // Every write has `writeQuery`.
    const context = {
      caller,
      identity,
      ...(reason === undefined ? {} : { reason }),
      ...(apply === undefined ? {} : { apply }),
    };
    const done = await this.run(context, write);
    await write.afterwards?.();
    if (done.replayed) void reply.header('idempotency-replayed', 'true');
    return this.#send(request, reply, done, write.answer(done));
  }

  /** Stores the command of a request, or finds that it is stored. @throws RefusedError what the domain says */
  async run(context: WriteContext, write: Omit<Write, 'answer'>): Promise<Done> {
    const { commitId, fingerprint } = context.identity;
    const earlier =
      fingerprint === undefined ? undefined : this.#ports.model.commitRevision(commitId);
    if (earlier !== undefined) return this.#replay(earlier, fingerprint);
    for (let attempt = 1; ; attempt++) {
      const at = this.#ports.clock();
      const command = await write.command({ at, id: (purpose) => derivedId(commitId, purpose) });
      const executed = await this.#execute(command, context, at);
      if (executed.ok) {
        const { revision, replayed, events } = executed;
        if (replayed) return this.#replay(revision, fingerprint);
        return { revision, at, replayed, events };
      }
      const { rejection } = executed;
      if (rejection.code !== 'precondition_failed') throw new RefusedError(rejection);
      if (write.retryStale !== true) throw failed(write.current?.());
      if (attempt >= STALE_ATTEMPTS_MAX) throw refused('log_conflict');
    }
  }

  #execute(command: Command, context: WriteContext, at: number): Promise<Executed> {
    const options = { attributes: { 'sallyport.command': command.type } };
    return withSpan('command', options, async (span) => {
      const { caller, identity, reason, apply } = context;
      const traceparent = currentTraceparent();
      const executed = await this.#ports.executor.execute(command, {
        ...identity,
        at,
        actor: { kind: caller.kind, id: caller.id },
        ...(reason === undefined ? {} : { reason }),
        ...(traceparent === undefined ? {} : { traceparent }),
        ...(apply === undefined ? {} : { apply }),
      });
      if (executed.ok) span.setAttribute(attributes.revision, executed.revision);
      const outcome = executed.ok ? 'done' : executed.rejection.code;
      span.setAttribute(attributes.outcome, outcome);
      return executed;
    });
  }

  /** Reads an earlier commit back, if it is one of the same request. */
  async #replay(revision: Revision, fingerprint: string | undefined): Promise<Done> {
    const [commit] = await this.#ports.log.read(revision - 1, 1);
    assert(commit?.revision === revision, 'a commit that the model has folded is in the log');
    if (commit.fingerprint !== fingerprint) throw refused('idempotency_key_reused');
    return { revision, at: commit.at, replayed: true, events: commit.events };
  }

  async #send(
    request: FastifyRequest,
    reply: FastifyReply,
    done: Done,
    answer: Answer,
  ): Promise<unknown> {
    const { revision } = done;
    void reply.header('sallyport-revision', String(revision));
    if (answer.updatedRevision !== undefined) {
      void reply.header('etag', etagOf(answer.updatedRevision));
    }
    if (answer.location !== undefined) void reply.header('location', answer.location);
    const body = answer.body === undefined ? undefined : { ...answer.body, revision };
    const query = request.query as WriteQuery; // Every write has `writeQuery`.
    if (query.wait === 'enforced') {
      const pendingNodes = await this.pendingNodes(revision, query.timeoutMs);
      if (pendingNodes !== undefined) {
        // What was made must get through even so: a secret is not told a second time.
        const result = body === undefined ? {} : { result: body };
        return reply.code(202).send({ revision, enforced: false, pendingNodes, ...result });
      }
      void reply.header('sallyport-enforced', 'true');
    }
    return reply.code(answer.status).send(body);
  }

  /** Nodes that do not enforce the revision yet; undefined when all do. The write is stored, so no failure gets out. */
  async pendingNodes(
    revision: Revision,
    timeoutMs = WAIT_DEFAULT_MS,
  ): Promise<readonly string[] | undefined> {
    const { registry, telemetry } = this.#ports;
    const started = performance.now();
    try {
      const { enforced, pending } = await registry.waitEnforced(revision, timeoutMs);
      const outcome = enforced ? 'enforced' : 'timeout';
      observe('sallyport.enforcement.duration', (performance.now() - started) / 1000, { outcome });
      return enforced ? undefined : pending;
    } catch (error) {
      if (!(error instanceof OperationalError)) throw error;
      telemetry.logger.warn(
        { err: error, code: error.code },
        'cannot tell who enforces a revision',
      );
      return registry.nodes().map((node) => node.nodeId);
    }
  }
}
