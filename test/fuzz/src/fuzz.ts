import { setTimeout as delay } from 'node:timers/promises';
import type { ProcessExit } from '@sallyport/test-kit';
import { Api } from '../../harness/api.ts';
import { type Standalone, startStandalone } from '../../harness/standalone.ts';
import { attack, type Outcome } from './attack.ts';
import { Canary } from './canary.ts';
import { fuzzCase } from './fuzz-case.ts';
import type { FuzzLogin } from './packets.ts';
import { Watch } from './watch.ts';

export interface FuzzOptions {
  readonly seconds: number;
  readonly seed: number;
  /** Index of the first case, to run a part of an earlier run again. */
  readonly first?: number;
  /** Ends after so many cases, if the time has not ended before. */
  readonly cases?: number;
}

export interface FuzzReport {
  readonly cases: number;
  readonly outcomes: Readonly<Record<Outcome, number>>;
  readonly canaryRoundTrips: readonly number[];
  readonly logLines: number;
  readonly logLinesPerSecond: number;
  /** Resident memory in KiB: before the first case, the least of the second quarter, the most, the least of the last quarter. */
  readonly memory: { start: number; warm: number; max: number; end: number };
  /** What went wrong; empty when all is well. */
  readonly findings: readonly string[];
}

const ATTACKERS = 16;
/** Logs must not grow with what a bad client sends (threat P14). */
const LOG_LINES_PER_SECOND_MAX = 50;
/**
 * Between the least of the second quarter and the least of the last one. Node collects its garbage late, so that single readings go
 * up and down by a hundred MiB, and a warm heap keeps what it once had; what leaks passes any bound in time.
 */
const GROWTH_KIB_MAX = 64 * 1024;
/** Time to collect garbage before the last look. */
const SETTLE_MS = 2000;
const FINDINGS_MAX = 100;
/** Cases shown when the process dies: one of those is the cause. */
const CASES_SHOWN = 2 * ATTACKERS;

/** Attacks a standalone process of its own with the cases of a seed, and tells what it has done to it. */
export async function fuzz(options: FuzzOptions): Promise<FuzzReport> {
  const watch = new Watch();
  let died: ProcessExit | undefined;
  await using target = await startStandalone(
    {},
    {
      onLine: watch.onLine,
      onUnexpectedExit: (exit) => (died = exit),
    },
  );
  const api = await Api.login(target.url, 'admin', target.adminPassword);
  const login = await api.addDevice('fuzz', [
    { effect: 'allow', action: 'all', topicFilter: 'dev/fuzz/#' },
  ]);
  const canaryLogin = await api.addDevice('canary', [
    { effect: 'allow', action: 'all', topicFilter: 'dev/canary/#' },
  ]);
  // The default ends the connection, and with it the case.
  await api.expect(200, 'PATCH', '/api/v1/settings?wait=enforced', { denyAction: 'ignore' });
  const canary = await Canary.start(target.mqttPort, canaryLogin);
  watch.begin(target.process.pid ?? 0);
  const run = new FuzzRun(options, target, login, () => died !== undefined);
  const started = performance.now();
  await run.attackAll();
  const seconds = (performance.now() - started) / 1000;
  if (died === undefined) {
    await delay(SETTLE_MS);
    await canary.stop();
  }
  watch.sample();
  watch.end();
  return reportOf({ run, watch, canary, seconds, died });
}

class FuzzRun {
  readonly #options: FuzzOptions;
  readonly #target: Standalone;
  readonly #login: FuzzLogin;
  readonly #isOver: () => boolean;
  readonly #recent: number[] = [];
  readonly outcomes: Record<Outcome, number> = { refused: 0, closed: 0, open: 0 };
  readonly findings: string[] = [];
  /** Cases that got no connection: the process is gone, or refuses. */
  readonly unconnected: string[] = [];
  cases = 0;

  constructor(options: FuzzOptions, target: Standalone, login: FuzzLogin, isOver: () => boolean) {
    this.#options = options;
    this.#target = target;
    this.#login = login;
    this.#isOver = isOver;
  }

  get recent(): readonly number[] {
    return this.#recent;
  }

  async attackAll(): Promise<void> {
    const { seconds, seed, first = 0, cases = Infinity } = this.#options;
    const end = performance.now() + seconds * 1000;
    const attacker = async (number: number): Promise<void> => {
      while (performance.now() < end && this.cases < cases && !this.#isOver()) {
        const index = first + this.cases++;
        this.#recent.push(index);
        if (this.#recent.length > CASES_SHOWN) this.#recent.shift();
        await this.#attack(seed, index, `127.0.0.${2 + number}`);
      }
    };
    await Promise.all(Array.from({ length: ATTACKERS }, (_, number) => attacker(number)));
  }

  async #attack(seed: number, index: number, source: string): Promise<void> {
    try {
      const one = fuzzCase(seed, index, this.#login);
      const { outcome, finding } = await attack(this.#target.mqttPort, source, one);
      this.outcomes[outcome] += 1;
      if (finding !== undefined) this.#find(`case ${index}: the broker ${finding}`);
    } catch (error) {
      this.unconnected.push(`case ${index}: ${String(error)}`);
    }
  }

  #find(finding: string): void {
    if (this.findings.length < FINDINGS_MAX) this.findings.push(finding);
  }
}

interface Ended {
  readonly run: FuzzRun;
  readonly watch: Watch;
  readonly canary: Canary;
  readonly seconds: number;
  readonly died: ProcessExit | undefined;
}

function reportOf({ run, watch, canary, seconds, died }: Ended): FuzzReport {
  const memory = memoryOf(watch);
  const perSecond = watch.lines / seconds;
  const growth = memory.end - memory.warm;
  const findings = [
    ...(died === undefined
      ? run.unconnected.slice(0, FINDINGS_MAX)
      : [`the process ended (${died.signal ?? died.code}) in one of ${run.recent.join(' ')}`]),
    ...(canary.finding === undefined ? [] : [canary.finding]),
    ...run.findings,
    ...watch.troubles.map((line) => `logged: ${line}`),
    ...(perSecond > LOG_LINES_PER_SECOND_MAX ? [`${perSecond.toFixed(1)} log lines a second`] : []),
    ...(growth > GROWTH_KIB_MAX ? [`memory grew by ${growth} KiB after the first half`] : []),
  ];
  return {
    cases: run.cases,
    outcomes: run.outcomes,
    canaryRoundTrips: canary.roundTrips,
    logLines: watch.lines,
    logLinesPerSecond: perSecond,
    memory,
    findings,
  };
}

function memoryOf({ samples }: Watch): FuzzReport['memory'] {
  const quarter = (number: number): number[] => {
    const bound = (index: number): number => Math.floor((samples.length * index) / 4);
    return samples.slice(bound(number), Math.max(bound(number + 1), bound(number) + 1));
  };
  return {
    start: samples[0] ?? NaN,
    warm: Math.min(...quarter(1)),
    max: Math.max(...samples),
    end: Math.min(...quarter(3)),
  };
}
