import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DEFAULT_PASSWORD_POLICY } from '@sallyport/domain';
import { isOperational } from '@sallyport/errors';
import { CommandExecutor, MemoryEventLog } from '@sallyport/event-log';
import { ReadModel } from '@sallyport/read-model';
import { SecretBox, SecretHasher, sealingContext } from '@sallyport/secrets';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { bootstrap } from './bootstrap.ts';

const folder = mkdtempSync(join(tmpdir(), 'bootstrap-'));
const secretBox = new SecretBox(randomBytes(32));
const hasher = new SecretHasher(secretBox);
const clock = () => 1_700_000_000_000;

let log: MemoryEventLog;
const models: ReadModel[] = [];

async function replica() {
  const path = join(folder, `${randomBytes(8).toString('hex')}.sqlite`);
  const model = await ReadModel.open({ path, log, onFailure: () => undefined });
  models.push(model);
  const executor = new CommandExecutor({ log, model });
  const passwordPolicy = DEFAULT_PASSWORD_POLICY;
  return { model, executor, hasher, secretBox, clock, passwordPolicy };
}

beforeEach(() => {
  log = new MemoryEventLog();
});
afterEach(async () => {
  for (const model of models.splice(0)) await model[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

const ALL = { page: 0, pageSize: 10, sort: 'name', order: 'asc' } as const;

const key = { apiKey: 'key', apiSecret: 'a secret of sixteen' };

describe('the first start', () => {
  it.each([{ apiKey: 'key' }, { apiSecret: key.apiSecret }])(
    'refuses half an API key, before anything is stored: %j',
    async (half) => {
      const failure = await bootstrap(half, await replica()).catch((error: unknown) => error);
      expect(isOperational(failure, 'config_invalid')).toBe(true);
      expect(await log.head()).toBe(0);
    },
  );

  it('makes an administrator with a generated password of 128 bits or more, told once', async () => {
    const ports = await replica();
    const first = await bootstrap({}, ports);
    expect(first.administratorAdded).toBe(true);
    expect(
      Buffer.from(first.generatedPassword ?? '', 'base64url').length * 8,
    ).toBeGreaterThanOrEqual(128);
    const admin = ports.model.reads.operatorByLogin('admin');
    expect(admin).toMatchObject({ role: 'administrator', enabled: true });
    const context = sealingContext({ kind: 'operator', id: admin?.id ?? '' });
    const verifier = secretBox.open(admin?.passwordVerifier ?? '', context);
    expect(await hasher.verify(verifier, Buffer.from(first.generatedPassword ?? ''))).toBe(true);
    expect(await bootstrap({}, ports)).toEqual({ administratorAdded: false });
    expect(await bootstrap({ adminPassword: 'another password' }, ports)).toEqual({
      administratorAdded: false,
    });
    expect(await log.head()).toBe(1);
  });

  it('takes the password and the e-mail address of the configuration, and prints neither', async () => {
    const ports = await replica();
    const config = { adminPassword: 'from the configuration', adminEmail: 'a@example.org' };
    expect(await bootstrap(config, ports)).toEqual({ administratorAdded: true });
    expect(ports.model.reads.operatorByLogin('a@example.org')?.name).toBe('admin');
  });

  it('refuses a password that fails the policy, and names every rule', async () => {
    const policy = { min: 20, lower: 1, upper: 1, numeric: 1, symbol: 0 };
    const ports = { ...(await replica()), passwordPolicy: policy };
    const first = bootstrap({ adminPassword: 'twelve chars' }, ports);
    const failure = await first.catch((error: unknown) => error);
    expect(isOperational(failure, 'config_invalid')).toBe(true);
    const why =
      'must have at least 20 characters (min), 1 upper-case letter (upper), 1 digit (numeric)';
    expect(String(failure)).toContain(`bootstrap.adminPassword ${why}`);
    expect(String(failure)).not.toContain('twelve');
    expect(await log.head()).toBe(0);
    const good = { adminPassword: 'Twenty characters, 1 digit' };
    expect((await bootstrap(good, ports)).administratorAdded).toBe(true);
    // Of a later start: the administrator has another one by then.
    expect(await bootstrap({ adminPassword: 'twelve chars' }, ports)).toEqual({
      administratorAdded: false,
    });
  });

  it('asks nothing of the password that it makes', async () => {
    const policy = { min: 256, lower: 0, upper: 0, numeric: 0, symbol: 256 };
    const first = await bootstrap({}, { ...(await replica()), passwordPolicy: policy });
    expect(first.generatedPassword).toBeDefined();
  });

  it('of replicas that start at once makes one administrator and one key; one knows the password', async () => {
    const replicas = await Promise.all([replica(), replica(), replica()]);
    const outcomes = await Promise.all(replicas.map((ports) => bootstrap(key, ports)));
    const winners = outcomes.filter((one) => one.administratorAdded);
    expect(winners).toHaveLength(1);
    expect(outcomes.filter((one) => one.generatedPassword !== undefined)).toEqual(winners);
    const commits = await log.read(0, 10);
    const types = commits.flatMap((commit) => commit.events.map((event) => event.type));
    expect(types.sort()).toEqual(['ApiKeyAdded', 'OperatorAdded']);
  });

  it('makes no role unless it is asked for, and then those that nobody changes, once', async () => {
    const ports = await replica();
    await bootstrap({ builtInRoles: false }, ports);
    expect(ports.model.lists.roles(ALL).total).toBe(0);
    const replicas = [ports, await replica(), await replica()];
    await Promise.all(replicas.map((one) => bootstrap({ builtInRoles: true }, one)));
    await bootstrap({ builtInRoles: true }, ports);
    const { items } = ports.model.lists.roles(ALL);
    expect(items.map(({ id, name, builtIn }) => [id, name, builtIn])).toEqual([
      ['connectware-admin', 'connectware-admin', true],
      ['minimum-access', 'minimum-access', true],
    ]);
  });

  it('does not start where somebody else has the name of a built-in role', async () => {
    const ports = await replica();
    const data = { id: 'r1', name: 'minimum-access', permissions: [] };
    const meta = { commitId: 'r1', at: clock(), actor: { kind: 'system', id: 'test' } } as const;
    await ports.executor.execute({ type: 'AddRole', data }, meta);
    const first = bootstrap({ builtInRoles: true }, ports);
    const failure = await first.catch((error: unknown) => error);
    expect(isOperational(failure, 'config_invalid')).toBe(true);
    expect(String(failure)).toContain('bootstrap.builtInRoles: minimum-access: role_name_taken');
  });

  it('makes the key after a crash between the two commits, and never again once it was removed', async () => {
    const ports = await replica();
    await bootstrap({}, ports);
    await bootstrap(key, ports);
    expect(ports.model.reads.apiKey('key')).toMatchObject({ role: 'administrator', enabled: true });
    const actor = { kind: 'system', id: 'test' } as const;
    const removal = { type: 'RemoveApiKey', data: { id: 'key' } } as const;
    await ports.executor.execute(removal, { commitId: 'removal', at: clock(), actor });
    await bootstrap(key, ports);
    expect(ports.model.reads.apiKey('key')).toBeUndefined();
  });

  it('refuses a secret that is too short to be one', async () => {
    const ports = await replica();
    const short = { apiKey: 'key', apiSecret: 'fifteen letters' };
    const failure = await bootstrap(short, ports).catch((error: unknown) => error);
    expect(isOperational(failure, 'config_invalid')).toBe(true);
    expect(ports.model.reads.apiKey('key')).toBeUndefined();
  });
});
