import type { Command } from '@sallyport/domain';
import { OperationalError } from '@sallyport/errors';
import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type AppendResult, COMMIT_BYTES_MAX, type EventLog } from './event-log.ts';
import {
  BATCH_COMMANDS_MAX,
  CommandExecutor,
  type CommandMeta,
  CONFLICT_RETRIES_MAX,
  type Executed,
  QUEUE_COMMANDS_MAX,
} from './execute-command.ts';
import { MemoryEventLog } from './memory-log.ts';
import { commitOf } from './testing/commits.ts';
import { FoldedModel } from './testing/folded-model.ts';
import { codeOf, deferred } from './testing/reader.ts';

const meta = (commitId: string, more: Partial<CommandMeta> = {}): CommandMeta => ({
  commitId,
  at: 1_700_000_000_000,
  actor: { kind: 'operator', id: 'admin' },
  ...more,
});

const addRule = (client: string, ruleId: string): Command => ({
  type: 'AddAclRule',
  data: {
    target: { kind: 'client', name: client },
    rule: { ruleId, effect: 'allow', action: 'all', topicFilter: 'a/#' },
  },
});

const removeRule = (client: string, ruleId: string): Command => ({
  type: 'RemoveAclRule',
  data: { target: { kind: 'client', name: client }, ruleId },
});

const noMatch = (value: 'allow' | 'deny'): Command => ({
  type: 'ChangeSettings',
  data: { changes: { noMatch: value } },
});

const addCredential = (id: string, username: string): Command => ({
  type: 'AddCredential',
  data: {
    id,
    store: 'native',
    kind: 'password',
    name: username,
    match: { username },
    enabled: true,
    superuser: false,
    passwordRequired: false,
    attributes: {},
    access: { kind: 'acl' },
    secrets: [],
  },
});

const removeCredential = (id: string): Command => ({ type: 'RemoveCredential', data: { id } });

/** Counts what the executor asks of a log, and can fail it. */
class WatchedLog extends MemoryEventLog {
  readonly batches: number[] = [];
  heads = 0;
  beforeAppend: (() => void | Promise<void>) | undefined;

  override async append(...args: Parameters<EventLog['append']>): Promise<readonly AppendResult[]> {
    this.batches.push(args[0].length);
    await this.beforeAppend?.();
    return super.append(...args);
  }

  override async head(): Promise<number> {
    this.heads += 1;
    return super.head();
  }
}

describe('CommandExecutor', () => {
  let log: WatchedLog;
  let model: FoldedModel;
  let executor: CommandExecutor;

  beforeEach(() => {
    log = new WatchedLog();
    model = new FoldedModel(log);
    executor = new CommandExecutor({ log, model });
  });
  afterEach(async () => {
    await model[Symbol.asyncDispose]();
    await log[Symbol.asyncDispose]();
  });

  it('answers with the rejection of the domain, and stores nothing', async () => {
    const answer = await executor.execute(removeRule('c', 'r'), meta('1'));
    expect(answer).toEqual({ ok: false, rejection: { code: 'acl_rule_not_found' } });
    expect(await log.head()).toBe(0);
  });

  it('stores the events, and answers when the model has folded them', async () => {
    const answer = await executor.execute(
      addRule('c', 'r'),
      meta('1', { reason: 'why', traceparent: '00-ab-cd-01', fingerprint: 'print' }),
    );
    expect(answer).toMatchObject({ ok: true, revision: 1, replayed: false });
    expect(model.reads.aclTable({ kind: 'client', name: 'c' })?.rules).toHaveLength(1);
    const [commit] = await log.read(0, 1);
    expect(commit).toMatchObject({
      commitId: '1',
      reason: 'why',
      traceparent: '00-ab-cd-01',
      fingerprint: 'print',
      events: answer.ok ? answer.events : [],
    });
  });

  it('keeps nothing of the meta that a commit has no field for', async () => {
    const more = { password: 'secret' } as Partial<CommandMeta>; // What a careless caller would pass.
    await executor.execute(addRule('c', 'r'), meta('1', more));
    expect(JSON.stringify(await log.read(0, 1))).not.toContain('secret');
  });

  it('answers a command that changes nothing at the revision of the model, without a commit', async () => {
    await executor.execute(addRule('c', 'r'), meta('1'));
    const answer = await executor.execute(noMatch('deny'), meta('2'));
    expect(answer).toEqual({ ok: true, revision: 1, replayed: false, events: [] });
    expect(await log.head()).toBe(1);
  });

  it('does not refuse on a state that another writer has changed since', async () => {
    const hold = deferred();
    await executor.execute(addRule('c', 'r'), meta('1'));
    model.held = hold.promise;
    await log.append(
      [
        commitOf('foreign', {
          events: [
            {
              type: 'AclRuleRemoved',
              data: { target: { kind: 'client', name: 'c' }, ruleId: 'r' },
            },
          ],
        }),
      ],
      1,
    );
    const answering = executor.execute(addRule('c', 'r'), meta('2'));
    hold.resolve();
    expect(await answering).toMatchObject({ ok: true, revision: 3 });
  });

  it('decides again when another writer was first', async () => {
    log.beforeAppend = async () => {
      log.beforeAppend = undefined;
      await MemoryEventLog.prototype.append.call(log, [commitOf('foreign')], 0);
    };
    const answer = await executor.execute(addRule('c', 'r'), meta('1'));
    expect(answer).toMatchObject({ ok: true, revision: 2, replayed: false });
    expect(log.batches).toEqual([1, 1]);
  });

  it.each([
    [CONFLICT_RETRIES_MAX, 'no failure'],
    [CONFLICT_RETRIES_MAX + 1, 'log_conflict'],
  ])('after %i conflicts of one command: %s', async (conflicts, expected) => {
    let left = conflicts;
    log.beforeAppend = async () => {
      if (left === 0) return;
      left -= 1;
      const head = await MemoryEventLog.prototype.head.call(log);
      await MemoryEventLog.prototype.append.call(log, [commitOf(`foreign-${left}`)], head);
    };
    expect(await codeOf(executor.execute(addRule('c', 'r'), meta('1')))).toBe(expected);
  });

  it('answers a repeated commit id with what its first use did', async () => {
    const first = await executor.execute(addRule('c', 'r'), meta('1', { fingerprint: 'a' }));
    await executor.execute(removeRule('c', 'r'), meta('2'));
    const again = await executor.execute(addRule('c', 'r'), meta('1', { fingerprint: 'a' }));
    expect(again).toEqual({ ...first, replayed: true });
    expect(await log.head()).toBe(2);
  });

  it('refuses a commit id that was used for another request', async () => {
    await executor.execute(addRule('c', 'r'), meta('1', { fingerprint: 'a' }));
    const again = await executor.execute(addRule('c', 's'), meta('1', { fingerprint: 'b' }));
    expect(again).toEqual({ ok: false, rejection: { code: 'idempotency_key_reused' } });
  });

  it('takes the second use of a commit id that arrives together with the first as a repeat', async () => {
    const [first, second] = await Promise.all([
      executor.execute(addRule('c', 'r'), meta('1')),
      executor.execute(addRule('d', 'r'), meta('1')),
    ]);
    expect(first).toMatchObject({ ok: true, revision: 1, replayed: false });
    expect(second).toEqual({ ...first, replayed: true });
    expect(await log.head()).toBe(1);
  });

  it('finds out from the log that a commit was stored that the model had not seen', async () => {
    const hold = deferred();
    model.held = hold.promise;
    await log.append([commitOf('1')], 0);
    const answering = executor.execute(addRule('c', 'r'), meta('1'));
    await expect.poll(() => log.batches.length).toBe(2);
    hold.resolve();
    expect(await answering).toMatchObject({ ok: true, revision: 1, replayed: true });
  });

  it('shares one append among commands that do not meet', async () => {
    const clients = Array.from({ length: 10 }, (_, index) => `c${index}`);
    const answers = await Promise.all(
      clients.map((client) => executor.execute(addRule(client, 'r'), meta(client))),
    );
    expect(log.batches).toEqual([10]);
    expect(answers.map((one) => one.ok && one.revision)).toEqual(
      clients.map((_, index) => index + 1),
    );
  });

  it('puts at most BATCH_COMMANDS_MAX commands into one append', async () => {
    const clients = Array.from({ length: BATCH_COMMANDS_MAX + 1 }, (_, index) => `c${index}`);
    await Promise.all(
      clients.map((client) => executor.execute(addRule(client, 'r'), meta(client))),
    );
    expect(log.batches).toEqual([BATCH_COMMANDS_MAX, 1]);
  });

  it('keeps commands that meet in the order of their arrival, and lets others pass', async () => {
    const order: string[] = [];
    const run = async (id: string, command: Command): Promise<void> => {
      const answer = await executor.execute(command, meta(id));
      expect(answer, id).toMatchObject({ ok: true });
      order.push(id);
    };
    await Promise.all([
      run('add', addRule('c', 'r')),
      run('remove', removeRule('c', 'r')),
      run('add-again', addRule('c', 'r')),
      run('other', addRule('d', 'r')),
    ]);
    expect(order).toEqual(['add', 'other', 'remove', 'add-again']);
  });

  it('decides a command that may meet anything alone, after all before it', async () => {
    const answers = await Promise.all([
      executor.execute(addCredential('1', 'pump'), meta('a')),
      executor.execute(removeCredential('1'), meta('b')),
      executor.execute(addCredential('2', 'pump'), meta('c')),
    ]);
    expect(answers.map((one) => one.ok)).toEqual([true, true, true]);
    expect(log.batches).toEqual([1, 1, 1]);
  });

  it('refuses a command whose commit is too large, and nothing else of its batch', async () => {
    const large = executor.execute(
      addRule('c', 'r'),
      meta('1', { reason: 'x'.repeat(COMMIT_BYTES_MAX) }),
    );
    const [code, other] = await Promise.all([
      codeOf(large),
      executor.execute(addRule('d', 'r'), meta('2')),
    ]);
    expect(code).toBe('commit_too_large');
    expect(other).toMatchObject({ ok: true, revision: 1 });
  });

  it('hands on the failure of the log, and works again after it', async () => {
    log.beforeAppend = () => {
      log.beforeAppend = undefined;
      throw new OperationalError('log_unavailable', 'the server is away');
    };
    expect(await codeOf(executor.execute(addRule('c', 'r'), meta('1')))).toBe('log_unavailable');
    expect(await executor.execute(addRule('c', 'r'), meta('1'))).toMatchObject({ ok: true });
  });

  it('takes QUEUE_COMMANDS_MAX commands, and refuses one more at once', async () => {
    const hold = deferred();
    log.beforeAppend = () => hold.promise;
    const first = executor.execute(addRule('first', 'r'), meta('first'));
    await expect.poll(() => log.batches.length).toBe(1);
    const waiting = Array.from({ length: QUEUE_COMMANDS_MAX }, (_, index) =>
      executor.execute(addRule(`c${index}`, 'r'), meta(`${index}`)),
    );
    expect(await codeOf(executor.execute(addRule('late', 'r'), meta('late')))).toBe(
      'log_unavailable',
    );
    hold.resolve();
    const answers = await Promise.all([first, ...waiting]);
    expect(answers.every((one) => one.ok)).toBe(true);
  });

  it('comes to the state and the answers of one command after the other, whatever runs at once', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(command, { maxLength: 12 }), { maxLength: 4 }),
        sameAsSequential,
      ),
      { numRuns: 60 },
    );
  });
});

const small = fc.integer({ min: 0, max: 3 }).map(String);
const command: fc.Arbitrary<Command> = fc.oneof(
  fc.tuple(small, small).map(([client, rule]) => addRule(client, rule)),
  fc.tuple(small, small).map(([client, rule]) => removeRule(client, rule)),
  fc.constantFrom<'allow' | 'deny'>('allow', 'deny').map(noMatch),
  fc.tuple(small, small).map(([id, username]) => addCredential(id, username)),
  small.map(removeCredential),
  fc.tuple(small, small).map(([id, name]): Command => ({
    type: 'ChangeCredential',
    data: { id, changes: { name } },
  })),
);

/** Two executors share one log; a third repeats everything in the order of the log, one at a time. */
async function sameAsSequential(rounds: readonly (readonly Command[])[]): Promise<void> {
  await using log = new MemoryEventLog();
  await using modelA = new FoldedModel(log);
  await using modelB = new FoldedModel(log);
  const executors = [modelA, modelB].map((model) => new CommandExecutor({ log, model }));
  const all = new Map<string, { command: Command; answer: Executed }>();
  for (const [round, commands] of rounds.entries()) {
    await Promise.all(
      commands.map(async (one, index) => {
        const id = `${round}-${index}`;
        const answer = await executors[index % 2]?.execute(one, meta(id));
        if (answer !== undefined) all.set(id, { command: one, answer });
      }),
    );
  }
  const commits = await log.read(0, 10_000);
  const stored = [...all].filter(([, { answer }]) => answer.ok && answer.events.length > 0);
  expect(commits.map((commit) => commit.commitId).sort()).toEqual(stored.map(([id]) => id).sort());

  await using replayLog = new MemoryEventLog();
  await using replayModel = new FoldedModel(replayLog);
  const sequential = new CommandExecutor({ log: replayLog, model: replayModel });
  for (const commit of commits) {
    const original = all.get(commit.commitId);
    if (original === undefined) throw new Error('a commit that nobody asked for');
    // The answers that stored something are those of a sequential run in the order of the log.
    expect(await sequential.execute(original.command, meta(commit.commitId))).toEqual(
      original.answer,
    );
  }
  expect(await replayLog.read(0, 10_000)).toEqual(commits);
}
