import type { ConnectJob, PubsubJob } from '../mqtt/generator.ts';
import type { HoldJob } from '../storm.ts';
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
const result =
  kind === 'connect'
    ? await runConnect(job as ConnectJob) // mqtt/generator.ts makes both.
    : await PubsubRun.run(job as PubsubJob);
process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
