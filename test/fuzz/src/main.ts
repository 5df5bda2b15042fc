import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import { fuzz } from './fuzz.ts';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '300' },
    seed: { type: 'string' },
    first: { type: 'string', default: '0' },
    cases: { type: 'string' },
  },
});

const seed = values.seed === undefined ? randomInt(2 ** 32) : Number(values.seed);
const seconds = Number(values.seconds);
const numbers = [seed, seconds, Number(values.first), Number(values.cases ?? 1)];
if (numbers.some((one) => !Number.isFinite(one) || one < 0)) {
  console.error(
    'usage: npm run fuzz -- [--seconds 300] [--seed N] [--first INDEX] [--cases COUNT]',
  );
  process.exit(2);
}
console.log(`seed ${seed}, ${seconds} seconds`);
const report = await fuzz({
  ...{ seconds, seed },
  first: Number(values.first),
  ...(values.cases !== undefined && { cases: Number(values.cases) }),
});

const { outcomes, memory, canaryRoundTrips } = report;
const sorted = [...canaryRoundTrips].sort((a, b) => a - b);
const roundTrip = (share: number): string =>
  `${(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN).toFixed(1)} ms`;
const mib = (kib: number): string => `${(kib / 1024).toFixed(1)} MiB`;
console.log(
  [
    `cases       ${report.cases}: ${outcomes.closed} closed by the broker, ${outcomes.open} left open, ${outcomes.refused} refused at the login`,
    `canary      ${sorted.length} round trips, p50 ${roundTrip(0.5)}, p99 ${roundTrip(0.99)}, most ${roundTrip(1)}`,
    `memory      start ${mib(memory.start)}, warm ${mib(memory.warm)}, most ${mib(memory.max)}, end ${mib(memory.end)}`,
    `log         ${report.logLines} lines, ${report.logLinesPerSecond.toFixed(1)} a second`,
  ].join('\n'),
);
for (const finding of report.findings) console.error(`FOUND       ${finding}`);
if (report.findings.length > 0) {
  console.error(`again with: npm run fuzz -- --seconds ${seconds} --seed ${seed}`);
}
process.exit(report.findings.length > 0 ? 1 : 0);
