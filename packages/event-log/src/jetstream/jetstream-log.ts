import { jetstream, jetstreamManager, type JetStreamManager } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/nats-core';
import type { NewCommit, Revision } from '@sallyport/domain';
import { OperationalError } from '@sallyport/errors';
import type { AppendResult, EventLog, FollowOptions, RecordedCommit, Tail } from '../event-log.ts';
import { decodeRecord, storedRecord } from '../record.ts';
import { JetStreamAppender } from './append.ts';
import { openNatsConnection } from './connection.ts';
import { DEFAULT_SUBJECT_PREFIX, feedSubjectOf, type JetStreamLogOptions } from './options.ts';
import { encodePacked } from './packing.ts';
import { readRecords } from './read-records.ts';
import { ensureStream } from './stream.ts';
import { JetStreamTail, LOOK_TIMEOUT_MS } from './tail.ts';

/** How long a read waits for the server. */
const REQUEST_TIMEOUT_MS = 2_000;

/**
 * Opens the log that is one JetStream stream; the revision is the stream's sequence.
 * @throws OperationalError `log_unavailable` when there is no server or no stream; `config_invalid` when the stream of
 * this name could lose or change commits
 */
export async function openJetStreamEventLog(options: JetStreamLogOptions): Promise<EventLog> {
  const own = 'connection' in options ? undefined : await openNatsConnection(options);
  const connection = 'connection' in options ? options.connection : own;
  if (connection === undefined) throw new OperationalError('log_unavailable', 'no connection');
  try {
    const api = {
      checkAPI: false,
      ...(options.apiPrefix !== undefined && { apiPrefix: options.apiPrefix }),
    };
    const jsm = await jetstreamManager(connection, { ...api, timeout: REQUEST_TIMEOUT_MS });
    const tailJsm = await jetstreamManager(connection, { ...api, timeout: LOOK_TIMEOUT_MS });
    await ensureStream(jsm, options);
    return new JetStreamEventLog({ connection, own, jsm, tailJsm, options });
  } catch (error) {
    await own?.close();
    throw error;
  }
}

class JetStreamEventLog implements EventLog {
  readonly #connection: NatsConnection;
  readonly #own: NatsConnection | undefined;
  readonly #jsm: JetStreamManager;
  readonly #tailJsm: JetStreamManager;
  readonly #streamName: string;
  readonly #subjectPrefix: string;
  readonly #appender: JetStreamAppender;
  readonly #tails = new Set<JetStreamTail>();
  #closed = false;

  constructor(opened: {
    readonly connection: NatsConnection;
    readonly own: NatsConnection | undefined;
    readonly jsm: JetStreamManager;
    readonly tailJsm: JetStreamManager;
    readonly options: JetStreamLogOptions;
  }) {
    const { connection, own, jsm, tailJsm, options } = opened;
    this.#connection = connection;
    this.#own = own;
    this.#jsm = jsm;
    this.#tailJsm = tailJsm;
    this.#streamName = options.streamName;
    this.#subjectPrefix = options.subjectPrefix ?? DEFAULT_SUBJECT_PREFIX;
    this.#appender = new JetStreamAppender({
      connection,
      js: jetstream(connection, { timeout: REQUEST_TIMEOUT_MS }),
      streamName: options.streamName,
      subjectPrefix: this.#subjectPrefix,
    });
  }

  async append(
    commits: readonly NewCommit[],
    expected: Revision,
  ): Promise<readonly AppendResult[]> {
    this.#assertOpen();
    const first = { expected, previous: this.#digestAt(expected) };
    const results = await this.#appender.append(commits, first);
    const stored = commits.flatMap((commit, index) => {
      const result = results[index];
      if (result?.status !== 'appended' || result.duplicate) return [];
      return [storedRecord({ commit, ...encodePacked(commit) }, result.revision)];
    });
    for (const tail of this.#tails) tail.offer(stored);
    return results;
  }

  /** Known where a reader of this process has just read it. */
  #digestAt(revision: Revision): string | undefined {
    for (const { last } of this.#tails) if (last?.revision === revision) return last.digest;
    return undefined;
  }

  async read(after: Revision, limit: number): Promise<readonly RecordedCommit[]> {
    this.#assertOpen();
    const last = Math.min(after + limit, await this.head());
    const range = { from: after + 1, to: last };
    const source = { connection: this.#connection, jsm: this.#jsm, streamName: this.#streamName };
    const records = await guarded('read', () => readRecords(source, range));
    const missing = range.from + records.length;
    if (missing <= last) {
      throw new OperationalError('log_unreadable', `revision ${missing} is missing`);
    }
    return records.map(decodeRecord);
  }

  async head(): Promise<Revision> {
    this.#assertOpen();
    return guarded('read the head', async () => {
      const info = await this.#jsm.streams.info(this.#streamName);
      return info.state.last_seq;
    });
  }

  follow(options: FollowOptions): Tail {
    this.#assertOpen();
    const tail: JetStreamTail = new JetStreamTail({
      connection: this.#connection,
      jsm: this.#tailJsm,
      streamName: this.#streamName,
      feedSubject: feedSubjectOf(this.#subjectPrefix),
      follow: options,
      onEnd: () => this.#tails.delete(tail),
    });
    this.#tails.add(tail);
    return tail;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await Promise.all([...this.#tails].map((tail) => tail[Symbol.asyncDispose]()));
    await this.#own?.close();
  }

  #assertOpen(): void {
    if (this.#closed) throw new OperationalError('log_unavailable', 'the log is closed');
  }
}

/** The client's errors do not cross the port. */
async function guarded<T>(what: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (cause) {
    throw new OperationalError('log_unavailable', `JetStream failed to ${what}`, { cause });
  }
}
