import { isAscii } from 'node:buffer';
import { JetStreamApiCodes, JetStreamApiError, type JetStreamManager } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/nats-core';
import type { Revision } from '@sallyport/domain';
import { type Beside, readBeside, type StoredRecord } from '../record.ts';
import { PREVIOUS_HEADER, TRACE_HEADER, TYPES_HEADER } from './options.ts';
import { unpack } from './packing.ts';

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
    const found = await Promise.all(revisions.map((revision) => recordAt(source, revision)));
    for (const record of found) {
      if (record === undefined) return records;
      records.push(record);
    }
  }
  return records;
}

/** What a server answers to STREAM.MSG.GET. */
interface Answer {
  readonly error?: ConstructorParameters<typeof JetStreamApiError>[0];
  readonly message?: { readonly data?: string; readonly hdrs?: string };
}

/** What the writer said beside its record. */
type Said = Pick<StoredRecord, 'previous' | 'beside'>;

/** `hdrs` is base64; each line of it ends a header. */
function saidBy(hdrs: string | undefined): Said {
  if (hdrs === undefined) return {};
  const lines = Buffer.from(hdrs, 'base64').toString('latin1').split('\r\n');
  const valueOf = (header: string): string | undefined =>
    lines
      .find((line) => line.startsWith(`${header}:`))
      ?.slice(header.length + 1)
      .trim();
  const types = valueOf(TYPES_HEADER);
  return {
    previous: valueOf(PREVIOUS_HEADER),
    beside: types === undefined ? undefined : readBeside(types, valueOf(TRACE_HEADER)),
  };
}

/** In JSON only a key reads like that: quotes within a text are escaped. It is the record's, which only one object has. */
const DATA_KEY = Buffer.from('"data":"');
const QUOTE = 0x22;

/**
 * What the client's `getMessage` does, but for how it reads base64, character by character, and for how often it copies a record:
 * each process that follows the log reads every one of them. Here its base64 is taken out of the answer before that is parsed.
 */
async function recordAt(
  { connection, jsm, streamName }: RecordSource,
  seq: Revision,
): Promise<StoredRecord | undefined> {
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
  const bytes = fromBase64(reply.subarray(start, end));
  return new ReadRecord({ revision: seq, bytes }, saidBy(message.hdrs));
}

/** Base64 that is made a text at once. A larger text gets memory of its own each time, and to get that takes longer than to decode it. */
const PIECE_BYTES = 64 * 1024;

function fromBase64(base64: Buffer): Buffer {
  // Not of the pool: 3 bytes for each 4, some less at the end.
  const bytes = Buffer.allocUnsafeSlow(Math.ceil(base64.length / 4) * 3);
  let written = 0;
  for (let start = 0; start < base64.length; start += PIECE_BYTES) {
    const piece = base64.toString('latin1', start, start + PIECE_BYTES);
    written += bytes.write(piece, written, 'base64');
  }
  return bytes.subarray(0, written);
}

/** Its text is made when it is asked for first: that of a record which is only compared never is. */
class ReadRecord implements StoredRecord {
  readonly revision: Revision;
  readonly bytes: Buffer;
  readonly previous: string | undefined;
  readonly beside: Beside | undefined;
  #text: string | undefined;

  constructor(read: Pick<ReadRecord, 'revision' | 'bytes'>, { previous, beside }: Said) {
    this.revision = read.revision;
    this.bytes = read.bytes;
    this.previous = previous;
    this.beside = beside;
  }

  get text(): string {
    return (this.#text ??= utf8Of(unpack(this.bytes)));
  }
}

/** As `toString` does, which is slower where all are ASCII, as they mostly are. */
const utf8Of = (bytes: Buffer): string =>
  isAscii(bytes) ? bytes.toString('latin1') : bytes.toString();
