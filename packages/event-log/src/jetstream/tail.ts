import type { JetStreamManager } from '@nats-io/jetstream';
import type { NatsConnection, Subscription } from '@nats-io/nats-core';
import type { Revision } from '@sallyport/domain';
import { OperationalError } from '@sallyport/errors';
import type { FollowOptions, RecordedCommit, Tail } from '../event-log.ts';
import { truncated } from '../pull-tail.ts';
import { asFailure, decodeRun, digestOfRecord, type StoredRecord } from '../record.ts';
import { READS_IN_FLIGHT_MAX, readRecords } from './read-records.ts';

/** How often to look at the stream's last sequence when nobody says that it has grown. */
const LOOK_INTERVAL_MS = 250;
/** How long a look waits for each answer. */
export const LOOK_TIMEOUT_MS = 1_000;
/**
 * A log that is shorter than it was, or lacks a record, for this many looks on end is damaged. Not at the first: a server
 * that was leader a moment ago, or is leader since a moment, may not know the newest commits for an instant.
 */
const DOUBTFUL_LOOKS_MAX = 8;

/**
 * Follows a stream by asking for its head and for each record: at an interval, and at once when the server says on the feed
 * that it has stored something. A word on the feed only says "look", so a lost or forged one does no harm. No consumer: it
 * would live on one server and end with that without a word, and whoever may create one may make the server publish.
 */
export class JetStreamTail implements Tail {
  readonly #connection: NatsConnection;
  readonly #jsm: JetStreamManager;
  readonly #streamName: string;
  readonly #follow: FollowOptions;
  readonly #onEnd: () => void;
  readonly #feed: Subscription | undefined;
  #position: Revision;
  /** The newest commit that the reader is done with; none before the first. */
  #last: RecordedCommit | undefined;
  #confirmedAt = -Infinity;
  #delivering: Promise<void> = Promise.resolve();
  /** While records are read and handed over, commits of our own are not taken. */
  #advancing = false;
  /** While commits of our own are handed over. */
  #offered: Promise<void> | undefined;
  /** The newest record that was read before others were taken without reading it again, and since when. */
  #anchor: RecordedCommit | undefined;
  #anchoredAt = 0;
  #stopped = false;
  #told = false;
  #wake: (() => void) | undefined;
  #doubtfulLooks = 0;
  /** The connection on which the log was shown to be the one that was read. */
  #verifiedAs: string | undefined;

  constructor(options: {
    readonly connection: NatsConnection;
    /** With `LOOK_TIMEOUT_MS`. */
    readonly jsm: JetStreamManager;
    readonly streamName: string;
    readonly feedSubject: string;
    readonly follow: FollowOptions;
    readonly onEnd: () => void;
  }) {
    this.#connection = options.connection;
    this.#jsm = options.jsm;
    this.#streamName = options.streamName;
    this.#follow = options.follow;
    this.#onEnd = options.onEnd;
    this.#position = options.follow.after;
    if (!this.#connection.isClosed()) {
      this.#feed = this.#connection.subscribe(options.feedSubject, {
        callback: () => this.#tell(),
      });
    }
    void this.#run();
  }

  get position(): Revision {
    return this.#position;
  }

  /** The newest commit that was handed over. */
  get last(): RecordedCommit | undefined {
    return this.#last;
  }

  get confirmedAt(): number {
    return this.#confirmedAt;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop();
    await this.#delivering;
  }

  /**
   * Takes commits that the server has just said to have stored for us, in order, instead of asking for them again. INVARIANT:
   * only right behind what is known, on the connection on which that was verified; anything else is read as ever.
   */
  offer(records: readonly StoredRecord[]): void {
    const next = records.findIndex((one) => one.revision === this.#position + 1);
    if (next === -1 || this.#stopped || this.#advancing || this.#offered !== undefined) return;
    if (this.#verifiedAs !== this.#connectedAs()) return;
    const run = records.slice(next);
    if (run.some((one, index) => one.revision !== this.#position + 1 + index)) return;
    this.#anchorAt(this.#last);
    this.#offered = this.#deliver(run).finally(() => (this.#offered = undefined));
  }

  #anchorAt(last: RecordedCommit | undefined): void {
    if (this.#anchor !== undefined) return;
    this.#anchor = last;
    this.#anchoredAt = performance.now();
  }

  #fail(failure: OperationalError): void {
    if (this.#stopped) return;
    this.#stop();
    this.#follow.onFailure(failure);
  }

  #stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#feed?.unsubscribe();
    this.#wake?.();
    this.#onEnd();
  }

  #tell(): void {
    this.#told = true;
    this.#wake?.();
  }

  async #run(): Promise<void> {
    // The caller has its tail before anything comes.
    await Promise.resolve();
    while (!this.#stopped) {
      this.#told = false;
      try {
        await this.#look();
      } catch (error) {
        // A server that does not answer says nothing about the log. The position just stays unconfirmed.
        if (error instanceof OperationalError) this.#fail(error);
        this.#doubtfulLooks = 0;
      }
      await this.#wait();
    }
  }

  async #wait(): Promise<void> {
    if (this.#told || this.#stopped) return;
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      timer = setTimeout(resolve, LOOK_INTERVAL_MS);
    });
    clearTimeout(timer);
    this.#wake = undefined;
  }

  /** Hands over what is there, and confirms the position. */
  async #look(): Promise<void> {
    const lookedAt = performance.now();
    const connectedAs = this.#connectedAs();
    // Commits of our own may come meanwhile.
    const known = this.#position;
    const head = (await this.#jsm.streams.info(this.#streamName)).state.last_seq;
    if (head < known) {
      this.#doubt(truncated(head, known));
      return;
    }
    for (;;) {
      if (!(await this.#anchored())) return;
      while (this.#offered !== undefined) await this.#offered;
      if (this.#position >= head && this.#verifiedAs === connectedAs) break;
      this.#advancing = true;
      const advanced = await this.#advance(head, connectedAs).finally(
        () => (this.#advancing = false),
      );
      if (!advanced) return;
    }
    this.#doubtfulLooks = 0;
    if (!this.#isStopped() && this.#connectedAs() === connectedAs) this.#confirmedAt = lookedAt;
  }

  /** Whether the record is still there behind which others were taken unasked; looked at now and then. */
  async #anchored(): Promise<boolean> {
    const anchor = this.#anchor;
    if (anchor === undefined || performance.now() - this.#anchoredAt < LOOK_INTERVAL_MS)
      return true;
    const { revision } = anchor;
    const [record] = await this.#records({ from: revision, to: revision });
    if (record === undefined) {
      this.#doubt(new OperationalError('log_unreadable', `revision ${revision} is missing`));
      return false;
    }
    followingOn(anchor, [record]);
    this.#anchor = undefined;
    return true;
  }

  #records(range: { readonly from: Revision; readonly to: Revision }) {
    const source = { connection: this.#connection, jsm: this.#jsm, streamName: this.#streamName };
    return readRecords(source, range);
  }

  /**
   * Reads on from the record that was read last, and hands over what follows on it. False when that came to nothing.
   * INVARIANT: nothing is taken from a server that has not shown on this connection that its log is the one that was read, nor
   * behind another record than that: the next one names it, or it is read again.
   */
  async #advance(head: Revision, connectedAs: string): Promise<boolean> {
    const last = this.#last;
    const verified = this.#verifiedAs === connectedAs;
    const from = last === undefined || verified ? this.#position + 1 : last.revision;
    const to = Math.min(head, from + READS_IN_FLIGHT_MAX - 1);
    const records = await this.#records({ from, to });
    const following = await this.#following(records, verified);
    if (this.#isStopped() || this.#connectedAs() !== connectedAs) return false;
    if (following !== undefined) await this.#deliver(following);
    if (this.#isStopped()) return false;
    const missing = following === undefined ? this.#position : from + records.length;
    if (missing <= to) {
      this.#doubt(new OperationalError('log_unreadable', `revision ${missing} is missing`));
      return false;
    }
    this.#verifiedAs = connectedAs;
    return true;
  }

  /** What of the records follows on the one that was read last; `undefined` when that is not there now. */
  async #following(records: readonly StoredRecord[], verified: boolean) {
    const last = this.#last;
    if (last === undefined) return records;
    if (!verified) return followingOn(last, records);
    if (records[0]?.previous === last.digest) {
      this.#anchorAt(last);
      return records;
    }
    const [again] = await this.#records({ from: last.revision, to: last.revision });
    return again && followingOn(last, [again, ...records]);
  }

  #deliver(records: readonly StoredRecord[]): Promise<void> {
    if (records.length > 0) this.#delivering = this.#handOver(records);
    return this.#delivering;
  }

  /** Never rejects. */
  async #handOver(records: readonly StoredRecord[]): Promise<void> {
    const { commits, failure } = decodeRun(records, this.#position, this.#follow.lazily);
    const last = commits.at(-1);
    try {
      if (last !== undefined) {
        await this.#follow.onCommits(commits);
        this.#last = last;
        this.#position = last.revision;
      }
      if (failure !== undefined) this.#fail(failure);
    } catch (error) {
      this.#fail(asFailure(error));
    }
  }

  /** What is not as it was has to stay so for some looks before it counts. */
  #doubt(failure: OperationalError): void {
    this.#verifiedAs = undefined;
    this.#doubtfulLooks += 1;
    if (this.#doubtfulLooks >= DOUBTFUL_LOOKS_MAX) this.#fail(failure);
  }

  #isStopped(): boolean {
    return this.#stopped;
  }

  /** Differs after every reconnect: a server counts its clients anew each time that it starts, under a new id. */
  #connectedAs(): string {
    const info = this.#connection.info;
    return `${info?.server_id}:${info?.client_id}`;
  }
}

/**
 * The records behind the one that was read last; `undefined` when that is not there now.
 * @throws OperationalError `log_diverged` when another one stands in its place
 */
function followingOn(
  last: RecordedCommit,
  [again, ...following]: readonly StoredRecord[],
): readonly StoredRecord[] | undefined {
  if (again === undefined) return undefined;
  if (digestOfRecord(again) === last.digest) return following;
  const detail = `revision ${last.revision} is not the record that was read before`;
  throw new OperationalError('log_diverged', detail);
}
