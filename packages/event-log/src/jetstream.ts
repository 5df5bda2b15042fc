export { openJetStreamEventLog } from './jetstream/jetstream-log.ts';
export { type JetStreamLogOptions, LOG_STREAM_NAME } from './jetstream/options.ts';
export {
  natsConnectionOptions,
  type NatsServers,
  openNatsConnection,
} from './jetstream/connection.ts';
export { DUPLICATE_WINDOW_MS } from './jetstream/stream.ts';
export { APPEND_SETTLE_TIMEOUT_MS } from './jetstream/append.ts';
