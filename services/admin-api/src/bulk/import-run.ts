import {
  type ApplyMode,
  decide,
  type DomainEvent,
  IMPORT_COMMIT_ROWS_MAX,
  type ImportCommand,
  type ImportMode,
  Overlay,
  type Revision,
  streamOf,
} from '@sallyport/domain';
import { assert, isOperational } from '@sallyport/errors';
import { COMMIT_BYTES_MAX } from '@sallyport/event-log';
import { currentTraceparent } from '@sallyport/telemetry';
import type { ApiContext } from '../http/context.ts';
import type { Caller } from '../http/permissions.ts';
import { RefusedError, refused } from '../http/problems.ts';
import type { CommandInputs } from '../http/write.ts';
import { resultsOf, type RowResult, storedRows } from './import-results.ts';
import type { Existing, PreparedRow, RowPreparer } from './prepared-row.ts';
import { OrderedIds } from './ordered-id.ts';
import type { RawRow, RawRows } from './raw-rows.ts';
import { RowBuffer } from './row-buffer.ts';

/** Rows of one commit: few enough that deciding and folding them holds the process for some milliseconds only. */
export const CHUNK_ROWS_MAX = 400;
/** Bytes of one commit, about: some room below the log's limit, because they are estimated. */
export const CHUNK_BYTES_MAX = COMMIT_BYTES_MAX - 16 * 1024;

export interface ImportOptions {
  readonly importId: string;
  readonly caller: Pick<Caller, 'kind' | 'id'>;
  readonly reason?: string;
  /** What the rows do to live sessions, whatever those say themselves. */
  readonly apply?: ApplyMode | undefined;
  readonly mode: ImportMode;
  readonly existing: Existing;
  readonly dryRun: boolean;
  readonly rowsMax: number;
  /** What the rows are. */
  readonly preparer: RowPreparer;
  /** Tells files of one kind of rows from those of another. */
  readonly kind: string;
}

/** Rows of one commit. */
interface Chunk {
  /** Number of the first row. */
  readonly first: number;
  readonly raw: readonly RawRow[];
  readonly prepared: readonly PreparedRow[];
  readonly done: boolean;
}

export type ImportState = 'finished' | 'refused' | 'dry';

/** One request that brings rows. Rows that an earlier request of the same import has stored are answered, not stored again. */
export class ImportRun {
  readonly #context: ApiContext;
  readonly #options: ImportOptions;
  readonly #inputs: CommandInputs;
  readonly #buffer: RowBuffer;
  /** What the rows of a dry run would do. */
  readonly #dry: Overlay;
  #first = 1;
  #revision: Revision;
  #state: ImportState;

  constructor(context: ApiContext, rows: RawRows, options: ImportOptions) {
    this.#context = context;
    this.#options = options;
    this.#buffer = new RowBuffer(rows, options.rowsMax);
    const { clock, model } = context.ports;
    const at = clock();
    const ids = new OrderedIds();
    this.#inputs = { at, id: () => ids.next(at) };
    this.#dry = new Overlay(model.reads, at);
    this.#revision = model.revision;
    this.#state = options.dryRun ? 'dry' : 'finished';
  }

  /** Rows that came in. */
  get rowsRead(): number {
    return this.#buffer.read;
  }

  /** The newest revision at which rows of the import took effect. */
  get revision(): Revision {
    return this.#revision;
  }

  get state(): ImportState {
    return this.#state;
  }

  /**
   * Results in the order of the rows, some at a time.
   * @throws RefusedError `too_many_rows`, `idempotency_key_reused`, `import_moved`, `commit_too_large`, and what the rows
   * throw. The rows that were answered before are stored.
   */
  async *results(): AsyncGenerator<readonly RowResult[]> {
    if (!this.#options.dryRun) {
      const ended = yield* this.#answerStored();
      if (ended) return;
    }
    if (this.#options.mode === 'atomic') yield* this.#atomically();
    else yield* this.#inChunks();
  }

  /** Answers rows that are stored already. True when that was all of them. */
  async *#answerStored(): AsyncGenerator<readonly RowResult[], boolean> {
    const { model, log } = this.#context.ports;
    for (const revision of model.lists.importCommits(this.#options.importId)) {
      const [commit] = await log.read(revision - 1, 1);
      assert(commit?.revision === revision, 'a commit that the model has folded is in the log');
      const { first, last, fingerprint, done } = storedRows(commit.events);
      const count = last - first + 1;
      const rows = count === 0 ? [] : await this.#buffer.take(count);
      if (rows.length < count || fingerprint !== this.#fingerprint(rows)) {
        throw refused('idempotency_key_reused');
      }
      this.#first = last + 1;
      this.#revision = revision;
      yield resultsOf(commit.events, () => undefined);
      if (!done) continue;
      if (!(await this.#buffer.atEnd())) throw refused('idempotency_key_reused');
      return true;
    }
    return false;
  }

  /** While the log stores one chunk, the next one is made ready. */
  async *#inChunks(): AsyncGenerator<readonly RowResult[]> {
    let coming = this.#nextChunk(this.#first);
    for (let done = false; !done;) {
      const chunk = await coming;
      ({ done } = chunk);
      if (!done) {
        coming = this.#nextChunk(chunk.first + chunk.raw.length);
        coming.catch(() => undefined); // Told when its turn comes; nobody asks when this chunk is the last that is stored.
      }
      for (const part of byBytes(chunk)) yield* this.#storeSplit(part);
    }
  }

  async #nextChunk(first: number): Promise<Chunk> {
    const raw = await this.#buffer.take(CHUNK_ROWS_MAX);
    const done = await this.#buffer.atEnd();
    const prepared = await this.#prepareAll(raw);
    return { first, raw, prepared, done };
  }

  #prepareAll(raw: readonly RawRow[]): Promise<readonly PreparedRow[]> {
    const { preparer, dryRun } = this.#options;
    return preparer.prepareAll(
      raw,
      this.#inputs,
      dryRun ? this.#dry : this.#context.ports.model.reads,
    );
  }

  /** Stores the chunk, in two halves when it is too large for one commit. */
  async *#storeSplit(chunk: Chunk): AsyncGenerator<readonly RowResult[]> {
    try {
      yield await this.#store(chunk, 'partial');
    } catch (error) {
      if (!isOperational(error, 'commit_too_large') || chunk.raw.length < 2) throw error;
      const half = Math.ceil(chunk.raw.length / 2);
      yield* this.#storeSplit(partOf(chunk, 0, half));
      yield* this.#storeSplit(partOf(chunk, half, chunk.raw.length));
    }
  }

  async *#atomically(): AsyncGenerator<readonly RowResult[]> {
    const raw = await this.#buffer.take(IMPORT_COMMIT_ROWS_MAX);
    if (!(await this.#buffer.atEnd())) {
      await this.#buffer.take(1); // What is wrong with the file goes first.
      const detail = `An atomic import has at most ${IMPORT_COMMIT_ROWS_MAX} rows.`;
      throw refused('too_many_rows', { detail });
    }
    const prepared = await this.#prepareAll(raw);
    const chunk = { first: this.#first, raw, prepared, done: true };
    const foreseen = this.#foresee(chunk, this.#dry);
    const errors = foreseen.filter((one) => one.outcome === 'error');
    if (errors.length > 0) this.#state = 'refused';
    if (errors.length > 0) yield errors;
    else yield this.#options.dryRun ? foreseen : await this.#store(chunk, 'atomic');
  }

  async #store(chunk: Chunk, mode: ImportMode): Promise<readonly RowResult[]> {
    if (this.#options.dryRun) return this.#foresee(chunk, this.#dry);
    const { caller, importId, reason, apply } = this.#options;
    const command = this.#commandOf(chunk, mode);
    const traceparent = currentTraceparent();
    const executed = await this.#context.ports.executor.execute(command, {
      commitId: `import-${importId}-${chunk.first}`,
      at: this.#context.ports.clock(),
      actor: { kind: caller.kind, id: caller.id },
      ...(reason === undefined ? {} : { reason }),
      ...(traceparent === undefined ? {} : { traceparent }),
      ...(apply === undefined ? {} : { apply }),
    });
    if (!executed.ok) throw new RefusedError(executed.rejection);
    // Somebody else brings the same rows at the same time: who is second has nothing to say about them.
    if (executed.replayed) throw refused('import_moved');
    this.#revision = executed.revision;
    return this.#resultsOf(chunk, executed.events);
  }

  /** What would become of the rows on top of what is foreseen already. */
  #foresee(chunk: Chunk, overlay: Overlay): readonly RowResult[] {
    const decided = decide(overlay, this.#commandOf(chunk, 'partial'), this.#inputs.at);
    assert(decided.ok, 'rows that follow on each other are disposed of');
    for (const event of decided.events) overlay.apply(event, streamOf(event));
    return this.#resultsOf(chunk, decided.events, this.#options.dryRun);
  }

  #commandOf({ first, raw, prepared, done }: Chunk, mode: ImportMode): ImportCommand {
    const { importId } = this.#options;
    const rows = prepared.map((one) => one.row);
    const fingerprint = this.#fingerprint(raw);
    return { type: 'StoreImportRows', data: { importId, mode, first, rows, fingerprint, done } };
  }

  #resultsOf(
    { first, prepared }: Chunk,
    events: readonly DomainEvent[],
    hidden = false,
  ): readonly RowResult[] {
    return resultsOf(events, (row) => (hidden ? undefined : prepared[row - first]?.generated));
  }

  #fingerprint(raw: readonly RawRow[]): string {
    const { kind, mode, existing } = this.#options;
    const text = raw.map((one) => one.text).join('\n');
    return this.#context.ports.secretBox.fingerprint(`${kind}${mode} ${existing}\n${text}`);
  }
}

function partOf(chunk: Chunk, start: number, end: number): Chunk {
  return {
    first: chunk.first + start,
    raw: chunk.raw.slice(start, end),
    prepared: chunk.prepared.slice(start, end),
    done: chunk.done && end === chunk.raw.length,
  };
}

/** The parts of a chunk that fit into one commit each, about. */
function byBytes(chunk: Chunk): readonly Chunk[] {
  const parts: Chunk[] = [];
  let start = 0;
  let bytes = 0;
  for (const [index, one] of chunk.prepared.entries()) {
    if (index > start && bytes + one.bytes > CHUNK_BYTES_MAX) {
      parts.push(partOf(chunk, start, index));
      start = index;
      bytes = 0;
    }
    bytes += one.bytes;
  }
  return [...parts, partOf(chunk, start, chunk.prepared.length)];
}
