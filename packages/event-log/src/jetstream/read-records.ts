import type { JetStreamManager } from '@nats-io/jetstream';
import type { Revision } from '@sallyport/domain';
import type { StoredRecord } from '../record.ts';

/** Most records that are asked for at the same time. */
export const READS_IN_FLIGHT_MAX = 64;

/** The records of a range, both ends included, up to the first that is missing. */
export async function readRecords(
  jsm: JetStreamManager,
  streamName: string,
  range: { readonly from: Revision; readonly to: Revision },
): Promise<readonly StoredRecord[]> {
  const records: StoredRecord[] = [];
  for (let from = range.from; from <= range.to; from += READS_IN_FLIGHT_MAX) {
    const count = Math.min(READS_IN_FLIGHT_MAX, range.to - from + 1);
    const revisions = Array.from({ length: count }, (_, index) => from + index);
    const found = await Promise.all(
      revisions.map((seq) => jsm.streams.getMessage(streamName, { seq })),
    );
    for (const [index, message] of found.entries()) {
      if (message === null) return records;
      records.push({ revision: from + index, text: message.string() });
    }
  }
  return records;
}
