import { Readable } from 'node:stream';
import type { Snapshot } from '@sallyport/read-model';
import type { FastifyReply } from 'fastify';
import { type Static, type TProperties, type TSchema, Type } from 'typebox';
import type { ApiContext, TypedApp } from '../http/context.ts';
import { defaulted } from '../http/list-query.ts';
import { answers, READ_PROBLEMS } from '../http/openapi.ts';
import type { AdminReadModel } from '../ports.ts';
import { csvLine } from './csv-cells.ts';
import { turn } from './turn.ts';

const FORMATS = ['ndjson', 'json', 'csv'] as const;
type Format = (typeof FORMATS)[number];

const mediaTypes = {
  ndjson: 'application/x-ndjson',
  json: 'application/json',
  csv: 'text/csv; charset=utf-8; header=present',
} as const satisfies Record<Format, string>;

/** Rows that are told at one address, as an import takes them. */
export interface RowExport<Row, Query extends TProperties> {
  readonly resource: 'credentials' | 'acl';
  readonly operationId: string;
  readonly summary: string;
  readonly description: string;
  /** Members of the query beside the format. */
  readonly query: Query;
  /** Schema of a row. */
  readonly row: TSchema;
  /** Of CSV; an import takes the same ones. */
  readonly columns: readonly string[];
  readonly cells: (row: Row) => readonly string[];
  /** Between two pages others have their turn. */
  readonly pages: (
    snapshot: Snapshot,
    query: Static<ReturnType<typeof Type.Object<Query>>>,
  ) => Iterable<readonly Row[]>;
}

/** `GET /<resource>/export`: everything at one revision, in any of the formats. */
export function registerRowExport<Row, Query extends TProperties>(
  app: TypedApp,
  { ports }: ApiContext,
  told: RowExport<Row, Query>,
): void {
  const { resource, operationId, summary, description, query, row } = told;
  const found: Readonly<Record<string, unknown>> = {
    200: {
      description: 'The rows',
      content: {
        'application/x-ndjson': { schema: row },
        'application/json': { schema: Type.Array(row) },
        'text/csv': { schema: Type.String() },
      },
    },
  };
  const format = defaulted(Type.Enum([...FORMATS], { default: 'ndjson' }));
  app.get(
    `/${resource}/export`,
    {
      config: { permission: `${resource}:read` },
      schema: {
        tags: [resource],
        operationId,
        summary,
        description,
        querystring: Type.Object({ ...query, format }, { additionalProperties: false }),
        response: { ...answers({}, READ_PROBLEMS), ...found },
      },
    },
    (request, reply) => {
      type Asked = { readonly format: Format } & Parameters<typeof told.pages>[1];
      const asked = request.query as Asked; // The route's schema.
      const snapshot = openSnapshot(ports.model, reply);
      void reply
        .type(mediaTypes[asked.format])
        .header('content-disposition', `attachment; filename="${resource}.${asked.format}"`);
      return reply.send(Readable.from(textOf(told, told.pages(snapshot, asked), asked.format)));
    },
  );
}

/** What an answer is read from; its revision is told as `Sallyport-Revision`. */
export function openSnapshot(model: AdminReadModel, reply: FastifyReply): Snapshot {
  const snapshot = model.snapshot();
  // Whatever becomes of the answer: an open snapshot keeps the read model's file growing.
  reply.raw.once('close', () => {
    snapshot[Symbol.dispose]();
  });
  void reply.header('sallyport-revision', String(snapshot.revision));
  return snapshot;
}

async function* textOf<Row>(
  { columns, cells }: Pick<RowExport<Row, TProperties>, 'columns' | 'cells'>,
  pages: Iterable<readonly Row[]>,
  format: Format,
): AsyncGenerator<string> {
  const { head, between, tail, row } = {
    ndjson: { head: '', between: '', tail: '', row: (one: Row) => `${JSON.stringify(one)}\n` },
    json: { head: '[', between: ',\n', tail: ']\n', row: (one: Row) => JSON.stringify(one) },
    csv: { head: csvLine(columns), between: '', tail: '', row: (one: Row) => csvLine(cells(one)) },
  }[format];
  let text = head;
  let first = true;
  for (const page of pages) {
    for (const one of page) {
      text += (first ? '' : between) + row(one);
      first = false;
    }
    if (text !== '') yield text;
    text = '';
    await turn();
  }
  yield text + tail;
}
