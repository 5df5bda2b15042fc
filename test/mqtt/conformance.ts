import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { repositoryPath } from '@sallyport/test-kit';

/** One line of a conformance table. */
export interface Row {
  readonly id: string;
  /** Titles of the tests that prove it; empty when `notApplicable` says why none can. */
  readonly titles: readonly string[];
  readonly notApplicable?: string;
}

export interface Table {
  readonly rows: readonly Row[];
  /** Lines that look like rows and are none. */
  readonly malformed: readonly string[];
}

const HEADER = /^\|\s*(?:statement\b|-)/i;

/** Reads the rows `| [MQTT-1.2.3-4] | what it says | title ; title |` (or `n/a: why`) of a page. */
export function parseTable(markdown: string): Table {
  const lines = markdown.split('\n').filter((line) => line.startsWith('|') && !HEADER.test(line));
  const rows = lines.map(parseRow);
  return {
    rows: rows.filter((row) => row !== undefined),
    malformed: lines.filter((_, index) => rows[index] === undefined),
  };
}

const ROW = /^\|\s*\[(MQTT-[\d.]+-\d+)\]\s*\|[^|]*\S[^|]*\|\s*([^|]*[^|\s])\s*\|$/;

function parseRow(line: string): Row | undefined {
  const [, id, proof] = ROW.exec(line) ?? [];
  if (id === undefined || proof === undefined) return undefined;
  if (!proof.startsWith('n/a')) return { id, titles: proof.split(/\s+;\s+/) };
  return { id, titles: [], notApplicable: proof.replace(/^n\/a:?\s*/, '') };
}

/** `it('…'`, `test("…"`, `it.each(…)('…'`; not `it.skip`, `it.todo` or `it.fails`, which prove nothing. */
const TITLE =
  /(?:\b(?:it|test)(?:\.(?:concurrent|sequential))?|\))\(\s*(['"`])((?:\\.|(?!\1)[^])*)\1\s*,/g;

/** Titles of the tests in a source, as they are written there: placeholders of `each` and of templates stay. */
export function titlesOf(source: string): readonly string[] {
  return [...source.matchAll(TITLE)].map(([, , title = '']) => title.replace(/\\(['"`])/g, '$1'));
}

/** A statement of a standard: `MQTT-3.1.1` and `MQTT-4.7.1-3`. The same id says different things in different standards. */
export interface Claim {
  readonly standard: string;
  readonly id: string;
}

const CLAIM = /\b(MQTT-\d\.\d(?:\.\d)?)(?= )|\[(MQTT-[\d.]+-\d+)\]/g;

/** The statements that a title says it proves: ids in brackets, each after its standard. */
export function claimsOf(title: string): readonly Claim[] {
  const claims: Claim[] = [];
  let standard = '';
  for (const [, named, id] of title.matchAll(CLAIM)) {
    if (named !== undefined) standard = named;
    if (id !== undefined) claims.push({ standard, id });
  }
  return claims;
}

export interface Standard {
  /** As titles of tests name it: `MQTT-3.1.1`. */
  readonly name: string;
  readonly statements: readonly string[];
  readonly table: Table;
}

/** Titles of all tests of the repository, and of those that are there for the tables. */
export interface Titles {
  readonly all: ReadonlySet<string>;
  readonly wire: ReadonlySet<string>;
}

/** What is wrong with a table, in sentences; nothing when statements, rows and tests are as one. */
export function problemsOf(standard: Standard, titles: Titles): readonly string[] {
  const { statements, table } = standard;
  const known = new Set(statements);
  const count = new Map<string, number>();
  for (const { id } of table.rows) count.set(id, (count.get(id) ?? 0) + 1);
  return [
    ...table.malformed.map((line) => `not a row: ${line}`),
    ...(known.size === statements.length ? [] : ['a statement is listed twice']),
    ...statements.filter((id) => !count.has(id)).map((id) => `${id} has no row`),
    ...[...count].flatMap(([id, rows]) => [
      ...(known.has(id) ? [] : [`${id} is no statement of the standard`]),
      ...(rows === 1 ? [] : [`${id} has ${rows} rows`]),
    ]),
    ...table.rows.flatMap((row) => problemsOfProof(row, standard.name, titles.all)),
    ...problemsOfClaims(standard, titles),
  ];
}

function problemsOfProof(
  row: Row,
  standard: string,
  titles: ReadonlySet<string>,
): readonly string[] {
  if (row.notApplicable === '') return [`${row.id} does not say why no test can prove it`];
  const claimed = (title: string): boolean =>
    claimsOf(title).some((claim) => claim.id === row.id && claim.standard === standard);
  return row.titles.flatMap((title) => [
    ...(titles.has(title) ? [] : [`${row.id}: no test is called "${title}"`]),
    ...(claimed(title) ? [] : [`${row.id} is not named by "${title}"`]),
  ]);
}

/** Tests that claim a statement that there is not, or, of the wire tests, one whose row does not name them. */
function problemsOfClaims(
  { name, statements, table }: Standard,
  titles: Titles,
): readonly string[] {
  const rows = new Map(table.rows.map((row) => [row.id, row]));
  return [...titles.all].flatMap((title) =>
    claimsOf(title).flatMap(({ standard, id }) => {
      if (standard !== name) return [];
      if (!statements.includes(id)) return [`"${title}" claims ${id}, which there is not`];
      const missing = titles.wire.has(title) && rows.get(id)?.titles.includes(title) === false;
      return missing ? [`the row of ${id} does not name "${title}"`] : [];
    }),
  );
}

const SKIPPED_FOLDERS = new Set(['node_modules', 'dist', 'generated']);

function* testSources(folder: string): Generator<string> {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory() && !SKIPPED_FOLDERS.has(entry.name)) yield* testSources(path);
    else if (entry.isFile() && entry.name.endsWith('.test.ts')) yield readFileSync(path, 'utf8');
  }
}

const titlesIn = (folders: readonly string[]): ReadonlySet<string> =>
  new Set(folders.flatMap((folder) => [...testSources(repositoryPath(folder))].flatMap(titlesOf)));

export const readTitles = (): Titles => ({
  all: titlesIn(['packages', 'services', 'test']),
  wire: titlesIn(['test/mqtt/v3', 'test/mqtt/v5']),
});

const NAMES: Readonly<Record<string, string>> = { '3': 'MQTT-3.1.1', '5': 'MQTT-5.0' };

/** Every `statements-<n>.json` of the folder, with the table of its `conformance-<n>.md`. */
export function readStandards(): readonly (Standard & { readonly page: string })[] {
  const folder = repositoryPath('test/mqtt');
  return readdirSync(folder).flatMap((file) => {
    const number = /^statements-(.+)\.json$/.exec(file)?.[1];
    if (number === undefined) return [];
    const page = `conformance-${number}.md`;
    const statements = JSON.parse(readFileSync(join(folder, file), 'utf8')) as string[];
    const table = parseTable(readFileSync(join(folder, page), 'utf8'));
    return [{ name: NAMES[number] ?? number, statements, table, page }];
  });
}
