import type { PlannedCommand } from '@sallyport/domain';
import { assert } from '@sallyport/errors';
import { COMMIT_BYTES_MAX } from '@sallyport/event-log';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Static } from 'typebox';
import { lintPlan } from '../../config-file/lint-plan.ts';
import {
  type Plan,
  changeView,
  planOf,
  pointedAt,
  type Rehearsed,
  rehearse,
} from '../../config-file/plan.ts';
import type { Change } from '../../config-file/section.ts';
import { derivedId, reasonOf } from '../../http/commit-identity.ts';
import type { ApiContext } from '../../http/context.ts';
import { callerText } from '../../http/permissions.ts';
import { RefusedError, refused } from '../../http/problems.ts';
import type { CommandInputs, WriteQuery } from '../../http/write.ts';
import type { applyQuery } from './schema.ts';

/** Commands of one commit, in bytes, about: some room below the log's limit, because events differ from commands a little. */
export const PART_BYTES_MAX = COMMIT_BYTES_MAX - 32 * 1024;
/** Most times that a plan is made anew, because objects have changed while it was carried out. */
export const APPLY_ATTEMPTS_MAX = 5;

type Query = Static<typeof applyQuery>;

/** Changes of one commit, with what makes them so. */
interface Part {
  readonly changes: readonly Change[];
  readonly commands: readonly PlannedCommand[];
}

export function planCounts(changes: readonly Change[]) {
  const of = (action: Change['action']): number =>
    changes.filter((one) => one.action === action).length;
  return { create: of('create'), update: of('update'), delete: of('delete') };
}

/** Makes everything as the file says, and answers. */
export async function apply(
  context: ApiContext,
  request: FastifyRequest,
  reply: FastifyReply,
  file: Readonly<Record<string, unknown>>,
  query: Query,
): Promise<unknown> {
  const guarded = request.headers['if-match'] !== undefined || query.expectedRevision !== undefined;
  for (let attempt = 1; ; attempt++) {
    const { caller } = request;
    assert(caller !== null, 'a write is authenticated');
    const plan = await planOf(context, file, { prune: query.prune, by: callerText(caller) });
    checkGuards(request, query, plan);
    const rehearsed = await rehearse(context, plan);
    if (query.dryRun) return dryAnswer(context, reply, plan, rehearsed);
    try {
      return await carryOut(context, request, reply, { plan, atomic: query.atomic });
    } catch (error) {
      const stale = error instanceof RefusedError && error.rejection.code === 'precondition_failed';
      if (!stale || guarded) throw error;
      if (attempt >= APPLY_ATTEMPTS_MAX) throw refused('log_conflict');
    }
  }
}

/** @throws RefusedError `precondition_failed` when the plan is not the one that the caller has seen */
function checkGuards(request: FastifyRequest, { expectedRevision }: Query, plan: Plan): void {
  const headers = { etag: plan.tag };
  const wanted = request.headers['if-match'];
  if (wanted !== undefined && wanted !== '*' && wanted !== plan.tag) {
    throw refused('precondition_failed', { headers });
  }
  if (expectedRevision === undefined) return;
  const newer = plan.changes.find((one) => (one.updatedRevision ?? 0) > expectedRevision);
  if (newer === undefined) return;
  const { section, key, pointer } = newer;
  const detail = `${section} ${key} was changed by revision ${newer.updatedRevision}`;
  throw refused('precondition_failed', { headers, problems: [{ pointer, detail }] });
}

async function dryAnswer(
  { ports }: ApiContext,
  reply: FastifyReply,
  { changes, tag, revision }: Plan,
  rehearsed: Rehearsed,
): Promise<unknown> {
  void reply.header('etag', tag);
  const warned = await lintPlan(ports.model.reads, rehearsed);
  const told = { ...planCounts(changes), changes: changes.map(changeView), revision, commits: 0 };
  return { ...told, ...warned };
}

async function carryOut(
  context: ApiContext,
  request: FastifyRequest,
  reply: FastifyReply,
  { plan, atomic }: { readonly plan: Plan; readonly atomic: boolean },
): Promise<unknown> {
  const { caller, commitIdentity: identity } = request;
  assert(caller !== null && identity !== null, 'a write is authenticated and identified');
  const at = context.ports.clock();
  const id = (purpose: string): string => derivedId(identity.commitId, `${plan.tag} ${purpose}`);
  const parts = await partsOf(plan.changes, { at, id });
  if (atomic && parts.length > 1) {
    const detail = `The changes need ${parts.length} commits; nothing was done.`;
    throw refused('commit_too_large', { detail });
  }
  const reason = reasonOf(request);
  const { apply } = request.query as WriteQuery; // The route's schema has `writeQuery`.
  const writeContext = {
    caller,
    ...(reason === undefined ? {} : { reason }),
    ...(apply === undefined ? {} : { apply }),
  };
  const [last, ...others] = [...parts].reverse();
  for (const [index, part] of others.reverse().entries()) {
    // Of the plan too: another plan of the same request, after some parts were made, has other commits.
    const own = { ...writeContext, identity: { commitId: id(`part-${index}`) } };
    await pointing(part, () => context.writer.run(own, { command: () => together(part) }));
  }
  const final = last ?? { changes: [], commands: [] };
  return pointing(final, () =>
    context.writer.respond(request, reply, {
      command: () => together(final),
      answer: ({ replayed }) => ({
        status: 200,
        body: {
          ...planCounts(replayed ? [] : plan.changes),
          changes: replayed ? [] : plan.changes.map(changeView),
          commits: parts.length,
        },
      }),
    }),
  );
}

const together = ({ commands }: Part) => ({ type: 'ChangeTogether', data: { commands } }) as const;

/** Says of a refusal where the file says so. */
async function pointing<T>(part: Part, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof RefusedError)) throw error;
    const change = part.changes[error.rejection.commandIndex ?? -1];
    if (change === undefined) throw error;
    throw new RefusedError(pointedAt(error.rejection, change), error.headers);
  }
}

/** @throws RefusedError for a secret that cannot be used, with the pointer into the file */
async function commandOf(change: Change, inputs: CommandInputs): Promise<PlannedCommand> {
  try {
    return await (change.command ?? change.rehearsal)(inputs);
  } catch (error) {
    throw error instanceof RefusedError
      ? new RefusedError(pointedAt(error.rejection, change), error.headers)
      : error;
  }
}

/** Changes that fit into one commit each, in order. */
async function partsOf(
  changes: readonly Change[],
  inputs: CommandInputs,
): Promise<readonly Part[]> {
  const parts: { changes: Change[]; commands: PlannedCommand[] }[] = [];
  let bytes = Infinity;
  for (const change of changes) {
    const command = await commandOf(change, inputs);
    const length = Buffer.byteLength(JSON.stringify(command));
    bytes += length;
    if (bytes > PART_BYTES_MAX) {
      parts.push({ changes: [], commands: [] });
      bytes = length;
    }
    parts.at(-1)?.changes.push(change);
    parts.at(-1)?.commands.push(command);
  }
  return parts;
}
