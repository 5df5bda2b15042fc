import { type JetStreamClient, JetStreamApiCodes, JetStreamApiError } from '@nats-io/jetstream';
import { headers, type MsgHdrs, type NatsConnection } from '@nats-io/nats-core';
import type { NewCommit, Revision } from '@sallyport/domain';
import { OperationalError } from '@sallyport/errors';
import { nextExpected } from '../append-batch.ts';
import type { AppendResult } from '../event-log.ts';
import { digestOf } from '../hash.ts';
import { besideOf } from '../record.ts';
import { PREVIOUS_HEADER, TRACE_HEADER, TYPES_HEADER } from './options.ts';
import { encodePacked } from './packing.ts';
import { subjectOf } from './stream.ts';

/** How long one attempt waits for the server's answer. */
const PUBLISH_TIMEOUT_MS = 2_000;
/** How long an uncertain outcome is repeated before the append fails; longer than an election takes. */
export const APPEND_SETTLE_TIMEOUT_MS = 15_000;
const RETRY_DELAY_MS = 50;

/**
 * Codes of a server that stores nothing because it has no room, in its own limits, the account's or the stream's.
 * @source nats-server 2.9 server/errors.json: JSAccountResourcesExceededErr, JSInsufficientResourcesErr,
 *   JSStorageResourcesExceededErr, JSStreamStoreFailedF
 */
const FULL: ReadonlySet<number> = new Set([10002, 10023, 10047, 10077]);

interface Publication {
  readonly subject: string;
  readonly payload: Uint8Array;
  readonly commit: NewCommit;
  readonly digest: string;
}

/** Where a commit is to be stored. */
interface Place {
  readonly expected: Revision;
  /** Digest of the record at `expected`, where it is known. */
  readonly previous: string | undefined;
}

/** Appends to one stream. */
export class JetStreamAppender {
  readonly #connection: NatsConnection;
  readonly #js: JetStreamClient;
  readonly #streamName: string;
  readonly #subjectPrefix: string;

  constructor(options: {
    readonly connection: NatsConnection;
    readonly js: JetStreamClient;
    readonly streamName: string;
    readonly subjectPrefix: string;
  }) {
    this.#connection = options.connection;
    this.#js = options.js;
    this.#streamName = options.streamName;
    this.#subjectPrefix = options.subjectPrefix;
  }

  /**
   * One commit after the other, each expecting the sequence of the one before it.
   *
   * INVARIANT: a commit is sent only when the one before it is known to be stored. Sent together with predicted sequences,
   * a later one could take its place after a foreign commit; the header that would prevent it, the expected last message
   * id, makes replicas of nats-server 2.9 differ after a catch-up (README, decisions).
   */
  async append(commits: readonly NewCommit[], first: Place): Promise<readonly AppendResult[]> {
    const publications = commits.map((commit): Publication => {
      const payload = encodePacked(commit).bytes;
      const subject = subjectOf(this.#subjectPrefix, commit);
      return { subject, payload, commit, digest: digestOf(payload) };
    });
    const deadline = performance.now() + APPEND_SETTLE_TIMEOUT_MS;
    const results: AppendResult[] = [];
    let due = first;
    for (const publication of publications) {
      const previous = results.at(-1);
      if (previous?.status === 'conflict') {
        results.push(previous);
        continue;
      }
      const result = await this.#settle(publication, due, deadline);
      if (result.status === 'appended') due = placeBehind(due, result, publication);
      results.push(result);
    }
    return results;
  }

  /** Repeats the same id and the same expectation until the server has said what became of them. */
  async #settle(publication: Publication, place: Place, deadline: number): Promise<AppendResult> {
    for (;;) {
      try {
        return await this.#publish(publication, place);
      } catch (cause) {
        // The server has said that it was not stored; its space does not come back within seconds.
        if (cause instanceof OperationalError) throw cause;
        if (performance.now() + RETRY_DELAY_MS > deadline || this.#connection.isClosed()) {
          const detail = `it is not known whether commit ${publication.commit.commitId} was stored`;
          throw new OperationalError('log_unavailable', detail, { cause });
        }
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY_DELAY_MS));
    }
  }

  async #publish(publication: Publication, { expected, previous }: Place): Promise<AppendResult> {
    try {
      const ack = await this.#js.publish(publication.subject, publication.payload, {
        msgID: publication.commit.commitId,
        headers: headersOf(publication.commit, previous),
        expect: { streamName: this.#streamName, lastSequence: expected },
        timeout: PUBLISH_TIMEOUT_MS,
      });
      return { status: 'appended', revision: ack.seq, duplicate: ack.duplicate };
    } catch (error) {
      const head = headOfConflict(error);
      if (head !== undefined) return { status: 'conflict', head };
      if (error instanceof JetStreamApiError && FULL.has(error.code)) {
        throw new OperationalError('log_full', error.message, { cause: error });
      }
      throw error;
    }
  }
}

/** What was stored by another attempt may have other bytes under the same id. */
function placeBehind(
  place: Place,
  { revision, duplicate }: Extract<AppendResult, { status: 'appended' }>,
  { digest }: Publication,
): Place {
  const expected = nextExpected(place.expected, revision);
  if (expected === place.expected) return place;
  return { expected, previous: duplicate ? undefined : digest };
}

/** What is said beside a record, for those who follow. */
function headersOf(commit: NewCommit, previous: string | undefined): MsgHdrs {
  const said = headers();
  const beside = besideOf(commit);
  if (previous !== undefined) said.set(PREVIOUS_HEADER, previous);
  if (beside === undefined) return said;
  said.set(TYPES_HEADER, beside.types);
  if (beside.traceparent !== undefined) said.set(TRACE_HEADER, beside.traceparent);
  return said;
}

/** The last sequence that a server names when it refuses an expectation. */
function headOfConflict(error: unknown): Revision | undefined {
  if (!(error instanceof JetStreamApiError)) return undefined;
  if (error.code !== JetStreamApiCodes.StreamWrongLastSequence) return undefined;
  const [, sequence] = /wrong last sequence: (\d+)/.exec(error.message) ?? [];
  return sequence === undefined ? undefined : Number(sequence);
}
