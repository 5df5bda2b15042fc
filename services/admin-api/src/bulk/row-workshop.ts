import { Worker } from 'node:worker_threads';
import type { SealingKey } from '@sallyport/secrets';
import type { Logger } from '@sallyport/telemetry';
import type { TSchema } from 'typebox';
import type { RawRow } from './raw-rows.ts';
import type { ReadyRow } from './ready-rows.ts';

/** Fewer rows than these are made where they are. */
export const WORKSHOP_ROWS_MIN = 50;
/** Rows after which the thread is started: what it takes to start is as much as to make some thousands of them. */
export const WORKSHOP_START_ROWS = 2_000;

/** How long the thread waits for more work. */
const IDLE_MS = 30_000;

/** Room for what the thread makes between two collections: little of it lives longer than one message. */
const YOUNG_MIB = 64;

/** What the thread starts with. */
export interface WorkshopStart {
  readonly sealingKey: SealingKey;
  /** Of a credential as it is sent. */
  readonly schema: TSchema;
}

/** What the thread is asked; it answers in the order of the questions. Its first answer says that it is there. */
export interface RowsAsked {
  readonly at: number;
  readonly texts: readonly string[];
}
export type RowsMade = readonly ReadyRow[];

/** JSON; whoever asks knows already what is wrong with a row that is none. */
function textOf(row: RawRow): string {
  if ('unread' in row) return row.text;
  return 'value' in row ? JSON.stringify(row.value) : '';
}

/**
 * Makes rows ready on a thread of its own, while this one stores those before them. There is none where the code runs from its
 * sources, before it has started, and after it has failed: then nothing is made here.
 */
export class RowWorkshop implements AsyncDisposable {
  readonly #start: WorkshopStart;
  readonly #logger: Pick<Logger, 'error'>;
  #worker: Worker | undefined;
  #started = false;
  #failed = false;
  /** Rows since there was no thread. */
  #asked = 0;
  #waiting: ((made: RowsMade) => void)[] = [];
  #idle: NodeJS.Timeout | undefined;

  constructor({ sealingKey, schema }: WorkshopStart, logger: Pick<Logger, 'error'>) {
    // As JSON has it: what else a schema carries is of no use to the thread, and may not be sent.
    this.#start = { sealingKey, schema: JSON.parse(JSON.stringify(schema)) as TSchema };
    this.#logger = logger;
  }

  /** What was made of each row; shorter, or null in places, where whoever asks has to do it. Never rejects. */
  async make(rows: readonly RawRow[], at: number): Promise<RowsMade> {
    if (rows.length < WORKSHOP_ROWS_MIN) return [];
    this.#asked += rows.length;
    if (this.#asked < WORKSHOP_START_ROWS) return [];
    const worker = this.#open();
    if (worker === undefined || !this.#started) return [];
    const texts = rows.map(textOf);
    const asked: RowsAsked = { at, texts };
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      worker.postMessage(asked);
    });
  }

  #open(): Worker | undefined {
    this.#idle?.refresh();
    const missing = this.#failed || !import.meta.url.endsWith('.js');
    if (this.#worker !== undefined || missing) return this.#worker;
    const worker = new Worker(new URL('./row-worker.js', import.meta.url), {
      workerData: this.#start,
      execArgv: [],
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_MIB },
    });
    worker.unref();
    worker.on('message', (made: RowsMade) => {
      if (this.#started) this.#waiting.shift()?.(made);
      this.#started = true;
    });
    worker.on('error', (error) => {
      this.#failed = true;
      this.#logger.error({ err: error }, 'there is no thread for imports');
    });
    worker.on('exit', () => this.#ended());
    this.#worker = worker;
    this.#idle = setTimeout(() => void worker.terminate(), IDLE_MS).unref();
    return worker;
  }

  #ended(): void {
    clearTimeout(this.#idle);
    this.#worker = undefined;
    this.#started = false;
    this.#asked = 0;
    for (const resolve of this.#waiting.splice(0)) resolve([]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#worker?.terminate();
  }
}
