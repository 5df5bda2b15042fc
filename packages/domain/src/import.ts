import type { ErrorCode, Rejection } from '@sallyport/errors';
import {
  type AclTableCommand,
  type AclTableEvent,
  type AclTableReads,
  presentRule,
} from './acl-table.ts';
import { accept, type Decided, type EventContext, reject, type Revision } from './commit.ts';
import type { CredentialCommand, CredentialReads } from './decide-credential.ts';
import type { CredentialEvent, NewCredential } from './credential.ts';

/** Most rows of one commit of an import. */
export const IMPORT_COMMIT_ROWS_MAX = 1000;

export const IMPORT_MODES = ['partial', 'atomic'] as const;

/** Whether rows that are refused leave the others alone, or nothing is stored when one of them is refused. */
export type ImportMode = (typeof IMPORT_MODES)[number];

/** Why a row was not stored. */
export interface RowFailure {
  readonly code: ErrorCode;
  readonly pointer?: string;
  readonly detail?: string;
}

/** What became of a row that added nothing. */
export type RowNote =
  | { readonly row: number; readonly outcome: 'updated' | 'unchanged'; readonly id: string }
  | ({ readonly row: number; readonly outcome: 'failed' } & RowFailure);

export interface ImportEvent {
  readonly type: 'ImportRowsStored';
  readonly data: {
    readonly importId: string;
    /** The rows that this commit disposes of, both included; the first row of a file is 1. `last` is `first - 1` for none. */
    readonly first: number;
    readonly last: number;
    /**
     * Rows without a note added the credentials of the commit's `CredentialAdded` events, or the rules of its `AclRuleAdded` events, in
     * order; a rule that was removed right before was there.
     */
    readonly notes: readonly RowNote[];
    /** Keyed digest of the rows as they were sent: tells a file that is continued from another one. */
    readonly fingerprint: string;
    /** True when the file has no further rows. */
    readonly done: boolean;
  };
}

/** How far a file has been imported. */
export interface Import {
  readonly id: string;
  /** Rows that have been disposed of, from the first on. */
  readonly rows: number;
  readonly created: number;
  readonly updated: number;
  readonly unchanged: number;
  readonly failed: number;
  readonly done: boolean;
  readonly startedAt: number;
  readonly updatedAt: number;
  readonly updatedRevision: Revision;
}

export function evolveImport(
  state: Import | undefined,
  { data }: ImportEvent,
  context: EventContext,
): Import {
  const of = (outcome: RowNote['outcome']): number =>
    data.notes.filter((note) => note.outcome === outcome).length;
  const rows = data.last - data.first + 1;
  return {
    id: data.importId,
    rows: data.last,
    created: (state?.created ?? 0) + rows - data.notes.length,
    updated: (state?.updated ?? 0) + of('updated'),
    unchanged: (state?.unchanged ?? 0) + of('unchanged'),
    failed: (state?.failed ?? 0) + of('failed'),
    done: data.done,
    startedAt: state?.startedAt ?? context.at,
    updatedAt: context.at,
    updatedRevision: context.revision,
  };
}

export interface ImportReads extends AclTableReads, Pick<CredentialReads, 'credential'> {
  import(id: string): Import | undefined;
}

/** What a row may ask for. */
export type RowCommand = CredentialCommand | Extract<AclTableCommand, { type: 'AddAclRule' }>;
type RowEvent = CredentialEvent | AclTableEvent;

/** What one row asks for: a command, nothing because all is as it says, or what is wrong with it. */
export type ImportRow =
  | { readonly command: RowCommand }
  | { readonly unchanged: string }
  | { readonly failure: RowFailure };

export interface ImportCommand {
  readonly type: 'StoreImportRows';
  readonly data: {
    readonly importId: string;
    readonly mode: ImportMode;
    /** Number of the first of `rows`; must follow on what has been stored of the import. */
    readonly first: number;
    readonly rows: readonly ImportRow[];
    readonly fingerprint: string;
    readonly done: boolean;
  };
}

/** Credentials that the rows would add. */
export function addedBy(rows: readonly ImportRow[]): readonly NewCredential[] {
  const added: NewCredential[] = [];
  for (const row of rows) {
    if ('command' in row && row.command.type === 'AddCredential') added.push(row.command.data);
  }
  return added;
}

/**
 * Decides the rows one after the other, each on what those before it do; `decideRow` also applies what it accepts. Refused
 * with `import_moved` when the rows do not follow on what is stored, and in atomic mode with what the first refused row says.
 */
export function decideImport(
  reads: ImportReads,
  { importId, mode, first, rows, fingerprint, done }: ImportCommand['data'],
  decideRow: (command: RowCommand) => Decided<RowEvent>,
): Decided<RowEvent | ImportEvent> {
  const current = reads.import(importId);
  if (current?.done === true || (current?.rows ?? 0) !== first - 1) return reject('import_moved');
  if (rows.length > IMPORT_COMMIT_ROWS_MAX) return reject('too_many_rows');
  const notes: RowNote[] = [];
  const events: RowEvent[] = [];
  for (const [index, wanted] of rows.entries()) {
    const row = first + index;
    const { note, events: caused } = disposeOf(reads, wanted, decideRow);
    if (note?.outcome === 'failed' && mode === 'atomic') return rejectAll(row, note);
    if (note !== undefined) notes.push({ row, ...note });
    events.push(...caused);
  }
  const last = first + rows.length - 1;
  return accept<RowEvent | ImportEvent>(
    { type: 'ImportRowsStored', data: { importId, first, last, notes, fingerprint, done } },
    ...events,
  );
}

type Unnumbered<N> = N extends RowNote ? Omit<N, 'row'> : never;

interface Disposed {
  /** None for a row that added something. */
  readonly note?: Unnumbered<RowNote>;
  readonly events: readonly RowEvent[];
}

function disposeOf(
  reads: ImportReads,
  wanted: ImportRow,
  decideRow: (command: RowCommand) => Decided<RowEvent>,
): Disposed {
  if ('failure' in wanted) return { note: { outcome: 'failed', ...wanted.failure }, events: [] };
  if ('unchanged' in wanted) {
    const id = wanted.unchanged;
    // The row before that was to add it may have been refused, or somebody has removed it.
    const gone = reads.credential(id) === undefined;
    return {
      note: gone
        ? { outcome: 'failed', code: 'credential_not_found' }
        : { outcome: 'unchanged', id },
      events: [],
    };
  }
  const { command } = wanted;
  const decided = decideRow(command);
  if (!decided.ok) {
    return { note: { outcome: 'failed', ...rowFailureOf(decided.rejection) }, events: [] };
  }
  const { events } = decided;
  const [first] = events;
  if (first?.type === 'CredentialAdded' || first?.type === 'AclRuleAdded') return { events };
  const outcome = events.length === 0 ? 'unchanged' : 'updated';
  return { note: { outcome, id: idOf(reads, command) }, events };
}

/** Of what a row speaks of that is there. */
function idOf(reads: AclTableReads, command: RowCommand): string {
  if (command.type !== 'AddAclRule') return command.data.id;
  const { target, rule } = command.data;
  return presentRule(reads.aclTable(target), rule)?.ruleId ?? rule.ruleId;
}

/** The first thing that is wrong with a row. */
export function rowFailureOf({ code, detail, problems }: Rejection): RowFailure {
  const [first] = problems ?? [];
  if (first !== undefined) return { code, pointer: first.pointer, detail: first.detail };
  return { code, ...(detail === undefined ? {} : { detail }) };
}

function rejectAll(row: number, failure: RowFailure): ReturnType<typeof reject> {
  const { code, pointer = '', detail = 'is refused' } = failure;
  return reject(code, { problems: [{ pointer: `/${row}${pointer}`, detail }] });
}
