import { randomUUID } from 'node:crypto';
import { ACL_RULES_MAX } from '@sallyport/domain';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { CHUNK_ROWS_MAX } from '../../bulk/import-run.ts';
import { type Imported, type ImportOptions, ndjson, sendImport } from '../../testing/importing.ts';
import { type Client, World } from '../../testing/world.ts';

let world: World;
let admin: Client;
beforeEach(async () => {
  world = await World.open({ http: { importRowsMax: 5000 } });
  admin = await world.login();
});
afterEach(() => {
  vi.restoreAllMocks();
  return world[Symbol.asyncDispose]();
});

const NDJSON = 'application/x-ndjson';
const send = (rows: readonly unknown[], options: ImportOptions = {}) =>
  sendText(ndjson(rows), NDJSON, options);
const sendText = (payload: string, type: string, options: ImportOptions = {}) =>
  sendImport(admin, '/api/v1/acl/import', { payload, type, ...options });

const everyone = { kind: 'everyone' } as const;
const client = (name: string) => ({ kind: 'client', name }) as const;
const row = (target: object, topicFilter: string, more: object = {}) => ({
  target,
  effect: 'allow',
  action: 'all',
  topicFilter,
  ...more,
});
const outcomes = ({ rows }: Imported) => rows.map((one) => one.outcome);
const filters = (target: Parameters<World['model']['reads']['aclTable']>[0]) =>
  world.model.reads.aclTable(target)?.rules.map((one) => one.topicFilter) ?? [];

describe('rows of rules', () => {
  it('that are refused leave the others alone, and name the field and the reason', async () => {
    const answer = await send([
      row(client('a'), 'a#'),
      row(client('a'), 'a/#'),
      row({ kind: 'client' }, 'b'),
      row({ ...everyone, name: 'x' }, 'b'),
      row(everyone, 'b', { any: true }),
      row(everyone, 'b', { qos: [3] }),
      row(everyone, 'b', { position: 0 }),
      row(client(''), 'b'),
    ]);
    expect(answer.rows.map((one) => [one.row, one.code, one.pointer])).toEqual([
      [1, 'acl_rule_invalid', '/topicFilter'],
      [2, undefined, undefined],
      [3, 'invalid_request', '/target/name'],
      [4, 'invalid_request', '/target/name'],
      [5, 'acl_rule_invalid', '/any'],
      [6, 'invalid_request', '/qos/0'],
      [7, 'invalid_request', '/position'],
      [8, 'acl_rule_invalid', '/target'],
    ]);
    expect(answer.summary).toMatchObject({ state: 'finished', created: 1, failed: 7 });
    expect(filters(client('a'))).toEqual(['a/#']);
  });

  it('come behind the rules of their targets, in their order, in one commit', async () => {
    await admin.put('/api/v1/acl/everyone', { rules: [row(everyone, 'first')].map(withoutTarget) });
    const before = world.model.revision;
    const answer = await send([
      row(everyone, 'a'),
      row(client('x'), 'b', { ruleId: 'mine', qos: [1], retain: true, action: 'publish' }),
      row(everyone, 'c'),
    ]);
    expect(outcomes(answer)).toEqual(['created', 'created', 'created']);
    expect(world.model.revision).toBe(before + 1);
    expect(filters(everyone)).toEqual(['first', 'a', 'c']);
    expect(answer.rows[1]?.id).toBe('mine');
    const rules = world.model.reads.aclTable(everyone)?.rules ?? [];
    expect([answer.rows[0]?.id, answer.rows[2]?.id]).toEqual(
      rules.slice(1).map((one) => one.ruleId),
    );
  });

  it('past the rules of one target are refused, and up to there they are taken', async () => {
    const rows = Array.from({ length: ACL_RULES_MAX + 1 }, (_, index) =>
      row(everyone, `t/${index}`),
    );
    const answer = await send(rows);
    expect(answer.summary).toMatchObject({ created: ACL_RULES_MAX, failed: 1 });
    expect(answer.rows.at(-1)?.code).toBe('too_many_acl_rules');
  });

  it('that are there are refused, kept or updated in their place, as is asked', async () => {
    const made = await send([
      row(everyone, 'a', { ruleId: 'one' }),
      row(everyone, 'b', { ruleId: 'two' }),
    ]);
    expect(outcomes(made)).toEqual(['created', 'created']);
    const again = [
      row(everyone, 'c', { ruleId: 'one' }),
      row(everyone, 'b'),
      row(everyone, 'd', { ruleId: 'three' }),
      row(everyone, 'd'),
    ];
    const refused = await send(again.slice(0, 2));
    expect(refused.rows.map((one) => one.code)).toEqual(['acl_rule_exists', 'acl_rule_exists']);
    const kept = await send(again.slice(0, 2), { query: '?existing=keep' });
    expect(kept.rows.map(({ outcome, id }) => [outcome, id])).toEqual([
      ['unchanged', 'one'],
      ['unchanged', 'two'],
    ]);
    const updated = await send(again, { query: '?existing=update' });
    expect(updated.rows.map(({ outcome, id }) => [outcome, id])).toEqual([
      ['updated', 'one'],
      ['unchanged', 'two'],
      ['created', 'three'],
      ['unchanged', 'three'],
    ]);
    expect(filters(everyone)).toEqual(['c', 'b', 'd']);
    const once = await send(again, { query: '?existing=update' });
    expect(once.summary).toMatchObject({ created: 0, updated: 0, unchanged: 4 });
  });

  it('are told and not stored by a dry run, and all or none are stored when it is to be atomic', async () => {
    const rows = [row(everyone, 'a'), row(everyone, 'a'), row(everyone, 'b')];
    const before = world.model.revision;
    const dry = await send(rows, { query: '?dryRun=true' });
    expect(outcomes(dry)).toEqual(['created', 'error', 'created']);
    const atomic = await send(rows, { query: '?mode=atomic' });
    expect(atomic.rows.map((one) => [one.row, one.code])).toEqual([[2, 'acl_rule_exists']]);
    expect(atomic.summary).toMatchObject({ state: 'refused' });
    expect(world.model.revision).toBe(before);
    const stored = await send(rows, { query: '?mode=atomic&existing=keep' });
    expect(stored.summary).toMatchObject({ created: 2, unchanged: 1, revision: before + 1 });
  });

  it('go on where they stopped, once, with the same key', async () => {
    const key = randomUUID();
    const rows = Array.from({ length: 2 * CHUNK_ROWS_MAX }, (_, index) =>
      row(client(`c${index % 20}`), `t/${index}`),
    );
    const execute = world.executor.execute.bind(world.executor);
    let commits = 0;
    vi.spyOn(world.executor, 'execute').mockImplementation((command, meta) =>
      commits++ === 1 ? Promise.reject(new Error('killed')) : execute(command, meta),
    );
    const stopped = await send(rows, { key });
    expect(stopped.summary).toMatchObject({ state: 'stopped', created: CHUNK_ROWS_MAX });
    vi.restoreAllMocks();
    const whole = await send(rows, { key });
    expect(whole.summary).toMatchObject({ state: 'finished', created: rows.length });
    const progress = await admin.get(`/api/v1/imports/${String(whole.summary['importId'])}`);
    expect(progress.body).toMatchObject({ state: 'finished', rows: rows.length, failed: 0 });
    expect(filters(client('c0'))).toHaveLength(rows.length / 20);
    const again = await send(rows, { key });
    expect(again.rows).toEqual(whole.rows);
    const other = await sendImport(admin, '/api/v1/credentials/import', {
      payload: ndjson(rows),
      type: NDJSON,
      key,
    });
    expect([other.status, other.body.code]).toEqual([422, 'idempotency_key_reused']);
  });

  it('are for those who may write rules', async () => {
    const viewer = await world.operator('viewer');
    const sent = { payload: '', type: NDJSON };
    expect((await sendImport(viewer, '/api/v1/acl/import', sent)).status).toBe(403);
    expect((await viewer.get('/api/v1/acl/export')).status).toBe(200);
  });
});

const withoutTarget = ({ target: _target, ...rule }: ReturnType<typeof row>) => rule;

describe('an export of rules', () => {
  it.each(['csv', 'json', 'ndjson'] as const)('as %s is imported as it was', async (format) => {
    const rows = [
      row(client('=1+1'), '+/a', { ruleId: '-1', literal: true, qos: [0, 2] }),
      row(client('=1+1'), 'z', { ruleId: 'second', effect: 'deny' }),
      row(everyone, '#', { ruleId: 'all', any: true }),
      row({ kind: 'username', name: 'a,"b"' }, 'ü', {
        ruleId: 'x',
        action: 'publish',
        retain: false,
      }),
      row(everyone, 'a/+', {
        ruleId: 'narrow',
        action: 'subscribe',
        shared: true,
        wildcard: false,
        clientIdPattern: '^[a,"]$',
        usernamePattern: '-x',
        source: '2001:db8::/32',
        listener: 'tcp:default',
        listenerPattern: '^tcp,',
        zone: '=hall',
        zonePattern: '"7"$',
      }),
    ];
    expect((await send(rows)).summary).toMatchObject({ created: 5 });
    const { text, headers } = await admin.get(`/api/v1/acl/export?format=${format}`);
    expect(headers['sallyport-revision']).toBe(String(world.model.revision));
    for (const { target } of rows) {
      await admin.delete(addressOf(target as Parameters<typeof addressOf>[0]));
    }
    const type = format === 'ndjson' ? NDJSON : format === 'csv' ? 'text/csv' : 'application/json';
    expect((await sendText(text, type)).summary).toMatchObject({ created: 5, failed: 0 });
    const { text: again } = await admin.get(`/api/v1/acl/export?format=${format}`);
    expect(again).toBe(text);
    const kept = await sendText(text, type, { query: '?existing=update' });
    expect(kept.summary).toMatchObject({ unchanged: 5 });
  });

  it('of nothing is empty', async () => {
    expect((await admin.get('/api/v1/acl/export?format=json')).body).toEqual([]);
    expect((await admin.get('/api/v1/acl/export')).text).toBe('');
  });
});

function addressOf({ kind, name = '' }: { readonly kind: string; readonly name?: string }): string {
  const folder = { client: 'clients/', username: 'usernames/', everyone: 'everyone' }[kind] ?? '';
  return `/api/v1/acl/${folder}${encodeURIComponent(name)}`;
}
