import {
  type Commit,
  decodeCommit,
  type DomainEvent,
  encodeCommit,
  isKnownType,
  type NewCommit,
  RECORD_VERSION,
  type Revision,
} from '@sallyport/domain';
import { assert, OperationalError } from '@sallyport/errors';
import { COMMIT_BYTES_MAX, type RecordedCommit } from './event-log.ts';
import { digestOf } from './hash.ts';

/** What a store holds: a revision and the text at it. */
export interface StoredRecord {
  readonly revision: Revision;
  readonly text: string;
  /** What is stored, where it is at hand; the text, when it is not. */
  readonly bytes?: Uint8Array;
  /** The digest of the record before it, as its writer knew it, where it says so. */
  readonly previous?: string | undefined;
  readonly beside?: Beside | undefined;
}

/** What a store may say of a commit beside its record. */
export interface Beside {
  readonly eventTypes: readonly DomainEvent['type'][];
  readonly traceparent?: string;
}

const TRACEPARENT = /^[0-9a-f-]{1,128}$/;

/** What to say of a commit beside its record: a line for its types, and its trace. None where a line cannot say it. */
export function besideOf({ events, traceparent }: NewCommit) {
  if (traceparent !== undefined && !TRACEPARENT.test(traceparent)) return undefined;
  const types = new Set(events.map((event) => event.type));
  return { types: [RECORD_VERSION, ...types].join(' '), traceparent };
}

/** Reads what `besideOf` has said; nothing where this version does not know all of it. */
export function readBeside(types: string, traceparent: string | undefined): Beside | undefined {
  const [version, ...named] = types.split(' ');
  const eventTypes = named.filter(isKnownType);
  if (version !== String(RECORD_VERSION) || named.length === 0) return undefined;
  if (eventTypes.length < named.length) return undefined;
  return { eventTypes, ...(traceparent !== undefined && { traceparent }) };
}

/** Most commits that a tail hands over at once. */
export const FOLLOW_BATCH_COMMITS_MAX = 500;

/** What is stored for a commit, and the bytes that it is stored as. */
export interface EncodedRecord {
  readonly text: string;
  readonly bytes: Uint8Array;
}

/** Commits that are on their way into a log: they are measured when they are decided, and stored a moment later. */
const encoded = new WeakMap<NewCommit, EncodedRecord>();

const COMMIT_ID = /^[\x21-\x7e]{1,128}$/;

/**
 * The record to store for a commit. Its bytes are made once: they are measured and stored.
 * @throws OperationalError `commit_too_large` past `COMMIT_BYTES_MAX`; `invalid_request` for an id that is no visible ASCII
 */
export function encodeForLog(commit: NewCommit): EncodedRecord {
  const known = encoded.get(commit);
  if (known !== undefined) return known;
  assert(commit.events.length > 0, 'a commit has at least one event');
  if (!COMMIT_ID.test(commit.commitId)) {
    throw new OperationalError(
      'invalid_request',
      'a commit id has 1 to 128 visible ASCII characters',
    );
  }
  const text = encodeCommit(commit);
  const bytes = Buffer.from(text);
  if (bytes.length > COMMIT_BYTES_MAX) {
    throw new OperationalError(
      'commit_too_large',
      `commit ${commit.commitId} has ${bytes.length} bytes of at most ${COMMIT_BYTES_MAX}`,
    );
  }
  const record = { text, bytes };
  encoded.set(commit, record);
  return record;
}

/** Commits of records that are still held by a log: several tails of one process decode them once. */
const decoded = new WeakMap<StoredRecord, RecordedCommit>();

/** The record of a commit that was stored just now: whoever reads it gets the commit as it was given, and nothing is decoded. */
export function storedRecord(
  { commit, text, bytes }: EncodedRecord & { readonly commit: NewCommit },
  revision: Revision,
): StoredRecord {
  const record = { revision, text };
  decoded.set(record, { ...commit, revision, digest: digestOf(bytes) });
  return record;
}

/** As `digestOf`. */
export const digestOfRecord = (record: StoredRecord): string =>
  digestOf(record.bytes ?? record.text);

/** @throws OperationalError `log_unreadable` */
export function decodeRecord(record: StoredRecord): RecordedCommit {
  let commit = decoded.get(record);
  if (commit === undefined) {
    commit = { ...decodeCommit(record.text, record.revision), digest: digestOfRecord(record) };
    decoded.set(record, commit);
  }
  return commit;
}

/** A commit that is decoded when somebody asks for what is not said beside its record. */
class UnreadCommit {
  readonly revision: Revision;
  readonly digest: string;
  readonly eventTypes: Beside['eventTypes'];
  readonly traceparent: string | undefined;
  readonly #record: StoredRecord;

  constructor(record: StoredRecord, { eventTypes, traceparent }: Beside) {
    this.revision = record.revision;
    this.digest = digestOfRecord(record);
    this.eventTypes = eventTypes;
    this.traceparent = traceparent;
    this.#record = record;
  }

  get commitId(): string {
    return decodeRecord(this.#record).commitId;
  }

  get at(): number {
    return decodeRecord(this.#record).at;
  }

  get actor(): Commit['actor'] {
    return decodeRecord(this.#record).actor;
  }

  get reason(): string | undefined {
    return decodeRecord(this.#record).reason;
  }

  get fingerprint(): string | undefined {
    return decodeRecord(this.#record).fingerprint;
  }

  get apply(): Commit['apply'] {
    return decodeRecord(this.#record).apply;
  }

  get events(): Commit['events'] {
    return decodeRecord(this.#record).events;
  }
}

function decodeLazily(record: StoredRecord): RecordedCommit {
  if (record.beside === undefined) return decodeRecord(record);
  // Reads like one whose members are absent, where they are.
  return decoded.get(record) ?? (new UnreadCommit(record, record.beside) as RecordedCommit);
}

/**
 * Decodes the records that follow on `after`. A record that is missing or cannot be read ends the run: what stands before
 * it is still handed over, and `failure` says why nothing comes after.
 */
export function decodeRun(
  records: readonly StoredRecord[],
  after: Revision,
  lazily = false,
): { readonly commits: readonly RecordedCommit[]; readonly failure?: OperationalError } {
  const commits: RecordedCommit[] = [];
  for (const record of records) {
    const due = after + commits.length + 1;
    if (record.revision !== due) {
      return {
        commits,
        failure: new OperationalError('log_unreadable', `revision ${due} is missing`),
      };
    }
    try {
      commits.push(lazily ? decodeLazily(record) : decodeRecord(record));
    } catch (error) {
      return { commits, failure: asFailure(error) };
    }
  }
  return { commits };
}

/** What is not an `OperationalError` is a bug of the caller's code; the cause keeps it whole. */
export function asFailure(error: unknown): OperationalError {
  if (error instanceof OperationalError) return error;
  return new OperationalError('internal', 'a reader of the log failed', { cause: error });
}
