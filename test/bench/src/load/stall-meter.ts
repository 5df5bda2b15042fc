import { closeSync, openSync, readSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';

// Loaded into a broker by `--import`. Between two ticks of its timer lies at least one turn of the event loop: what the loop's thread has
// worked meanwhile is how long it was deaf for everything else. Time in which it was stopped, or others had the core, is not counted.
// With SIGUSR2 it prints the longest and begins anew.

const TICK_MS = 5;

/** Milliseconds of processor time of this thread; the system counts to some 4 ms. */
function workedMs(): number {
  const file = openSync(`/proc/self/task/${process.pid}/schedstat`, 'r');
  const bytes = Buffer.alloc(128);
  const length = readSync(file, bytes);
  closeSync(file);
  return Number(bytes.toString('latin1', 0, length).split(' ')[0]) / 1e6;
}

// As where it is deployed. The test kit has source maps, with which the text of an error's stack takes a fifth of a millisecond.
process.setSourceMapsEnabled(false);

if (isMainThread) {
  let longestMs = 0;
  let before = workedMs();
  const timer = setInterval(() => {
    const now = workedMs();
    longestMs = Math.max(longestMs, now - before);
    before = now;
  }, TICK_MS);
  timer.unref();
  process.on('SIGUSR2', () => {
    process.stdout.write(`${JSON.stringify({ longestTurnMs: longestMs })}\n`);
    longestMs = 0;
  });
}
