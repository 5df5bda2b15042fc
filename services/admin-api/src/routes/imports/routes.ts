import { PassThrough, pipeline, Readable } from 'node:stream';
import type { Import } from '@sallyport/domain';
import { assert } from '@sallyport/errors';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Static, TSchema } from 'typebox';
import { AclRows } from '../../bulk/acl-rows.ts';
import { CredentialRows } from '../../bulk/credential-rows.ts';
import { csvRows } from '../../bulk/csv-rows.ts';
import type { RowResult } from '../../bulk/import-results.ts';
import { ImportRun } from '../../bulk/import-run.ts';
import { jsonRows, ndjsonRows } from '../../bulk/json-rows.ts';
import type { RowPreparer } from '../../bulk/prepared-row.ts';
import { decodedText, type RawRows } from '../../bulk/raw-rows.ts';
import { RowWorkshop } from '../../bulk/row-workshop.ts';
import { limitBodyPauses } from '../../http/body-timeout.ts';
import { derivedId, reasonOf } from '../../http/commit-identity.ts';
import type { ApiContext, Routes, TypedApp } from '../../http/context.ts';
import { instant } from '../../http/list-query.ts';
import { answers, READ_PROBLEMS, WRITE_PROBLEMS } from '../../http/openapi.ts';
import { logFailure, problemOf, refused, rejectionOf } from '../../http/problems.ts';
import { aclRow } from '../acl/schema.ts';
import { createBody, emptyQuery } from '../credentials/schema.ts';
import { importLineSchema, importParams, importQueryOf, importSchema } from './schema.ts';

const NDJSON = 'application/x-ndjson';

/** Most imports that run in one process at the same time. */
export const IMPORTS_RUNNING_MAX = 4;
/** Most bytes of a body that wait for the rows before them. */
const WAITING_BYTES_MAX = 20 * 1024 * 1024;

/** How long a client may not read its answer; longer than hashing the passwords of one commit takes. */
const ANSWER_IDLE_MS = 120_000;

const mediaTypes: Readonly<
  Record<string, (texts: AsyncIterable<string>, schema: TSchema) => RawRows>
> = {
  'text/csv': csvRows,
  'application/json': jsonRows,
  [NDJSON]: ndjsonRows,
};

type Query = Static<ReturnType<typeof importQueryOf>>;

/** What all imports of a process share. */
interface Imports {
  readonly running: Map<string, ImportRun>;
  readonly workshop: RowWorkshop;
}

/** What is imported at one address. */
interface ImportKind {
  readonly resource: 'credentials' | 'acl';
  readonly operationId: string;
  readonly summary: string;
  /** What a row is, for people. */
  readonly rows: string;
  /** Schema of a row; columns of CSV name its members. */
  readonly row: TSchema;
  readonly query: ReturnType<typeof importQueryOf>;
  /** Part of what tells one file from another. */
  readonly fingerprinted: string;
  readonly preparer: (context: ApiContext, query: Query, workshop: RowWorkshop) => RowPreparer;
}

const KINDS: readonly ImportKind[] = [
  {
    resource: 'credentials',
    operationId: 'importCredentials',
    summary: 'Add many credentials from CSV, JSON or NDJSON',
    rows: 'Rows are what `POST /credentials` takes.',
    row: createBody,
    query: importQueryOf('What becomes of a row whose name a credential has already.'),
    fingerprinted: '',
    preparer: (context, { existing, dryRun: dry }, workshop) =>
      new CredentialRows(context, { existing, dry, workshop }),
  },
  {
    resource: 'acl',
    operationId: 'importAcl',
    summary: 'Add many rules from CSV, JSON or NDJSON',
    rows: 'A row is one rule and for whom it is; it comes behind the rules that its target has.',
    row: aclRow,
    query: importQueryOf(
      'What becomes of a row whose target has a rule of its id, or one that says the same.',
    ),
    fingerprinted: 'acl ',
    preparer: (_context, { existing }) => new AclRows(existing),
  },
];

export const importRoutes: Routes = (app, context) => {
  const running = new Map<string, ImportRun>();
  const { secretBox, telemetry } = context.ports;
  const workshop = new RowWorkshop(
    { sealingKey: secretBox.sealingKey, schema: createBody },
    telemetry.logger,
  );
  app.addHook('onClose', () => workshop[Symbol.asyncDispose]());
  registerProgress(app, context, running);
  // The body goes to the handler as it comes in; in a scope of its own, because parsers are of a scope.
  void app.register((scoped, _options, done) => {
    scoped.removeAllContentTypeParsers();
    scoped.addContentTypeParser(Object.keys(mediaTypes), (_request, _payload, parsed) => {
      parsed(null, undefined);
    });
    for (const kind of KINDS) registerImport(scoped, context, { running, workshop }, kind);
    done();
  });
};

function registerImport(
  app: TypedApp,
  context: ApiContext,
  { running, workshop }: Imports,
  kind: ImportKind,
): void {
  const { resource, operationId, summary, rows, query } = kind;
  const content = Object.keys(mediaTypes).map((type) => [type, { schema: {} }] as const);
  const line = { description: 'A line a row', content: { [NDJSON]: { schema: importLineSchema } } };
  app.post(
    `/${resource}/import`,
    {
      config: { permission: `${resource}:write` },
      schema: {
        tags: [resource],
        operationId,
        summary,
        description: `${rows} With an \`Idempotency-Key\` the same file goes on where it stopped.`,
        querystring: query,
        body: { content: Object.fromEntries(content) },
        response: { ...answers({}, WRITE_PROBLEMS), 200: line },
      },
    },
    async (request, reply) => {
      const importId = importIdOf(request);
      if (running.has(importId)) throw refused('import_moved');
      if (running.size >= IMPORTS_RUNNING_MAX) throw refused('too_many_imports');
      const preparer = kind.preparer(context, request.query, workshop);
      const run = runOf(context, { request, reply }, { importId, kind, preparer });
      running.set(importId, run);
      const lines = linesOf(context, run, { request, importId }, () => running.delete(importId));
      // A client that goes away ends the import behind the commit that is under way, and not before it: until then another
      // request of the same import would come too early.
      reply.raw.once('close', () => void lines.return(undefined));
      reply.raw.setTimeout(ANSWER_IDLE_MS, () => reply.raw.destroy());
      // The first rows decide about the status; what goes wrong later is told in the last line.
      const first = await lines.next();
      void reply.type(NDJSON).header('sallyport-import', importId);
      return sendLines(reply, lines, first);
    },
  );
}

function importIdOf({ commitIdentity }: FastifyRequest): string {
  assert(commitIdentity !== null, 'a write is identified');
  return derivedId(commitIdentity.commitId, 'import');
}

function runOf(
  context: ApiContext,
  { request, reply }: { readonly request: FastifyRequest; readonly reply: FastifyReply },
  {
    importId,
    kind: { row, fingerprinted: kind },
    preparer,
  }: { readonly importId: string; readonly kind: ImportKind; readonly preparer: RowPreparer },
): ImportRun {
  const { caller } = request;
  assert(caller !== null, 'a write is authenticated');
  const query = request.query as Query; // The route's schema.
  const { importRowsMax: rowsMax, importBytesMax } = context.config;
  const type = request.headers['content-type']?.split(';', 1)[0]?.trim().toLowerCase() ?? '';
  const rowsOf = Object.hasOwn(mediaTypes, type) ? mediaTypes[type] : undefined;
  if (rowsOf === undefined) throw refused('unsupported_media_type');
  const waiting = new PassThrough({ highWaterMark: Math.min(importBytesMax, WAITING_BYTES_MAX) });
  pipeline(request.raw, waiting, () => undefined); // A failure destroys `waiting`, and so reaches who reads it.
  limitBodyPauses(request.raw, reply.raw, { heldUp: () => waiting.writableNeedDrain });
  const reason = reasonOf(request);
  const options = { ...query, importId, caller, rowsMax, kind, preparer };
  return new ImportRun(context, rowsOf(decodedText(waiting, importBytesMax), row), {
    ...options,
    ...(reason === undefined ? {} : { reason }),
  });
}

/** The lines of the answer. Throws only before the first one. */
async function* linesOf(
  context: ApiContext,
  run: ImportRun,
  { request, importId }: { readonly request: FastifyRequest; readonly importId: string },
  onEnd: () => void,
): AsyncGenerator<string> {
  const counts = { created: 0, updated: 0, unchanged: 0, error: 0 };
  let started = false;
  let problem;
  try {
    for await (const results of run.results()) {
      for (const { outcome } of results) counts[outcome]++;
      if (results.length === 0) continue;
      started = true;
      yield textOf(results);
    }
  } catch (error) {
    if (!started) throw error;
    const rejection = rejectionOf(error);
    logFailure(request, error, rejection);
    problem = problemOf(rejection, `urn:sallyport:request:${request.id}`);
  } finally {
    onEnd();
  }
  const { error: failed, ...others } = counts;
  const state = problem === undefined ? run.state : 'stopped';
  const { rowsRead: rows, revision } = run;
  const told = problem === undefined ? {} : { problem };
  const enforced = await enforcementOf(context, request.query as Query, run); // The route's schema.
  const summary = { importId, state, rows, ...others, failed, revision, ...enforced, ...told };
  yield `${JSON.stringify({ summary })}\n`;
}

/** What the last line tells of the nodes, to who wants to wait for them; also of an import that stopped, for its rows are stored. */
async function enforcementOf(
  { writer }: ApiContext,
  { wait, timeoutMs, dryRun }: Query,
  { revision }: ImportRun,
) {
  if (wait === undefined || dryRun) return {};
  const pendingNodes = await writer.pendingNodes(revision, timeoutMs);
  return pendingNodes === undefined ? { enforced: true } : { enforced: false, pendingNodes };
}

function textOf(results: readonly RowResult[]): string {
  let text = '';
  for (const result of results) text += `${JSON.stringify(result)}\n`;
  return text;
}

function sendLines(
  reply: FastifyReply,
  lines: AsyncGenerator<string>,
  first: IteratorResult<string, unknown>,
): FastifyReply {
  async function* all(): AsyncGenerator<string> {
    if (first.done !== true) yield first.value;
    yield* lines;
  }
  return reply.send(Readable.from(all()));
}

function registerProgress(
  app: TypedApp,
  context: ApiContext,
  running: ReadonlyMap<string, ImportRun>,
): void {
  app.get(
    '/imports/:id',
    {
      config: { permission: 'credentials:read' },
      schema: {
        tags: ['credentials', 'acl'],
        operationId: 'getImport',
        summary: 'Read how far an import has come',
        params: importParams,
        querystring: emptyQuery,
        response: answers({ 200: importSchema }, READ_PROBLEMS),
      },
    },
    (request) => {
      const { id } = request.params;
      const run = running.get(id);
      const known = context.ports.model.reads.import(id);
      if (run === undefined && known === undefined) throw refused('import_not_found');
      return { ...progressOf(id, known), ...(run === undefined ? {} : runningOf(run, known)) };
    },
  );
}

/** As far as the log tells. */
function progressOf(id: string, known: Import | undefined) {
  if (known === undefined) {
    const none = { created: 0, updated: 0, unchanged: 0, failed: 0 };
    return { id, state: 'open', rowsRead: 0, rows: 0, ...none, updatedRevision: 0 };
  }
  const { rows, created, updated, unchanged, failed, updatedRevision } = known;
  return {
    ...{ id, state: known.done ? 'finished' : 'open', rowsRead: rows, rows },
    ...{ created, updated, unchanged, failed, updatedRevision },
    startedAt: instant(known.startedAt),
    updatedAt: instant(known.updatedAt),
  };
}

const runningOf = (run: ImportRun, known: Import | undefined) => ({
  state: 'running',
  rowsRead: Math.max(run.rowsRead, known?.rows ?? 0),
});
