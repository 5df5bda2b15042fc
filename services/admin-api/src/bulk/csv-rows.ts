import { Readable } from 'node:stream';
import { CsvError, parse } from 'csv-parse';
import type { TSchema } from 'typebox';
import { parseJson } from '../http/json-body.ts';
import { refused } from '../http/problems.ts';
import { plainCell } from './csv-cells.ts';
import { failureOf, malformed, type RawRow, type RawRows, ROW_LENGTH_MAX } from './raw-rows.ts';

/** Most columns of a file. */
export const CSV_COLUMNS_MAX = 256;
/** Rows that are handed on together. */
const BATCH_ROWS = 200;

interface Column {
  readonly name: string;
  /** Members from the outermost on. */
  readonly path: readonly string[];
  readonly kind: CellKind;
}

/** How the text of a cell becomes a value. */
type CellKind = 'text' | 'boolean' | 'json';

type SchemaNode = TSchema & {
  readonly type?: string;
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly additionalProperties?: unknown;
  readonly oneOf?: readonly SchemaNode[];
};

/**
 * Rows of CSV (RFC 4180) whose header names members of `schema`, those of inner objects with dots: `match.username`. Cells
 * are texts, `true` and `false`, or JSON for lists, numbers and whole objects; an empty cell is a member that is absent.
 */
export async function* csvRows(texts: AsyncIterable<string>, schema: TSchema): RawRows {
  const records = parse({
    relax_column_count: true,
    skip_empty_lines: true,
    max_record_size: ROW_LENGTH_MAX,
  });
  const parser = Readable.from(texts).compose(records) as AsyncIterable<string[]>; // Without `columns` records are lists of cells.
  let columns: readonly Column[] | undefined;
  let rows: RawRow[] = [];
  try {
    for await (const cells of parser) {
      if (columns === undefined) {
        columns = columnsOf(cells, schema);
        continue;
      }
      rows.push(rowOf(cells, columns));
      if (rows.length < BATCH_ROWS) continue;
      yield rows;
      rows = [];
    }
  } catch (error) {
    if (!(error instanceof CsvError)) throw error;
    // What came before the error is whole.
    yield rows;
    throw malformed(csvProblem(error));
  }
  if (columns === undefined) throw malformed('must begin with a line that names the columns');
  yield rows;
}

/** The parser's words would repeat what was sent, which may be a secret. */
function csvProblem({ code }: CsvError): string {
  if (code === 'CSV_MAX_RECORD_SIZE') return `has a row of more than ${ROW_LENGTH_MAX} characters`;
  if (code === 'CSV_QUOTE_NOT_CLOSED') return 'ends inside of quotes';
  return 'has quotes inside of a cell that is not quoted, or text behind a quoted cell';
}

/** @throws RefusedError `malformed_body` that names the column */
function columnsOf(header: readonly string[], schema: TSchema): readonly Column[] {
  if (header.length > CSV_COLUMNS_MAX)
    throw malformed(`must have at most ${CSV_COLUMNS_MAX} columns`);
  const seen = new Set<string>();
  return header.map((cell, index) => {
    const name = cell.trim();
    const path = name.split('.');
    const kind = kindOf(path, schema);
    const shown = JSON.stringify(name.slice(0, 64));
    if (kind === undefined) throw malformed(`column ${index + 1}, ${shown}, is not known here`);
    if (seen.has(name)) throw malformed(`column ${index + 1}, ${shown}, is there twice`);
    seen.add(name);
    return { name, path, kind };
  });
}

/** Undefined for a path that the schema does not have. Never looks at inherited members. */
function kindOf([name, ...rest]: readonly string[], schema: SchemaNode): CellKind | undefined {
  if (name === undefined) return leafKind(schema);
  for (const { properties = {}, additionalProperties } of [schema, ...(schema.oneOf ?? [])]) {
    const inner = Object.hasOwn(properties, name) ? properties[name] : undefined;
    if (inner !== undefined) return kindOf(rest, inner);
    // A map of texts, whose keys may have dots themselves.
    if (isSchema(additionalProperties) && name !== '') {
      return MAGIC.has([name, ...rest].join('.')) ? undefined : 'text';
    }
  }
  return undefined;
}

function leafKind(schema: SchemaNode): CellKind {
  if (schema.type === 'boolean') return 'boolean';
  return schema.type === 'string' || 'enum' in schema || 'const' in schema ? 'text' : 'json';
}

const isSchema = (value: unknown): boolean => typeof value === 'object' && value !== null;

const MAGIC: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype']);

function rowOf(cells: readonly string[], columns: readonly Column[]): RawRow {
  const text = JSON.stringify(cells);
  if (cells.length !== columns.length) {
    const detail = `has ${cells.length} cells, and there are ${columns.length} columns`;
    return { text, failure: { code: 'malformed_body', detail } };
  }
  try {
    const root: Members = new Map();
    for (const [index, { path, kind }] of columns.entries()) {
      const cell = cells[index] ?? '';
      if (cell !== '') put(root, path, valueOf(plainCell(cell), kind, path));
    }
    return { text, value: objectOf(root) };
  } catch (error) {
    return { text, failure: failureOf(error) };
  }
}

type Members = Map<string, unknown>;

function put(members: Members, path: readonly string[], value: unknown): void {
  const [name = '', inner, ...rest] = path;
  if (inner === undefined) {
    members.set(name, value);
    return;
  }
  let next = members.get(name);
  if (!(next instanceof Map)) members.set(name, (next = new Map()));
  // Keys of a map of texts may have dots, and nothing that is known here is deeper than two members.
  (next as Members).set([inner, ...rest].join('.'), value);
}

function objectOf(members: Members): Record<string, unknown> {
  const entries = [...members].map(
    ([name, value]) => [name, value instanceof Map ? objectOf(value as Members) : value] as const,
  );
  return Object.fromEntries(entries);
}

function valueOf(text: string, kind: CellKind, path: readonly string[]): unknown {
  if (kind === 'text') return text;
  try {
    const value = parseJson(kind === 'boolean' ? text.toLowerCase() : text);
    if (kind === 'json' || typeof value === 'boolean') return value;
  } catch (error) {
    const { detail = 'must be JSON' } = failureOf(error);
    throw cellProblem(path, kind === 'json' ? detail : 'must be true or false');
  }
  throw cellProblem(path, 'must be true or false');
}

const cellProblem = (path: readonly string[], detail: string): Error =>
  refused('malformed_body', { problems: [{ pointer: `/${path.join('/')}`, detail }] });
