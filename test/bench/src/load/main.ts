import type { ArriveJob } from '../arriving.ts';
import type { ConnectJob, PubsubJob } from '../mqtt/generator.ts';
import type { HoldJob } from '../storm.ts';
import { runArrive } from './arrive.ts';
import { runConnect } from './connect.ts';
import { runHold } from './hold.ts';
import { PubsubRun } from './pubsub.ts';

// A process of its own, so that it has a core of its own: it takes a job, prints the result as JSON, and its sockets end with it.
const [kind, json = ''] = process.argv.slice(2);
const job: unknown = JSON.parse(json);
if (kind === 'hold') {
  await runHold(job as HoldJob); // storm.ts makes it.
  process.exit(0);
}
const result = await run();
process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));

function run(): Promise<unknown> {
  if (kind === 'arrive') return runArrive(job as ArriveJob); // arriving.ts makes it.
  // mqtt/generator.ts makes both.
  return kind === 'connect' ? runConnect(job as ConnectJob) : PubsubRun.run(job as PubsubJob);
}
