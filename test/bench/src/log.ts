import { join } from 'node:path';
import type { EventLog } from '@sallyport/event-log';
import { LOG_STREAM_NAME, openJetStreamEventLog } from '@sallyport/event-log/jetstream';
import { openSqliteEventLog } from '@sallyport/event-log/sqlite';
import { removeFolder, startNatsServer, tempFolder } from '@sallyport/test-kit';
import { figure, heading } from './report.ts';
import { ruleCommit } from './world.ts';

const SINGLE_COMMITS = 2_000;
const BATCHES = 200;
const BATCH_COMMITS = 64;

/** Commits a second, one at a time and in the batches that group commit makes. */
export async function benchLog(): Promise<void> {
  heading('append to the log');
  const folder = tempFolder('bench-log');
  const sqlite = await openSqliteEventLog({ path: join(folder, 'log.sqlite') });
  await rates('SQLite', sqlite);
  await sqlite[Symbol.asyncDispose]();
  removeFolder(folder);
  const nats = await startNatsServer();
  const jetstream = await openJetStreamEventLog({
    servers: [nats.address],
    streamName: LOG_STREAM_NAME,
    replicas: 1,
    createStream: true,
  });
  await rates('JetStream R1', jetstream);
  await jetstream[Symbol.asyncDispose]();
  await nats.process.stop();
}

async function rates(name: string, log: EventLog): Promise<void> {
  let head = await log.head();
  let started = performance.now();
  for (let index = 0; index < SINGLE_COMMITS; index++) {
    await log.append([ruleCommit(index)], head++);
  }
  let seconds = (performance.now() - started) / 1000;
  figure(`${name}: one commit at a time`, SINGLE_COMMITS / seconds, 'commits/s');
  started = performance.now();
  for (let batch = 0; batch < BATCHES; batch++) {
    const commits = Array.from({ length: BATCH_COMMITS }, (_, index) => ruleCommit(index));
    await log.append(commits, head);
    head += BATCH_COMMITS;
  }
  seconds = (performance.now() - started) / 1000;
  figure(`${name}: ${BATCH_COMMITS} in a batch`, (BATCHES * BATCH_COMMITS) / seconds, 'commits/s');
}
