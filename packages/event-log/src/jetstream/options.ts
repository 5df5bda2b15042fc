import type { NatsConnection } from '@nats-io/nats-core';
import type { NatsServers } from './connection.ts';

export interface StreamOptions {
  readonly streamName: string;
  /** First tokens of the subjects; the aggregate and the encoded key follow. */
  readonly subjectPrefix?: string;
  /** Copies of the stream when it is created. */
  readonly replicas: number;
  /** Whether to create the stream when it is not there; without the right to, wait for it. */
  readonly createStream: boolean;
}

/** A connection of the caller's, which stays open after the log was disposed, or where to open one. */
export type JetStreamLogOptions = StreamOptions & {
  /**
   * Under which prefix the server answers requests about the stream, such as `LOG.API` where another account of the server
   * holds the log and lets ours read it. `$JS.API` when left out. Only for readers: an append goes to the stream's subjects.
   */
  readonly apiPrefix?: string | undefined;
} & ({ readonly connection: NatsConnection } | NatsServers);

/** The stream that is the log; the users of the NATS server have their rights by this name. */
export const LOG_STREAM_NAME = 'sallyport-log';

export const DEFAULT_SUBJECT_PREFIX = 'sallyport.log';

/** Where the server says that it has stored a commit, without what is in it. */
export function feedSubjectOf(subjectPrefix: string): string {
  return `${subjectPrefix}-feed.>`;
}

/** Names the digest of the record before, as the writer knew it. Records of earlier versions have no such header. */
export const PREVIOUS_HEADER = 'Sallyport-Previous';
/** Says the version of the record and the types of its events, so that not everybody has to read it for them. */
export const TYPES_HEADER = 'Sallyport-Types';
/** The trace of the commit. */
export const TRACE_HEADER = 'traceparent';
