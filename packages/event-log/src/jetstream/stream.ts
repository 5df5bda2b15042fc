import {
  DiscardPolicy,
  JetStreamApiCodes,
  JetStreamApiError,
  type JetStreamManager,
  RetentionPolicy,
  StorageType,
  type StreamConfig,
} from '@nats-io/jetstream';
import { nanos } from '@nats-io/nats-core';
import { type StreamId, streamOf, type NewCommit } from '@sallyport/domain';
import { assert, OperationalError } from '@sallyport/errors';
import { DEFAULT_SUBJECT_PREFIX, feedSubjectOf, type StreamOptions } from './options.ts';

/**
 * How long the server remembers commit ids. A repeat after it is found by the model (`commitRevision`).
 * INVARIANT: longer than an append may take to settle.
 */
export const DUPLICATE_WINDOW_MS = 120_000;
/** How long to wait at start for a cluster that is still forming, or for someone else to create the stream. */
const STREAM_READY_TIMEOUT_MS = 20_000;
const STREAM_RETRY_MS = 200;

/** One token that no two keys share: bytes that are not letters, digits, `_` or `-` are written as `%XX`. */
export function encodeSubjectToken(key: string): string {
  if (key === '') return '%';
  return Buffer.from(key)
    .toString('latin1')
    .replace(
      /[^A-Za-z0-9_-]/g,
      (byte) => `%${byte.charCodeAt(0).toString(16).padStart(2, '0').toUpperCase()}`,
    );
}

/** The subject of a commit is that of its first event's stream. */
export function subjectOf(prefix: string, commit: NewCommit): string {
  const [first] = commit.events;
  assert(first !== undefined, 'a commit has at least one event');
  const { aggregate, key }: StreamId = streamOf(first);
  return `${prefix}.${aggregate}.${encodeSubjectToken(key)}`;
}

/**
 * Finds the stream, or creates it.
 * @throws OperationalError `log_unavailable`; `config_invalid` for a stream that could lose or change commits
 */
export async function ensureStream(jsm: JetStreamManager, options: StreamOptions): Promise<void> {
  const deadline = performance.now() + STREAM_READY_TIMEOUT_MS;
  for (;;) {
    try {
      const config = await findOrCreate(jsm, options);
      const problems = [
        ...streamProblems(config, options),
        ...(options.createStream ? await accountProblems(jsm) : []),
      ];
      if (problems.length === 0) return;
      const detail = `stream ${options.streamName} is no log: ${problems.join(', ')}`;
      throw new OperationalError('config_invalid', detail);
    } catch (cause) {
      if (cause instanceof OperationalError) throw cause;
      if (performance.now() >= deadline) {
        const detail = `stream ${options.streamName} cannot be reached`;
        throw new OperationalError('log_unavailable', detail, { cause });
      }
    }
    await new Promise((resolve) => setTimeout(resolve, STREAM_RETRY_MS));
  }
}

async function findOrCreate(jsm: JetStreamManager, options: StreamOptions): Promise<StreamConfig> {
  try {
    return (await jsm.streams.info(options.streamName)).config;
  } catch (error) {
    const missing =
      error instanceof JetStreamApiError && error.code === JetStreamApiCodes.StreamNotFound;
    if (!missing || !options.createStream) throw error;
  }
  return (await jsm.streams.add(streamConfig(options))).config;
}

function streamConfig(options: StreamOptions) {
  const { subjectPrefix = DEFAULT_SUBJECT_PREFIX } = options;
  return {
    name: options.streamName,
    subjects: [`${subjectPrefix}.>`],
    // Tells tails to look. Without it they are up to 250 ms later, so a stream that lacks it is still a log.
    republish: {
      src: `${subjectPrefix}.>`,
      dest: feedSubjectOf(subjectPrefix),
      headers_only: true,
    },
    storage: StorageType.File,
    retention: RetentionPolicy.Limits,
    // A full disk refuses commits; it never drops old ones.
    discard: DiscardPolicy.New,
    deny_delete: true,
    deny_purge: true,
    // Reads go to the leader: another replica may not have a commit that was acknowledged.
    allow_direct: false,
    num_replicas: options.replicas,
    duplicate_window: nanos(DUPLICATE_WINDOW_MS),
  };
}

/**
 * What is past a limit of its account a server stores first and then removes, and its sequence stays used: a hole, which stops every
 * reader for good. A limit of the stream, which discards new messages, and of the whole server refuse before.
 * @source nats-server 2.9.10, tried
 */
async function accountProblems(jsm: JetStreamManager): Promise<string[]> {
  const { limits, tiers = {} } = await jsm.getAccountInfo();
  const limited = [limits, ...Object.values(tiers).map((tier) => tier?.limits)];
  // 0 is of an account whose limits are those of its tiers.
  return limited.some((one) => (one?.max_storage ?? -1) > 0)
    ? ['its account has a maximum of storage, past which it would get holes']
    : [];
}

function streamProblems(config: StreamConfig, options: StreamOptions): string[] {
  const wanted = streamConfig(options);
  const problems: string[] = [];
  const check = (holds: boolean, problem: string): void => {
    if (!holds) problems.push(problem);
  };
  check(config.storage === wanted.storage, 'its storage is not file');
  check(config.retention === wanted.retention, 'its retention is not limits');
  check(config.deny_delete, 'it allows deletes');
  check(config.deny_purge, 'it allows purges');
  check(config.max_age === 0, 'it has a maximum age');
  check(config.max_msgs <= 0, 'it has a maximum number of messages');
  check(config.max_bytes <= 0 || config.discard === wanted.discard, 'it drops old messages');
  check(config.max_msgs_per_subject <= 0, 'it has a maximum of messages per subject');
  check(config.duplicate_window >= wanted.duplicate_window, 'its duplicate window is too short');
  check(
    wanted.subjects.every((one) => config.subjects.includes(one)),
    'it has other subjects',
  );
  return problems;
}
