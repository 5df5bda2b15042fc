import { randomInt } from 'node:crypto';
import { join } from 'node:path';
import type { DomainEvent, Secret } from '@sallyport/domain';
import { MemoryEventLog } from '@sallyport/event-log';
import { PolicyService } from '@sallyport/policy';
import { ReadModel } from '@sallyport/read-model';
import { sealingContext } from '@sallyport/secrets';
import { RawMqttClient, removeFolder, tempFolder } from '@sallyport/test-kit';
import { Api } from '../../harness/api.ts';
import { startStandalone } from '../../harness/standalone.ts';
import { boundFigure, figure, heading, percentile } from './report.ts';
import { box, commitOf, credential, hasher } from './world.ts';

/** Of each kind, in an order of chance. By so few the area is sure to a tenth; `--rounds=2000` makes it sure to two hundredths. */
const ROUNDS = 60;
const ROUNDS_OPTION = '--rounds=';
/** Where nothing slow is done. */
const QUICK_ROUNDS = 1000;
/** Before what is counted. */
const WARM_ROUNDS = 5;
/** How sure a guess by the time of one refusal may be, which of two kinds it is: 0.5 is none. */
const AREA_MAX = 0.65;
const BCRYPT_ROUNDS = 10;
const PASSWORD = 'chosen by a person';
const WRONG = Buffer.from('wrong');

const verifiers = {
  'a machine secret': () => Promise.resolve(hasher.machineVerifier(PASSWORD)),
  argon2id: () => hasher.hashPassword(PASSWORD),
  bcrypt: () => hasher.hashPassword(PASSWORD, { name: 'bcrypt', saltRounds: BCRYPT_ROUNDS }),
};

type Samples = Record<'wallMs' | 'processorMs', number[]>;

/** Whether who tries passwords can tell by the time of a refusal whether anybody has the name, and how the password is kept. */
export async function benchRefusals(args: readonly string[]): Promise<void> {
  const wanted = args.find((one) => one.startsWith(ROUNDS_OPTION));
  const rounds = Number(wanted?.slice(ROUNDS_OPTION.length) ?? ROUNDS);
  for (const [kind, verifier] of Object.entries(verifiers)) {
    heading(`refusals of the policy service where all have ${kind}; area under ROC against wrong`);
    await using world = await openWorld(await verifier());
    report(await measured(rounds, world.attempts(WRONG)));
  }
  heading('refusals of the policy service without a password');
  await using world = await openWorld(hasher.machineVerifier(PASSWORD));
  report(await measured(QUICK_ROUNDS, world.attempts(undefined)), { area: false });
  await benchMqttRefusals(rounds);
}

type Attempts = Readonly<Record<string, () => Promise<void>>>;

async function measured(rounds: number, attempts: Attempts): Promise<ReadonlyMap<string, Samples>> {
  const kinds = Object.entries(attempts);
  const found = new Map<string, Samples>(
    kinds.map(([name]) => [name, { wallMs: [], processorMs: [] }]),
  );
  for (let round = -WARM_ROUNDS; round < rounds; round++) {
    // In an order of chance: what a refusal leaves behind must not always meet the same next one.
    for (const [name, attempt] of shuffled(kinds)) {
      const used = process.cpuUsage();
      const started = performance.now();
      await attempt();
      const wallMs = performance.now() - started;
      const { user, system } = process.cpuUsage(used);
      if (round < 0) continue;
      found.get(name)?.wallMs.push(wallMs);
      found.get(name)?.processorMs.push((user + system) / 1000);
    }
  }
  return found;
}

function shuffled<T>(all: readonly T[]): readonly T[] {
  const keyed = all.map((one) => [randomInt(2 ** 32), one] as const);
  return keyed.toSorted(([a], [b]) => a - b).map(([, one]) => one);
}

/** `area`: microseconds in one process can be told apart, which no network lets through. */
function report(
  samples: ReadonlyMap<string, Samples>,
  told: { readonly area?: boolean; readonly processor?: boolean } = {},
): void {
  const wrong = samples.get('wrong');
  for (const [name, { wallMs, processorMs }] of samples) {
    figure(`${name}: median`, percentile(wallMs, 0.5), 'ms');
    if (wrong === undefined || name === 'wrong' || told.area === false) continue;
    const area = (value: number, what: string): void =>
      boundFigure({ name: `${name}: ${what}`, value, unit: 'AUC', bound: '≤', limit: AREA_MAX });
    area(areaUnder(wallMs, wrong.wallMs), 'wall time');
    if (told.processor !== false) area(areaUnder(processorMs, wrong.processorMs), 'processor time');
  }
}

/** The chance that the larger of one of each is of the kind that is larger more often: 0.5 to 1. Mann and Whitney's U over its most. */
function areaUnder(some: readonly number[], others: readonly number[]): number {
  let above = 0;
  for (const one of some) {
    for (const other of others) above += one > other ? 1 : one === other ? 0.5 : 0;
  }
  const area = above / (some.length * others.length);
  return Math.max(area, 1 - area);
}

/** Twenty credentials with the same kind of verifier, some of them closed, ended, or of two stores. */
async function openWorld(verifier: string) {
  const folder = tempFolder('bench-refusals');
  const log = new MemoryEventLog();
  const added = (index: number, more: object = {}, secret: Partial<Secret> = {}): DomainEvent => {
    const { secrets: _, ...fields } = credential(index);
    const context = sealingContext({ kind: 'credential', id: fields.id });
    const sealed = box.seal(verifier, context);
    const secrets = [{ secretId: 's1', verifier: sealed, createdAt: 0, ...secret }];
    return { type: 'CredentialAdded', data: { ...fields, secrets, ...more } };
  };
  const ordinary = Array.from({ length: 20 }, (_, index) => added(index));
  const closed = added(100, { enabled: false });
  const ended = added(101, {}, { expiresAt: 1 });
  await log.append([commitOf(...ordinary, closed, ended)], 0);
  const failed = (failure: unknown): never => {
    throw new Error('the fold has failed', { cause: failure });
  };
  const path = join(folder, 'model.sqlite');
  const model = await ReadModel.open({ path, log, onFailure: failed });
  const policy = new PolicyService({ model, box, hasher, clock: Date.now });
  const attempt = async (username: string, password: Buffer | undefined): Promise<void> => {
    const facts = { clientId: 'c', listener: 'tcp:default', username };
    const proof = { facts, ...(password && { password }) };
    const answer = await policy.authenticate({ ...proof, minRevision: 1 });
    if (answer.ok) throw new Error('nobody was to come in');
  };
  return {
    attempts: (password: Buffer | undefined): Attempts => ({
      wrong: () => attempt('device-0', password),
      'another name': () => attempt('device-1', password),
      'nobody has the name': () => attempt('nobody', password),
      'the credential is closed': () => attempt('device-100', password),
      'the secret has ended': () => attempt('device-101', password),
    }),
    [Symbol.asyncDispose]: async () => {
      await policy[Symbol.asyncDispose]();
      await model[Symbol.asyncDispose]();
      removeFolder(folder);
    },
  };
}

async function benchMqttRefusals(rounds: number): Promise<void> {
  for (const kind of ['argon2id', 'bcrypt'] as const) {
    heading(`refusals over MQTT where all have ${kind}; area under ROC against wrong`);
    await using node = await startStandalone();
    const api = await Api.login(node.url, 'admin', node.adminPassword);
    const secret =
      kind === 'argon2id'
        ? { password: PASSWORD }
        : { passwordHash: { algorithm: 'bcrypt', hash: await verifiers.bcrypt() } };
    for (const username of ['wrong', 'another', 'closed']) {
      const body = { name: username, match: { username }, enabled: username !== 'closed' };
      await api.expect(201, 'POST', '/api/v1/credentials?wait=enforced', { ...body, ...secret });
    }
    const attempt = async (username: string): Promise<void> => {
      await using client = await RawMqttClient.open(node.mqttPort);
      const answer = await client.connect({ clientId: 'c', username, password: 'wrong' });
      if (answer.returnCode === 0) throw new Error('nobody was to come in');
    };
    const attempts: Attempts = {
      wrong: () => attempt('wrong'),
      'another name': () => attempt('another'),
      'nobody has the name': () => attempt('nobody'),
      'the credential is closed': () => attempt('closed'),
    };
    report(await measured(rounds, attempts), { processor: false });
  }
}
