import { removeFolder, tempFolder } from '@sallyport/test-kit';
import { type Broker, startMosquitto, startRelay, startSallyport } from './mqtt/brokers.ts';
import { chooseGenerator } from './mqtt/generator.ts';
import { pinning } from './mqtt/pinned.ts';
import { type Context, type Measured, type Row, rows } from './mqtt/rows.ts';
import { Logins } from './mqtt/users.ts';
import { compared, comparedHeading, detail, heading, percentile } from './report.ts';

const USERS = 1000;
/** Both sides in each. */
const ROUNDS = 3;
/** A generator that is as busy was measured itself. */
const BUSY_SHARE = 0.95;
/** A round that would probably end later is not begun. */
const SECONDS_MAX = 450;

interface Measurement {
  readonly round: number;
  readonly broker: Broker['name'];
  readonly row: string;
  /** Absent when it did not get through; then `failure` says why. */
  readonly measured?: Measured;
  readonly failure?: string;
}

/** Sallyport beside Mosquitto, taking turns in one run: the machine's mood is the same for both. */
export async function benchMqtt(): Promise<void> {
  const generator = chooseGenerator(process.env['MQTTLOAD']);
  heading(`MQTT 3.1.1, password and one rule for each of ${USERS} users; ${pinning}`);
  console.log(`  (generator: ${generator.name}; medians of up to ${ROUNDS} rounds)`);
  const folder = tempFolder('bench-mqtt');
  const { broker, users } = await startSallyport(USERS);
  await using sallyport = broker;
  await sallyport.stop();
  await using mosquitto = await startMosquitto(folder, users);
  await using relay = await startRelay();
  const logins = new Logins(folder, users);
  const measurements: Measurement[] = [];
  const started = performance.now();
  let rounds = 0;
  while (rounds < ROUNDS && fits(started, rounds)) {
    const round = ++rounds;
    for (const one of [mosquitto, sallyport, relay]) {
      await one.restart();
      const context = { broker: one, generator, logins, users };
      const measuredRows = one === relay ? rows.filter(({ least }) => least) : rows;
      for (const row of measuredRows) measurements.push(await measure(context, row, round));
      await one.stop();
    }
    console.log(`  (round ${round} of ${ROUNDS} done)`);
  }
  removeFolder(folder);
  detail('mqtt', { generator: generator.name, pinning, rounds, measurements });
  printTable(measurements);
  printLeast(measurements);
  printDoubts(measurements);
}

/** Whether one more round as long as those before ends in time. */
function fits(started: number, rounds: number): boolean {
  const seconds = (performance.now() - started) / 1000;
  return rounds === 0 || seconds + seconds / rounds <= SECONDS_MAX;
}

async function measure(context: Context, row: Row, round: number): Promise<Measurement> {
  const about = { round, broker: context.broker.name, row: row.name };
  try {
    return { ...about, measured: await row.measure(context) };
  } catch (error) {
    const failure = error instanceof Error ? error.message : String(error);
    console.log(`  (round ${round}, ${about.broker}, ${row.name}: ${failure})`);
    return { ...about, failure };
  }
}

function printTable(measurements: readonly Measurement[]): void {
  comparedHeading('mosquitto', 'sallyport');
  for (const row of rows) {
    compared({
      name: row.name,
      unit: row.unit,
      theirs: medianOf(measurements, row, 'mosquitto'),
      ours: medianOf(measurements, row, 'sallyport'),
      ...(row.target !== undefined && { target: row.target }),
    });
  }
}

function medianOf(measurements: readonly Measurement[], row: Row, broker: Broker['name']): number {
  const values = measurements
    .filter((one) => one.row === row.name && one.broker === broker)
    .flatMap(({ measured }) => (measured === undefined ? [] : [measured.value]));
  return percentile(values, 0.5);
}

/** Where Node is the limit, and not what we do on it. */
function printLeast(measurements: readonly Measurement[]): void {
  for (const row of rows.filter(({ least }) => least)) {
    const least = medianOf(measurements, row, 'relay');
    console.log(`  (${row.name}: a relay of 50 lines on Node that looks at nothing has ${least})`);
  }
}

interface Doubts {
  readonly generatorShare?: number;
  readonly othersShare?: number;
  readonly lost?: number;
}

/** What makes a figure doubtful: a generator at its limit, messages that never came, a machine with other work. */
function printDoubts(measurements: readonly Measurement[]): void {
  const others: number[] = [];
  for (const { name } of rows) {
    for (const broker of ['mosquitto', 'sallyport'] as const) {
      const raws = measurements
        .filter((one) => one.row === name && one.broker === broker)
        .flatMap(({ measured }) => (measured === undefined ? [] : [measured.raw as Doubts]));
      const median = (key: keyof Doubts): number =>
        percentile(
          raws.map((raw) => raw[key] ?? 0),
          0.5,
        );
      others.push(...raws.map(({ othersShare = 0 }) => othersShare));
      const doubts = [
        ...(median('generatorShare') >= BUSY_SHARE ? ['the generator was at its limit'] : []),
        ...(median('lost') > 0 ? [`${median('lost')} messages were lost`] : []),
      ];
      if (doubts.length > 0) console.log(`  (${name}, ${broker}: ${doubts.join(', ')})`);
    }
  }
  const share = Math.round(percentile(others, 0.5) * 100);
  console.log(`  (meanwhile the rest of the machine used ${share} % of a core)`);
}
