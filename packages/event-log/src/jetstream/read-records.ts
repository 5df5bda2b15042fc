import { isAscii } from 'node:buffer';
import { JetStreamApiCodes, JetStreamApiError, type JetStreamManager } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/nats-core';
import type { Revision } from '@sallyport/domain';
import type { StoredRecord } from '../record.ts';

/** Most records that are asked for at the same time. */
export const READS_IN_FLIGHT_MAX = 64;

export interface RecordSource {
  readonly connection: NatsConnection;
  /** Tells under which prefix to ask, and how long to wait for each answer. */
  readonly jsm: JetStreamManager;
  readonly streamName: string;
}

/** The records of a range, both ends included, up to the first that is missing. */
export async function readRecords(
  source: RecordSource,
  range: { readonly from: Revision; readonly to: Revision },
): Promise<readonly StoredRecord[]> {
  const records: StoredRecord[] = [];
  for (let from = range.from; from <= range.to; from += READS_IN_FLIGHT_MAX) {
    const count = Math.min(READS_IN_FLIGHT_MAX, range.to - from + 1);
    const revisions = Array.from({ length: count }, (_, index) => from + index);
    const found = await Promise.all(revisions.map((revision) => textOf(source, revision)));
    for (const [index, text] of found.entries()) {
      if (text === undefined) return records;
      records.push({ revision: from + index, text });
    }
  }
  return records;
}

/** What a server answers to STREAM.MSG.GET. */
interface Answer {
  readonly error?: ConstructorParameters<typeof JetStreamApiError>[0];
  readonly message?: { readonly data?: string };
}

/** In JSON only a key reads like that: quotes within a text are escaped. It is the record's, which only one object has. */
const DATA_KEY = Buffer.from('"data":"');
const QUOTE = 0x22;

/**
 * What the client's `getMessage` does, but for how it reads base64, character by character, and for how often it copies a record:
 * each process that follows the log reads every one of them. Here its base64 is taken out of the answer before that is parsed.
 */
async function textOf(
  { connection, jsm, streamName }: RecordSource,
  seq: Revision,
): Promise<string | undefined> {
  const { apiPrefix = '$JS.API', timeout } = jsm.getOptions();
  const { data } = await connection.request(
    `${apiPrefix}.STREAM.MSG.GET.${streamName}`,
    JSON.stringify({ seq }),
    timeout === undefined ? undefined : { timeout },
  );
  const reply = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  const key = reply.indexOf(DATA_KEY);
  const start = key === -1 ? reply.length : key + DATA_KEY.length;
  const end = key === -1 ? reply.length : reply.indexOf(QUOTE, start);
  const { error, message } = JSON.parse(
    reply.toString('utf8', 0, start) + reply.toString('utf8', end),
  ) as Answer; // The server's, with an empty record.
  if (error?.err_code === JetStreamApiCodes.NoMessageFound) return undefined;
  if (error !== undefined) throw new JetStreamApiError(error);
  if (message === undefined) throw new TypeError('the answer has no message');
  return utf8Of(Buffer.from(reply.toString('latin1', start, end), 'base64'));
}

/** As `toString` does, which is slower where all are ASCII, as they mostly are. */
const utf8Of = (bytes: Buffer): string =>
  isAscii(bytes) ? bytes.toString('latin1') : bytes.toString();
