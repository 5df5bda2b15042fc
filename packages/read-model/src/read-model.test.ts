import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Authenticator,
  type Ban,
  type Command,
  type Credential,
  decide,
  type DecisionReads,
  type DomainEvent,
  type Group,
  loginKey,
  loginKeysOf,
  MemoryState,
  type NewCommit,
  type NewCredential,
  type NewGroup,
  REGISTRATION_OUTCOME_MS,
  type Role,
} from '@sallyport/domain';
import { OperationalError } from '@sallyport/errors';
import { MemoryEventLog, nextHash } from '@sallyport/event-log';
import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { PIECE_ROWS } from './pieces.ts';
import { FOLD_COMMITS_MAX, FOLD_EVENTS_MAX, ReadModel, SNAPSHOTS_MAX } from './index.ts';
import { markedAs } from './schema.ts';
import { DatabaseSync } from './sqlite.ts';
import { SORTED_ROWS_MAX } from './sqlite-lists.ts';
import { ADDED_TOGETHER, LOGIN_KEYS_TOGETHER } from './credential-tables.ts';
import { ROLES_KEPT_MAX } from './tables.ts';

const AT = 1_700_000_000_000;

const credential = (id: string, more: Partial<NewCredential> = {}): NewCredential => ({
  id,
  store: 'native',
  kind: 'password',
  name: `Name ${id}`,
  match: { username: `user-${id}` },
  enabled: true,
  superuser: false,
  passwordRequired: true,
  attributes: {},
  access: { kind: 'acl' },
  secrets: [{ secretId: 's1', verifier: 'sealed', createdAt: AT }],
  ...more,
});

const group = (changes: Partial<NewGroup> & { readonly id: string }): NewGroup => ({
  name: changes.id,
  description: '',
  permissions: [],
  ...changes,
});

const commitOf = (commitId: string, ...events: DomainEvent[]): NewCommit => ({
  commitId,
  at: AT,
  actor: { kind: 'system', id: 'test' },
  events,
});

const added = (data: NewCredential): DomainEvent => ({ type: 'CredentialAdded', data });

const isDefined = <T>(value: T | undefined): value is T => value !== undefined;

/** As SQLite compares: texts by their bytes of UTF-8. */
function compare(a: readonly (string | number)[], b: readonly (string | number)[]): number {
  for (const [index, one] of a.entries()) {
    const other = b[index];
    if (typeof one === 'number' && typeof other === 'number' && one !== other) return one - other;
    const order = Buffer.compare(Buffer.from(String(one)), Buffer.from(String(other)));
    if (typeof one === 'string' && order !== 0) return order;
  }
  return 0;
}

let folder: string;
let path: string;
let log: MemoryEventLog;
let failures: OperationalError[];
const open: ReadModel[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'read-model-'));
  path = join(folder, 'deep', 'read-model.sqlite');
  log = new MemoryEventLog();
  failures = [];
});

afterEach(async () => {
  for (const model of open.splice(0)) await model[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

async function openModel(
  from = log,
  onTrouble?: (trouble: OperationalError) => void,
  more: { readonly lists?: boolean } = {},
): Promise<ReadModel> {
  const model = await ReadModel.open({
    path,
    log: from,
    onFailure: (failure) => failures.push(failure),
    ...(onTrouble !== undefined && { onTrouble }),
    ...more,
  });
  open.push(model);
  return model;
}

async function append(...commits: NewCommit[]): Promise<void> {
  const results = await log.append(commits, await log.head());
  expect(results.map((one) => one.status)).toEqual(commits.map(() => 'appended'));
}

describe('opening', () => {
  it('refuses a log that ends before what was folded', async () => {
    await append(commitOf('1', added(credential('a'))), commitOf('2', added(credential('b'))));
    await (await openModel())[Symbol.asyncDispose]();
    const shorter = new MemoryEventLog();
    await shorter.append([commitOf('1', added(credential('a')))], 0);
    await expect(openModel(shorter)).rejects.toMatchObject({ code: 'log_truncated' });
  });

  it('refuses a log that holds another record at the revision that was folded', async () => {
    await append(commitOf('1', added(credential('a'))));
    await (await openModel())[Symbol.asyncDispose]();
    const other = new MemoryEventLog();
    await other.append([commitOf('1', added(credential('z')))], 0);
    await expect(openModel(other)).rejects.toMatchObject({ code: 'log_diverged' });
  });

  it('refuses a path that cannot be used, and says which', async () => {
    writeFileSync(join(folder, 'deep'), 'a file where the folder should be');
    await expect(openModel()).rejects.toMatchObject({
      code: 'read_model_unavailable',
      message: expect.stringContaining('read-model.sqlite') as string,
    });
  });

  it('refuses a file that another model has open', async () => {
    await openModel();
    await expect(openModel()).rejects.toMatchObject({
      code: 'read_model_unavailable',
      message: expect.stringContaining('is another process using it?') as string,
    });
  });

  it('goes on from its checkpoint, and folds nothing twice', async () => {
    await append(commitOf('1', added(credential('a'))));
    const first = await openModel();
    const { hash } = first;
    await first[Symbol.asyncDispose]();
    await append(commitOf('2', added(credential('b'))));
    const reads: number[] = [];
    const follow = log.follow.bind(log);
    log.follow = (options) => {
      reads.push(options.after);
      return follow(options);
    };
    const second = await openModel();
    expect(reads).toEqual([1]);
    expect(second.revision).toBe(2);
    const [, commit] = await log.read(0, 2);
    expect(second.hash).toBe(nextHash(hash, commit?.digest ?? ''));
  });

  it('folds anew from the log when the file is of another schema version', async () => {
    await append(commitOf('1', added(credential('a'))));
    await (await openModel())[Symbol.asyncDispose]();
    const db = new DatabaseSync(path);
    db.exec("UPDATE meta SET schema_version = 0; UPDATE credentials SET name = 'tampered'");
    db.close();
    const model = await openModel();
    expect(model.reads.credential('a')?.name).toBe('Name a');
    expect(model.lists.credentials(firstPage).items).toHaveLength(1);
  });

  it('keeps no indexes of lists when nobody asks for lists, and makes the file anew when somebody does', async () => {
    await append(commitOf('1', added(credential('a', { superuser: true }))));
    const indexes = (): number => {
      const db = new DatabaseSync(path, { readOnly: true });
      const sql =
        "SELECT count(*) AS n FROM sqlite_schema WHERE tbl_name = 'credentials' AND sql LIKE 'CREATE %INDEX%'";
      const row = db.prepare(sql).get() as { n: number };
      db.close();
      return row.n;
    };
    for (const [lists, kept] of [
      [false, 2],
      [true, 7],
      [false, 2],
    ] as const) {
      const model = await openModel(log, undefined, { lists });
      expect(model.reads.credential('a')?.name).toBe('Name a');
      expect(model.reads.credentialIdByName('native', 'Name a')).toBe('a');
      expect(indexes()).toBe(kept);
      if (lists) expect(model.lists.credentials({ ...firstPage, superuser: true }).total).toBe(1);
      else expect(() => model.lists).toThrow('the model keeps lists');
      await model[Symbol.asyncDispose]();
    }
  });

  it.each([
    ['is no database', (bytes: Buffer) => Buffer.from(bytes.map((byte) => byte ^ 0x5a))],
    ['has lost its end', (bytes: Buffer) => bytes.subarray(0, 5000)],
    ['has a damaged schema', (bytes: Buffer) => Buffer.from(bytes).fill(0xff, 100, 4096)],
  ])('folds anew from the log when the file %s', async (_, damage) => {
    await append(commitOf('1', added(credential('a'))));
    await (await openModel())[Symbol.asyncDispose]();
    writeFileSync(path, damage(readFileSync(path)));
    const model = await openModel();
    expect(model.reads.credential('a')?.name).toBe('Name a');
    await append(commitOf('2', added(credential('b'))));
    await model.waitFor(2, 5_000);
    expect(model.lists.credentials(firstPage).total).toBe(2);
  });

  it('folds anew when everything behind the first page is damaged, before anybody asks', async () => {
    await append(commitOf('1', added(credential('a'))));
    await (await openModel())[Symbol.asyncDispose]();
    const bytes = readFileSync(path);
    writeFileSync(path, bytes.fill(0x5a, 4096));
    rmSync(`${path}-wal`, { force: true });
    const model = await openModel();
    expect([model.revision, model.trouble]).toEqual([1, undefined]);
    expect(model.reads.credential('a')?.name).toBe('Name a');
  });

  it('folds anew when the file is damaged while it is used: refuses meanwhile, and goes nowhere back', async () => {
    await append(commitOf('1', added(credential('a'))), commitOf('2', added(credential('b'))));
    await (await openModel())[Symbol.asyncDispose]();
    const troubles: OperationalError[] = [];
    const model = await openModel(log, (trouble) => troubles.push(trouble));
    const { hash } = model;
    // Pages are in the file, or in its log still.
    for (const name of [path, `${path}-wal`]) {
      const length = Math.max(0, readFileSync(name).length - 4096);
      const file = openSync(name, 'r+');
      writeSync(file, Buffer.alloc(length, 0x5a), 0, length, 4096);
      closeSync(file);
    }
    const ask = () => model.credentialsByLogin('username:a');
    expect(ask).toThrow(expect.objectContaining({ code: 'read_model_unavailable' }));
    expect(() => model.reads).toThrow(OperationalError);
    expect(troubles).toMatchObject([{ code: 'read_model_unavailable' }]);
    // Whoever wants a revision waits for the repair, and what is written meanwhile is in it.
    const waiting = model.waitFor(2, 5_000);
    await append(commitOf('3', added(credential('c'))));
    await waiting;
    await model.waitFor(3, 5_000);
    expect(model.trouble).toBeUndefined();
    expect(model.lists.credentials(firstPage).total).toBe(3);
    const [, , third] = await log.read(0, 3);
    expect(model.hash).toBe(nextHash(hash, third?.digest ?? ''));
    await model[Symbol.asyncDispose]();
    expect((await openModel()).revision).toBe(3);
  });

  it('a document that is none is damage too', async () => {
    await append(commitOf('1', added(credential('a'))));
    await (await openModel())[Symbol.asyncDispose]();
    const db = new DatabaseSync(path);
    db.exec(`UPDATE credentials SET doc = 'allow everything'`);
    db.close();
    const model = await openModel();
    expect(() => model.reads.credential('a')).toThrow(OperationalError);
    await model.waitFor(1, 5_000);
    expect(model.reads.credential('a')?.name).toBe('Name a');
  });

  it('folds a log that is longer than one transaction', async () => {
    const commits = Array.from({ length: FOLD_COMMITS_MAX + 1 }, (_, index) =>
      commitOf(`${index}`, added(credential(`${index}`))),
    );
    await append(...commits);
    const model = await openModel();
    expect(model.revision).toBe(FOLD_COMMITS_MAX + 1);
    expect(model.lists.credentials(firstPage).total).toBe(FOLD_COMMITS_MAX + 1);
  });

  it.each<[string, Partial<NewCredential>]>([
    ['that is like the others', {}],
    ['of another store', { store: 'emqx' }],
    ['of another chain', { chain: { scope: 'global', authenticator: 'scram:built_in_database' } }],
    ['that is found by its client id', { match: { clientId: 'c' } }],
    ['whose name has capitals', { name: 'Ä' }],
    ['of a superuser', { superuser: true }],
    ['that a system has made', { autoGenerated: true }],
    ['with a role', { access: { kind: 'roles', roles: ['r'], permissions: [] } }],
  ])('adds many at once, with one among them %s', async (_which, more) => {
    const events = Array.from({ length: 3 * ADDED_TOGETHER - 1 }, (_, index) => {
      const usual = { name: `n${index}'`, attributes: { text: '"\u2028\ud83d\ude00' } };
      return credential(
        `id-${index}`,
        index === ADDED_TOGETHER + 3 ? { ...usual, ...more } : usual,
      );
    });
    await append(commitOf('1', ...events.map(added)));
    const model = await openModel();
    const expected = events.map((data) => {
      const { id, store, chain, name, match, superuser, autoGenerated, access } = data;
      const stamps = { createdAt: AT, createdRevision: 1, updatedAt: AT, updatedRevision: 1 };
      return {
        ...{ id, store, name, login_key: loginKey(match), created_at: AT, updated_at: AT },
        chain: chain === undefined ? '' : `${chain.scope}/${chain.authenticator}`,
        name_key: name.toLowerCase(),
        roles: access.kind === 'roles' ? '["r"]' : null,
        marks: (superuser ? 1 : 0) + (autoGenerated ? 2 : 0) + (match.clientId ? 8 : 4),
        doc: JSON.stringify({ ...stamps, ...data }),
      };
    });
    const database = new DatabaseSync(path, { readOnly: true });
    const rows = database.prepare('SELECT * FROM credentials ORDER BY rowid').all();
    database.close();
    expect(rows.map((row) => ({ ...(row as object) }))).toEqual(expected);
    expect(model.lists.credentials(firstPage).total).toBe(events.length);
  });

  it('gives others their turn between commits of many events', async () => {
    const half = FOLD_EVENTS_MAX / 2;
    const commits = [0, 1, 2, 3].map((one) => {
      const ids = Array.from({ length: half }, (_, index) => `c${one * half + index}`);
      return commitOf(`${one}`, ...ids.map((id) => added(credential(id))));
    });
    const model = await openModel();
    const seen = new Set<number>();
    const look = (): void => {
      seen.add(model.revision);
      if (model.revision < commits.length) setImmediate(look);
    };
    look();
    await append(...commits);
    await model.waitFor(commits.length, 5_000);
    expect([...seen].slice(0, 2)).toEqual([0, 2]);
  });
});

describe('the pages of a list', () => {
  it('are cut from one order, from whichever end they are nearer to', async () => {
    const model = await openModel();
    const store = (index: number) => (index % 5 === 0 ? 'tbmq' : 'native');
    const names = ['a', 'A', 'aB', 'ab', 'AB', 'b', 'ß', 'é', 'É', '#', '😀', '😀a', 'c a', 'C A'];
    for (const [index, name] of names.entries()) {
      const one = credential(`id-${(index * 5) % names.length}`, { name, store: store(index) });
      // Two of each time, and some that have changed since.
      const commit = { ...commitOf(`${index}`, added(one)), at: AT + Math.floor(index / 2) };
      await append(commit);
    }
    const change = (id: string, at: number) => ({
      ...commitOf(`change-${id}`, {
        type: 'CredentialChanged' as const,
        data: { id, changes: { enabled: false } },
      }),
      at,
    });
    await append(change('id-3', AT + 100), change('id-8', AT - 100));
    await model.waitFor(names.length + 2, 5_000);
    const all = names.map((_, index) => model.reads.credential(`id-${index}`)).filter(isDefined);
    expect(all).toHaveLength(names.length);
    // Of the same time by their names, of the same name the one that was added first.
    const named = (one: Credential) => [one.name.toLowerCase(), one.store, one.createdRevision];
    const keysOf = {
      name: named,
      createdAt: (one: Credential) => [one.createdAt, ...named(one)],
      updatedAt: (one: Credential) => [one.updatedAt, ...named(one)],
    } as const;
    for (const sort of ['name', 'createdAt', 'updatedAt'] as const) {
      const sorted = [...all].sort((a, b) => compare(keysOf[sort](a), keysOf[sort](b)));
      for (const search of ['', 'a', 'B', '😀', 'x']) {
        for (const store of [undefined, 'tbmq'] as const) {
          for (const order of ['asc', 'desc'] as const) {
            const expected = sorted.filter(
              (one) =>
                one.name.toLowerCase().includes(search.toLowerCase()) &&
                (store === undefined || one.store === store),
            );
            if (order === 'desc') expected.reverse();
            const ids = expected.map((one) => one.id);
            for (const pageSize of [1, 2, 3, 50]) {
              for (let page = 0; page <= Math.ceil(ids.length / pageSize); page++) {
                const request = { page, pageSize, sort, order, search, ...(store && { store }) };
                const answer = model.lists.credentials(request);
                const start = page * pageSize;
                expect(
                  [answer.total, answer.items.map((one) => one.id)],
                  JSON.stringify(request),
                ).toEqual([ids.length, ids.slice(start, start + pageSize)]);
              }
            }
          }
        }
      }
    }
  });

  it('count what is there now, however often they were asked for', async () => {
    const model = await openModel();
    const total = () => model.lists.credentials({ ...firstPage, pageSize: 1, page: 1 }).total;
    for (let count = 0; count < 3; count++) {
      expect([total(), total()]).toEqual([count, count]);
      await append(commitOf(`${count}`, added(credential(`c${count}`))));
      await model.waitFor(count + 1, 5_000);
    }
  });
});

describe('following', () => {
  it('does not say that a revision is reached before it is', async () => {
    const model = await openModel();
    await expect(model.waitFor(1, 20)).rejects.toMatchObject({ code: 'policy_not_ready' });
    const reached = model.waitFor(1, 5_000);
    await append(commitOf('1', added(credential('a'))));
    await reached;
    expect(model.reads.credential('a')).toMatchObject({ createdRevision: 1, updatedRevision: 1 });
  });

  it('knows the revision of a commit id, for retries', async () => {
    await append(commitOf('first', added(credential('a'))));
    const model = await openModel();
    expect(model.commitRevision('first')).toBe(1);
    expect(model.commitRevision('second')).toBeUndefined();
  });

  it('stops at a commit that cannot be folded, keeps the state before it, and tells everybody', async () => {
    await append(commitOf('1', added(credential('a'))));
    const model = await openModel();
    const waiting = model.waitFor(2, 5_000);
    // Two credentials of one match: no decision makes this, so the log is not what it should be.
    await append(commitOf('2', added(credential('b', { match: { username: 'user-a' } }))));
    await expect(waiting).rejects.toBeDefined();
    expect(failures).toHaveLength(1);
    expect(model.failure).toBe(failures[0]);
    expect(model.revision).toBe(1);
    expect(model.reads.credential('b')).toBeUndefined();
    await expect(model.waitFor(3, 5_000)).rejects.toBe(failures[0]);
  });
});

const firstPage = { page: 0, pageSize: 10, sort: 'name', order: 'asc' } as const;

describe('some credentials', () => {
  it('are from everywhere, each once, also where others have gone', async () => {
    const model = await openModel();
    expect(model.someCredentials(4)).toEqual([]);
    await log.append([commitOf('1', added(credential('0')))], 0);
    await model.waitFor(1, 5_000);
    expect(model.someCredentials(4).map(({ id }) => id)).toEqual(['0']);
    const more = Array.from({ length: 99 }, (_, index) => added(credential(`${index + 1}`)));
    const gone = Array.from({ length: 30 }, (_, index) => ({
      type: 'CredentialRemoved' as const,
      data: { id: `${index}` },
    }));
    await log.append([commitOf('2', ...more), commitOf('3', ...gone)], 1);
    await model.waitFor(3, 5_000);
    expect(model.someCredentials(100)).toHaveLength(70);
    const some = model.someCredentials(7).map(({ id }) => Number(id));
    expect(some).toEqual([30, 40, 50, 60, 70, 80, 90]);
  });
});

describe('lists', () => {
  it('searches names only, as literal text without case, and sorts the whole set', async () => {
    const names = ['100% wool', 'a_b', 'ALPHA', 'beta', "o'hara", 'Übung'];
    await append(
      commitOf('1', ...names.map((name, index) => added(credential(`${index}`, { name })))),
    );
    const model = await openModel();
    const found = (search: string): string[] =>
      model.lists.credentials({ ...firstPage, search }).items.map((one) => one.name);
    expect(found('%')).toEqual(['100% wool']);
    expect(found('_')).toEqual(['a_b']);
    expect(found("o'")).toEqual(["o'hara"]);
    expect(found('ÜB')).toEqual(['Übung']);
    expect(found('user-')).toEqual([]);
    expect(found('alph')).toEqual(['ALPHA']);
    const page = model.lists.credentials({ ...firstPage, page: 1, pageSize: 2, order: 'desc' });
    expect(page.total).toBe(6);
    expect(page.items.map((one) => one.name)).toEqual(['beta', 'ALPHA']);
  });

  it('of groups searches names only, and sorts and pages the whole set', async () => {
    const names = ['Pumps', 'a_b', 'pump rooms', 'Valves'];
    await append(
      commitOf(
        '1',
        ...names.map((name, index): DomainEvent => ({
          type: 'GroupAdded',
          data: group({ id: `${index}`, name, description: 'pump' }),
        })),
      ),
    );
    const model = await openModel();
    const found = (search: string): string[] =>
      model.lists.groups({ ...firstPage, search }).items.map((one) => one.name);
    expect(found('PUMP')).toEqual(['pump rooms', 'Pumps']);
    expect(found('_')).toEqual(['a_b']);
    const page = model.lists.groups({ ...firstPage, page: 1, pageSize: 3, order: 'desc' });
    expect([page.total, page.items.map((one) => one.name)]).toEqual([4, ['a_b']]);
  });

  it('of dynamic security are of one kind each', async () => {
    const object = (kind: 'role' | 'group', id: string, name: string): DomainEvent => ({
      type: 'DynsecObjectAdded',
      data:
        kind === 'group'
          ? { kind, id, name, description: '', roles: [] }
          : { kind, id, name, description: '', acls: [], allowWildcardSubs: true },
    });
    await append(
      commitOf(
        '1',
        ...[object('role', '1', 'Pumps'), object('role', '2', 'a_b'), object('role', '3', 'x')],
        object('group', '1', 'pumps'),
      ),
    );
    const model = await openModel();
    const { items, total } = model.lists.dynsecObjects('role', { ...firstPage, pageSize: 2 });
    expect([items.map((one) => one.name), total]).toEqual([['a_b', 'Pumps'], 3]);
    const searched = model.lists.dynsecObjects('group', { ...firstPage, search: 'PUMP' });
    expect(searched.items.map((one) => [one.kind, one.name])).toEqual([['group', 'pumps']]);
    using snapshot = model.snapshot();
    const [first] = snapshot.dynsecObjects('role', undefined, 1);
    const rest = snapshot.dynsecObjects('role', first, 9);
    expect([first, ...rest].map((one) => one?.name)).toEqual(['Pumps', 'a_b', 'x']);
    expect(snapshot.dynsecObject('group', '1')?.name).toBe('pumps');
    expect(snapshot.dynsecObject('group', '2')).toBeUndefined();
  });

  it('answers an empty page past the end, with the real total', async () => {
    await append(commitOf('1', added(credential('a'))));
    const model = await openModel();
    expect(model.lists.credentials({ ...firstPage, page: 7 })).toEqual({ items: [], total: 1 });
  });
});

describe('roles', () => {
  const role = (id: string, name: string): DomainEvent => ({
    type: 'RoleAdded',
    data: { id, name, permissions: [] },
  });
  const holder = (id: string, ...roles: string[]): DomainEvent =>
    added(credential(id, { access: { kind: 'roles', roles, permissions: [] } }));

  it('are listed by name or time, searched by name', async () => {
    await append(
      commitOf('1', role('r1', 'Beta'), role('r2', 'alpha')),
      commitOf('2', role('r3', '100%')),
    );
    const model = await openModel();
    const names = (more: object) => {
      const { items, total } = model.lists.roles({ ...firstPage, ...more });
      return [items.map(({ name }) => name), total];
    };
    expect(names({})).toEqual([['100%', 'alpha', 'Beta'], 3]);
    expect(names({ order: 'desc', pageSize: 1, page: 1 })).toEqual([['alpha'], 3]);
    expect(names({ search: 'ETA' })).toEqual([['Beta'], 1]);
    expect(names({ search: '%' })).toEqual([['100%'], 1]);
  });

  it('and superusers are listed apart from the other credentials', async () => {
    const says = { '"superuser":true': '"superuser":true', superuser: 'true' };
    const superuser = true;
    const granted = (id: string, is: boolean): DomainEvent => ({
      type: 'CredentialChanged',
      data: { id, changes: { superuser: is } },
    });
    await append(
      commitOf(
        ...([
          '1',
          added(credential('a', { superuser })),
          added(credential('b', { superuser })),
        ] as const),
        ...[added(credential('c')), added(credential('d', { attributes: says }))],
      ),
      commitOf('2', granted('b', false), granted('c', true)),
    );
    const model = await openModel();
    const told = (is?: boolean) => {
      const wanted = { ...firstPage, ...(is !== undefined && { superuser: is }) };
      const { items, total } = model.lists.credentials(wanted);
      return [items.map(({ id }) => id), total];
    };
    expect(told(true)).toEqual([['a', 'c'], 2]);
    expect(told(false)).toEqual([['b', 'd'], 2]);
    expect(told()).toEqual([['a', 'b', 'c', 'd'], 4]);
  });

  it('and credentials are listed without those that a system has made, or only those', async () => {
    const says = { '"autoGenerated":true': '"autoGenerated":true', autoGenerated: 'true' };
    const marked = (id: string): DomainEvent => ({
      type: 'CredentialChanged',
      data: { id, changes: { autoGenerated: true } },
    });
    const roleOf = (id: string, more: object): DomainEvent => ({
      type: 'RoleAdded',
      data: { id, name: id, permissions: [], ...more },
    });
    await append(
      commitOf('1', roleOf('r1', { autoGenerated: true }), roleOf('r2', {}), roleOf('r3', {})),
      commitOf(
        '2',
        added(credential('a', { autoGenerated: true })),
        added(credential('b', { attributes: says })),
        ...[added(credential('c')), marked('c'), added(credential('d', { autoGenerated: false }))],
      ),
    );
    const model = await openModel();
    const told = (autoGenerated?: boolean) => {
      const request = { ...firstPage, ...(autoGenerated !== undefined && { autoGenerated }) };
      const { credentials, roles } = {
        credentials: model.lists.credentials(request),
        roles: model.lists.roles(request),
      };
      return [credentials, roles].map(({ items, total }) => [items.map(({ id }) => id), total]);
    };
    expect(told(false)).toEqual([
      [['b', 'd'], 2],
      [['r2', 'r3'], 2],
    ]);
    expect(told(true)).toEqual([
      [['a', 'c'], 2],
      [['r1'], 1],
    ]);
    expect(told().map(([, total]) => total)).toEqual([4, 3]);
  });

  it('are what they were when a commit that changes them cannot be folded', async () => {
    await append(commitOf('1', role('r1', 'before'), added(credential('a'))));
    const model = await openModel();
    expect(model.reads.role('r1')?.name).toBe('before');
    const data = { id: 'r1', changes: { name: 'after' } };
    const clash = credential('b', { match: { username: 'user-a' } });
    const stopped = model.waitFor(2, 5_000);
    await append(commitOf('2', { type: 'RoleChanged', data }, added(clash)));
    await expect(stopped).rejects.toBeDefined();
    expect(model.reads.role('r1')?.name).toBe('before');
    expect(model.reads.roleIdByName('after')).toBeUndefined();
  });

  it('are found, each as it is now, when there are more than are kept parsed', async () => {
    const ids = Array.from({ length: ROLES_KEPT_MAX + 1 }, (_, index) => `r${index}`);
    await append(commitOf('1', ...ids.map((id) => role(id, id))));
    const model = await openModel();
    for (let round = 0; round < 2; round++) {
      expect(ids.map((id) => model.reads.role(id)?.name)).toEqual(ids);
    }
    await append(commitOf('2', { type: 'RoleRemoved', data: { id: 'r0' } }));
    await model.waitFor(2, 5_000);
    expect(model.reads.role('r0')).toBeUndefined();
  });

  it('lead to the credentials that have them, as these change and go', async () => {
    await append(
      commitOf('1', role('r1', 'one'), role('r2', 'two')),
      commitOf('2', holder('a', 'r1', 'r2'), holder('b', 'r1'), added(credential('c'))),
    );
    const model = await openModel();
    const having = (wanted: string) =>
      model.lists.credentials({ ...firstPage, role: wanted }).items.map(({ id }) => id);
    expect([having('r1'), having('r2'), having('r3')]).toEqual([['a', 'b'], ['a'], []]);
    expect(model.reads.credentialIdsByRole('r1', 1)).toEqual(['a']);
    const access = { kind: 'roles', roles: ['r2'], permissions: [] } as const;
    const changed: DomainEvent = {
      type: 'CredentialChanged',
      data: { id: 'a', changes: { access } },
    };
    await append(commitOf('3', changed, { type: 'CredentialRemoved', data: { id: 'b' } }));
    await model.waitFor(3, 5_000);
    expect([having('r1'), having('r2')]).toEqual([[], ['a']]);
  });

  it('have the same pages of credentials, whether they are sorted or walked to', async () => {
    const ids = Array.from({ length: SORTED_ROWS_MAX + 2 }, (_, index) => `c${index}`);
    // Between quotes the id of one role has another place too: where two others stand side by side.
    const odd = ',';
    const holders = ids.map((id, index) =>
      holder(id, ...(index === 0 ? ['x', 'y'] : ['many', odd]), ...(index < 2 ? [] : ['few'])),
    );
    const roles = ['many', odd, 'few', 'x', 'y'];
    await append(commitOf('1', ...roles.map((one) => role(one, one))));
    for (let start = 0; start < holders.length; start += 500) {
      await append(commitOf(`from-${start}`, ...holders.slice(start, start + 500)));
    }
    const model = await openModel();
    const page = (wanted: string, more: object = {}) => {
      const request = { ...firstPage, role: wanted, pageSize: 3, ...more };
      const { items, total } = model.lists.credentials(request);
      return [total, ...items.map(({ id }) => id)];
    };
    expect(page('many')).toEqual([SORTED_ROWS_MAX + 1, 'c1', 'c10', 'c100']);
    expect(page(odd)).toEqual(page('many'));
    expect(page('few')).toEqual([SORTED_ROWS_MAX, 'c10', 'c100', 'c1000']);
    for (const wanted of ['many', odd, 'few']) {
      expect(page(wanted, { page: 1 }).slice(1)).not.toEqual(page(wanted).slice(1));
      expect(page(wanted, { search: 'C500' })).toEqual([3, 'c500', 'c5000', 'c5001']);
      expect(page(wanted, { store: 'tbmq' })).toEqual([0]);
      expect(page(wanted, { store: 'native', page: 9999 })).toEqual([page(wanted)[0]]);
    }
  });

  it('are found at their holders by an index, and not by looking at every credential', async () => {
    await append(commitOf('1', role('r1', 'one')));
    await openModel();
    const db = new DatabaseSync(path, { readOnly: true });
    const plan = db
      .prepare(
        'EXPLAIN QUERY PLAN SELECT credential_id FROM credential_roles WHERE role_id = ? ORDER BY credential_id LIMIT 1',
      )
      .all('r1');
    db.close();
    expect(JSON.stringify(plan)).toContain('SEARCH credential_roles USING PRIMARY KEY');
  });
});

describe('chains of authenticators', () => {
  const LISTENER = 'listener:tcp:default';
  const chain = (scope: string): DomainEvent => ({
    type: 'AuthChainReplaced',
    data: { scope, authenticators: [], anonymous: true, removing: [] },
  });
  const user = (id: string, scope?: string) =>
    added(
      credential(id, {
        store: 'emqx',
        name: id.slice(0, 1),
        match: { username: id.slice(0, 1) },
        ...(scope !== undefined && {
          chain: { scope, authenticator: 'password_based:built_in_database' },
        }),
      }),
    );
  const belonging = (model: ReadModel, scope: string, more: object = {}) => {
    const of = { scope, authenticator: 'password_based:built_in_database' } as const;
    const { items, total } = model.lists.credentials({ ...firstPage, chains: [of], ...more });
    return [items.map(({ id }) => id), total];
  };

  it('are listed by their scopes, and have users of the same name and match', async () => {
    await append(
      commitOf('1', chain(LISTENER), chain('global')),
      commitOf('2', user('a'), user('a2', LISTENER), user('b2', LISTENER), added(credential('c'))),
    );
    const model = await openModel();
    expect(model.lists.authChains().map(({ scope }) => scope)).toEqual(['global', LISTENER]);
    expect(belonging(model, 'global')).toEqual([['a'], 1]);
    expect(belonging(model, LISTENER)).toEqual([['a2', 'b2'], 2]);
    expect(belonging(model, LISTENER, { search: 'B' })).toEqual([['b2'], 1]);
    expect(belonging(model, LISTENER, { pageSize: 1, page: 1 })).toEqual([['b2'], 2]);
    expect(belonging(model, 'listener:ws:none')).toEqual([[], 0]);
    expect(model.credentialsByLogin('username:a').map(({ id }) => id)).toEqual(['a', 'a2']);
  });

  it('have users of a user name and users of a client id, who are listed apart and by it', async () => {
    const by = (id: string, match: object) => added(credential(id, { store: 'emqx', match }));
    await append(
      commitOf('1', chain('global')),
      commitOf(
        ...(['2', by('1', { username: 'x' }), by('2', { clientId: 'x' })] as const),
        ...[by('3', { username: 'a', clientId: 'x' }), by('4', { clientId: 'client:A' })],
        ...[by('5', { commonName: 'x' }), by('6', { username: 'client:x' })],
      ),
    );
    const model = await openModel();
    const sort = 'match';
    const listed = (name: string, contains?: string) =>
      belonging(model, 'global', { sort, matchedBy: { name, ...(contains && { contains }) } });
    expect(listed('clientId')).toEqual([['4', '2'], 2]);
    expect(listed('username')).toEqual([['6', '1'], 2]);
    expect(listed('clientId', 'x')).toEqual([['2'], 1]);
    expect(listed('clientId', 'a')).toEqual([[], 0]);
    expect(listed('username', 'client')).toEqual([['6'], 1]);
    expect(listed('username', 'user')).toEqual([[], 0]);
  });

  it('are what they were when a commit that changes them cannot be folded', async () => {
    await append(commitOf('1', chain('global'), user('a')));
    const model = await openModel();
    expect(model.authChain('global')?.anonymous).toBe(true);
    const closed = { scope: 'global', authenticators: [], anonymous: false, removing: [] };
    const stopped = model.waitFor(2, 5_000);
    await append(commitOf('2', { type: 'AuthChainReplaced', data: closed }, user('a3')));
    await expect(stopped).rejects.toBeDefined();
    expect(model.authChain('global')?.anonymous).toBe(true);
  });
});

describe('the list of bans', () => {
  it('sorts one without an end last, and finds values by text', async () => {
    const ban = (id: string, value: string, until?: number): DomainEvent => ({
      type: 'BanAdded',
      data: { id, kind: 'client_id', value, by: 'test', ...(until !== undefined && { until }) },
    });
    await append(commitOf('1', ban('a', 'Pump-1', 2), ban('b', 'pump-2'), ban('c', 'x', 1)));
    const model = await openModel();
    const values = (sort: 'value' | 'until', search?: string): string[] =>
      model.lists
        .bans({ ...firstPage, sort, ...(search !== undefined && { search }) })
        .items.map((one) => one.value);
    expect(values('until')).toEqual(['x', 'Pump-1', 'pump-2']);
    expect(values('value', 'PUMP')).toEqual(['Pump-1', 'pump-2']);
    expect(model.lists.bans({ ...firstPage, sort: 'value', kind: 'cidr' }).total).toBe(0);
  });
});

describe('registrations', () => {
  const requested = (id: string, username: string, until = AT + 10): DomainEvent => ({
    type: 'RegistrationRequested',
    data: { id, username, verifier: 'sealed', origin: 'mqtt', count: 1, until },
  });

  it('are listed while they wait, searched by user name, and sorted', async () => {
    const denied: DomainEvent = {
      type: 'RegistrationDenied',
      data: { id: 'd', toldUntil: AT + 9 },
    };
    await append(commitOf('1', requested('a', 'Pump-1'), requested('b', 'pump-2', AT + 1)), {
      ...commitOf('2', requested('c', 'valve'), requested('d', 'pump-3'), denied),
      at: AT + 1,
    });
    const model = await openModel();
    const ids = (more: object) => {
      const wanted = { ...firstPage, sort: 'username', at: AT, ...more } as const;
      const { items, total } = model.lists.registrations(wanted);
      return [items.map((one) => one.id), total];
    };
    expect(ids({})).toEqual([['a', 'b', 'c'], 3]);
    expect(ids({ search: 'PUMP' })).toEqual([['a', 'b'], 2]);
    expect(ids({ at: AT + 1 })).toEqual([['a', 'c'], 2]);
    expect(ids({ sort: 'lastSeenAt', order: 'desc', pageSize: 1 })).toEqual([['c'], 3]);
  });

  it('find who has a user name, in every form, and nobody whose name only begins alike', async () => {
    const matches = [
      { username: 'plain' },
      { username: 'pair', clientId: 'c' },
      { username: 'odd;name', clientId: '' },
      { clientId: 'device' },
    ];
    const named = matches.map((match, index) => added(credential(`${index}`, { match })));
    const byCertificate = credential('x', { kind: 'certificate', match: { commonName: 'cn' } });
    await append(commitOf('1', ...named, added(byCertificate)));
    const { reads } = await openModel();
    const taken = ['plain', 'pair', 'odd;name', 'cn'];
    expect(taken.filter((one) => !reads.usernameTaken(one))).toEqual([]);
    const free = [
      'plai',
      'plainx',
      'pai',
      'pairx',
      'pair:',
      'pair:c',
      'odd',
      'odd;',
      'device',
      '',
      'CN',
    ];
    expect(free.filter((one) => reads.usernameTaken(one))).toEqual([]);
  });

  it('find it by an index', async () => {
    await openModel();
    const db = new DatabaseSync(path, { readOnly: true });
    const plan = db
      .prepare(
        'EXPLAIN QUERY PLAN SELECT 1 FROM credentials WHERE login_key >= ? AND login_key < ?',
      )
      .all('a', 'b');
    db.close();
    expect(JSON.stringify(plan)).toContain('USING COVERING INDEX credentials_login');
  });
});

describe('the same state as the reference', () => {
  const id = fc.constantFrom('a', 'b', 'c', '__proto__', 'constructor');
  const match = fc.constantFrom(
    { username: 'u' },
    { clientId: 'c' },
    { username: 'u', clientId: 'c' },
    { username: '__proto__' },
  );
  const secret = fc
    .integer({ min: 1, max: 99 })
    .map((n) => ({ secretId: `s${n}`, verifier: 'sealed', createdAt: AT }));
  const target = fc.constantFrom(
    { kind: 'everyone' as const },
    { kind: 'client' as const, name: 'c' },
    { kind: 'username' as const, name: '__proto__' },
  );
  const rule = fc.record({
    ruleId: fc.constantFrom('r1', 'r2', 'r3'),
    effect: fc.constantFrom('allow' as const, 'deny' as const),
    action: fc.constantFrom('publish' as const, 'subscribe' as const, 'all' as const),
    topicFilter: fc.constantFrom('a/#', '+/b', '${clientid}/x'),
  });
  const operator = fc.record({
    id,
    name: fc.constantFrom('admin', 'eve'),
    role: fc.constantFrom('administrator' as const, 'viewer' as const),
    enabled: fc.boolean(),
    passwordVerifier: fc.constant('sealed'),
  });
  const permission = {
    id: 'p1',
    context: 'mqtt',
    resource: 'a/#',
    operation: 'read',
  } as const;
  const scopes = ['global', 'listener:tcp:default'] as const;
  const scope = fc.constantFrom(...scopes);
  const member = fc.record({
    scope,
    authenticator: fc.constant('password_based:built_in_database' as const),
  });
  const authenticators: readonly Authenticator[] = [
    {
      ...{ mechanism: 'password_based', backend: 'built_in_database', enabled: true },
      ...{ matchBy: 'username', hash: { name: 'argon2id' } },
    },
    {
      ...{ mechanism: 'scram', backend: 'built_in_database', enabled: false },
      ...{ matchBy: 'username', scram: 'SCRAM-SHA-256' },
    },
  ];
  const username = fc.constantFrom('user-a', 'user', '__proto__');
  const attempt = fc.record({
    id,
    username,
    verifier: fc.constant('sealed'),
    origin: fc.constantFrom('mqtt' as const, 'http' as const),
    count: fc.constantFrom(1, 2),
  });
  const dynsecKind = fc.constantFrom('role' as const, 'group' as const);
  const priority = fc.constantFrom(-1, 3);
  const heldRoles = fc
    .uniqueArray(id, { maxLength: 2 })
    .chain((ids) =>
      fc.tuple(...ids.map((role) => fc.record({ role: fc.constant(role), priority }))),
    );
  const heldGroups = heldRoles.map((held) =>
    held.map(({ role, ...one }) => ({ group: role, ...one })),
  );
  const described = fc.constantFrom('', 'text');
  const dynsecObject = fc.oneof(
    fc.record({ id, name: id, description: described }).map((one) => ({
      ...{ kind: 'role' as const, acls: [], allowWildcardSubs: true },
      ...one,
    })),
    fc
      .record({ id, name: id, description: described, roles: heldRoles })
      .map((one) => ({ kind: 'group' as const, ...one })),
  );
  const command: fc.Arbitrary<Command> = fc.oneof(
    fc.record({ id, name: id, match }).map(({ id, name, match }) => ({
      type: 'AddCredential' as const,
      data: credential(id, { name, match }),
    })),
    fc.record({ id, name: id, match, enabled: fc.boolean() }).map(({ id, ...changes }) => ({
      type: 'ChangeCredential' as const,
      data: { id, changes },
    })),
    fc.record({ id, secret, retireAt: fc.constantFrom(AT, AT + 1000) }).map((data) => ({
      type: 'RotateSecret' as const,
      data,
    })),
    id.map((one) => ({ type: 'RemoveCredential' as const, data: { id: one } })),
    fc
      .record({ target, rules: fc.uniqueArray(rule, { selector: (one) => one.ruleId }) })
      .map((data) => ({ type: 'ReplaceAclRules' as const, data })),
    fc.record({ target, rule }).map((data) => ({ type: 'AddAclRule' as const, data })),
    fc.record({ target, ruleId: fc.constantFrom('r1', 'r2') }).map((data) => ({
      type: 'RemoveAclRule' as const,
      data,
    })),
    fc.constantFrom('allow' as const, 'deny' as const).map((noMatch) => ({
      type: 'ChangeSettings' as const,
      data: { changes: { noMatch } },
    })),
    operator.map((data) => ({ type: 'AddOperator' as const, data })),
    fc.record({ id, enabled: fc.boolean() }).map(({ id, enabled }) => ({
      type: 'ChangeOperator' as const,
      data: { id, changes: { enabled } },
    })),
    id.map((one) => ({ type: 'RemoveOperator' as const, data: { id: one } })),
    fc.record({ id, name: id }).map((data) => ({
      type: 'AddRole' as const,
      data: { ...data, permissions: [permission] },
    })),
    fc.record({ id, name: id }).map(({ id, name }) => ({
      type: 'ChangeRole' as const,
      data: { id, changes: { name } },
    })),
    fc.record({ id, detach: fc.boolean() }).map((data) => ({ type: 'RemoveRole' as const, data })),
    id.map((one) => ({
      type: 'RemoveRolePermission' as const,
      data: { id: one, permissionId: 'p1' },
    })),
    fc.record({ id, roles: fc.uniqueArray(id, { maxLength: 3 }) }).map(({ id, roles }) => ({
      type: 'ChangeCredential' as const,
      data: { id, changes: { access: { kind: 'roles' as const, roles, permissions: [] } } },
    })),
    fc
      .record({
        id,
        kind: fc.constantFrom('client_id' as const, 'username' as const),
        value: id,
        until: fc.constantFrom(AT - 1, AT + 1),
      })
      .map((data) => ({ type: 'AddBan' as const, data: { ...data, by: 'test' } })),
    id.map((one) => ({ type: 'RemoveBan' as const, data: { id: one } })),
    // Rows that meet each other and what is there; looked up at once here, and one by one by the reference.
    fc
      .record({
        importId: fc.constantFrom('i', '__proto__'),
        first: fc.constantFrom(1, 3),
        rows: fc.array(fc.record({ id, name: id, match }), { minLength: 2, maxLength: 4 }),
      })
      .map(({ importId, first, rows }) => ({
        type: 'StoreImportRows' as const,
        data: {
          ...{ importId, first, mode: 'partial' as const, fingerprint: 'f', done: false },
          rows: rows.map(({ id, name, match }) => ({
            command: { type: 'AddCredential' as const, data: credential(id, { name, match }) },
          })),
        },
      })),
    fc.record({ id, name: id }).map((data) => ({ type: 'AddGroup' as const, data: group(data) })),
    dynsecObject.map((data) => ({ type: 'AddDynsecObject' as const, data })),
    dynsecObject.map((data) => ({ type: 'ReplaceDynsecObject' as const, data })),
    fc.record({ kind: dynsecKind, id }).map((data) => ({
      type: 'RemoveDynsecObject' as const,
      data,
    })),
    fc.record({ id, roles: heldRoles, groups: heldGroups }).map(({ id, roles, groups }) => ({
      type: 'ChangeCredential' as const,
      data: { id, changes: { access: { kind: 'dynsec' as const, roles, groups } } },
    })),
    fc
      .record({ id, name: id, description: fc.constantFrom('', 'text') })
      .map((data) => ({ type: 'ReplaceGroup' as const, data: group(data) })),
    id.map((one) => ({ type: 'RemoveGroup' as const, data: { id: one } })),
    fc
      .record({ value: id, groups: fc.uniqueArray(id) })
      .map((one) => ({ id: 'r', matchBy: 'credential' as const, ...one }))
      .map((rule) => ({ type: 'ReplaceGroupRules' as const, data: { rules: [rule] } })),
    fc
      .record({ scope, authenticators: fc.subarray([...authenticators]), anonymous: fc.boolean() })
      .map((data) => ({ type: 'ReplaceAuthChain' as const, data })),
    fc.record({ id, name: id, match, member }).map(({ id, name, match, member: chain }) => ({
      type: 'AddCredential' as const,
      data: credential(id, { name, match, store: 'emqx', chain }),
    })),
    fc
      .array(fc.record({ id, name: id, match, member }), { minLength: 2, maxLength: 4 })
      .map((rows) => ({
        type: 'StoreImportRows' as const,
        data: {
          ...{
            importId: 'chained',
            first: 1,
            mode: 'partial' as const,
            fingerprint: 'f',
            done: false,
          },
          rows: rows.map(({ id, name, match, member: chain }) => ({
            command: {
              type: 'AddCredential' as const,
              data: credential(id, { name, match, store: 'emqx', chain }),
            },
          })),
        },
      })),
    fc.constantFrom(1, 9).map((openMs) => ({
      type: 'OpenRegistration' as const,
      data: { openMs },
    })),
    fc.array(attempt, { maxLength: 3 }).map((attempts) => ({
      type: 'RecordRegistrations' as const,
      data: { attempts },
    })),
    attempt.map((data) => ({ type: 'Register' as const, data })),
    fc.record({ id, credentialId: id, username }).map((one) => ({
      type: 'GrantRegistration' as const,
      data: {
        id: one.id,
        credential: credential(one.credentialId, { match: { username: one.username } }),
      },
    })),
    id.map((one) => ({ type: 'DenyRegistration' as const, data: { id: one } })),
  );

  function compareDynsec(reads: DecisionReads, reference: MemoryState, one: string): void {
    for (const kind of ['role', 'group'] as const) {
      expect(reads.dynsecObject(kind, one)).toEqual(reference.dynsecObject(kind, one));
      expect(reads.dynsecIdByName(kind, one)).toBe(reference.dynsecIdByName(kind, one));
      expect(reads.dynsecCount(kind)).toBe(reference.dynsecCount(kind));
      for (const max of [1, 9]) {
        const holders = reference.dynsecHolders(kind, one, max);
        expect(reads.dynsecHolders(kind, one, max)).toEqual(holders);
      }
    }
  }

  function compareRegistrations(reads: DecisionReads, reference: MemoryState): void {
    expect(reads.registrationWindow()).toEqual(reference.registrationWindow());
    expect(reads.registrationCounts()).toEqual(reference.registrationCounts());
    for (const at of [AT, AT + REGISTRATION_OUTCOME_MS, AT * 2]) {
      expect(reads.endedRegistrations(at, 2)).toEqual(reference.endedRegistrations(at, 2));
    }
    for (const one of ['a', 'b', 'c', 'u', 'user', 'user-a', '__proto__']) {
      expect(reads.registration(one)).toEqual(reference.registration(one));
      expect(reads.usernameTaken(one)).toBe(reference.usernameTaken(one));
      expect(reads.registrationsOf(one)).toEqual(reference.registrationsOf(one));
    }
  }

  it('after any commands, cut and reopened at any point', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(command, { maxLength: 25 }), fc.nat(25), async (commands, cut) => {
        rmSync(path, { force: true });
        log = new MemoryEventLog();
        const reference = new MemoryState();
        let model = await openModel();
        for (const [index, one] of commands.entries()) {
          if (index === cut) {
            await model[Symbol.asyncDispose]();
            model = await openModel();
          }
          const decided = decide(model.reads, one, AT);
          expect(decided).toEqual(decide(reference, one, AT));
          if (!decided.ok || decided.events.length === 0) continue;
          const commit = commitOf(`${index}`, ...decided.events);
          await append(commit);
          const revision = await log.head();
          reference.apply({ ...commit, revision });
          await model.waitFor(revision, 5_000);
        }
        for (const one of ['a', 'b', 'c', '__proto__', 'constructor']) {
          expect(model.reads.credential(one)).toEqual(reference.credential(one));
          expect(model.reads.operator(one)).toEqual(reference.operator(one));
          expect(model.reads.role(one)).toEqual(reference.role(one));
          expect(model.reads.roleIdByName(one)).toBe(reference.roleIdByName(one));
          for (const max of [1, 9]) {
            const holders = reference.credentialIdsByRole(one, max);
            expect(model.reads.credentialIdsByRole(one, max)).toEqual(holders);
          }
          expect(model.reads.ban(one)).toEqual(reference.ban(one));
          expect(model.banIndex.find({ clientId: one }, AT)?.id).toBe(
            reference.banByValue('client_id', one)?.id,
          );
          expect(model.reads.group(one)).toEqual(reference.group(one));
          expect(model.reads.groupIdByName(one)).toBe(reference.groupIdByName(one));
          compareDynsec(model.reads, reference, one);
        }
        for (const one of [{ kind: 'everyone' }, { kind: 'client', name: 'c' }] as const) {
          expect(model.reads.aclTable(one)).toEqual(reference.aclTable(one));
        }
        for (const one of scopes) {
          expect(model.reads.authChain(one)).toEqual(reference.authChain(one));
          const of = { scope: one, authenticator: 'password_based:built_in_database' } as const;
          expect(model.reads.credentialIdsByAuthenticator(of, 9)).toEqual(
            reference.credentialIdsByAuthenticator(of, 9),
          );
          expect(model.reads.credentialIdByMatch('emqx', { username: 'u' }, of)).toBe(
            reference.credentialIdByMatch('emqx', { username: 'u' }, of),
          );
          expect(model.reads.credentialIdByName('emqx', 'a', of)).toBe(
            reference.credentialIdByName('emqx', 'a', of),
          );
        }
        expect(model.reads.authChainCount()).toBe(reference.authChainCount());
        for (const one of ['i', '__proto__', 'chained']) {
          expect(model.reads.import(one)).toEqual(reference.import(one));
        }
        expect(model.reads.settings()).toEqual(reference.settings());
        expect(model.reads.banCount()).toBe(reference.banCount());
        expect(model.reads.expiredBans(AT + 1, 9)).toEqual(reference.expiredBans(AT + 1, 9));
        expect(model.reads.groupCount()).toBe(reference.groupCount());
        expect(model.reads.groupRules()).toEqual(reference.groupRules());
        compareRegistrations(model.reads, reference);
        expect(model.reads.administrators()).toBe(reference.administrators());
        await model[Symbol.asyncDispose]();
      }),
      { numRuns: 60 },
    );
  });
});

describe('pages', () => {
  it('count all that is found, whether the page is the last one or not', async () => {
    const names = Array.from({ length: 7 }, (_, index) => added(credential(`${index}`)));
    await append(commitOf('1', ...names));
    const model = await openModel();
    for (const sort of ['name', 'createdAt', 'updatedAt'] as const) {
      for (const search of [undefined, 'name', 'user']) {
        for (let page = 0; page < 5; page++) {
          const wanted = { sort, order: 'asc', page, pageSize: 3, store: 'native' } as const;
          const found = model.lists.credentials({ ...wanted, ...(search && { search }) });
          const total = search === 'user' ? 0 : 7;
          expect(found.total).toBe(total);
          expect(found.items).toHaveLength(Math.max(0, Math.min(3, total - 3 * page)));
        }
      }
    }
  });
});

describe('pages of a list that is cut into pieces', () => {
  const COUNT = 6 * PIECE_ROWS + 7; // Also more than are sorted.
  // Sizes that share no factor, so that neither order says anything of the other; names that UTF-16 would sort otherwise than UTF-8.
  const all = Array.from({ length: COUNT }, (_, index) => ({
    id: `c${(index * 1_009) % COUNT}`,
    name: `${index % 500 === 0 ? '\u{1F600}' : index % 501 === 0 ? '\uFF41' : 'Pump'}-${index % 1_201}-${index}`,
    store: index % 3 === 0 ? ('tbmq' as const) : ('native' as const),
    at: AT + (index % 17),
  }));

  async function openFull(): Promise<ReadModel> {
    for (let at = AT; at < AT + 17; at++) {
      const events = all
        .filter((one) => one.at === at)
        .map(({ id, name, store }) => added(credential(id, { name, store })));
      await append({ ...commitOf(`at-${at}`, ...events), at });
    }
    return openModel();
  }

  type Wanted = Partial<Parameters<ReadModel['lists']['credentials']>[0]>;

  function compareAll(model: ReadModel, wanted: Wanted): void {
    const text = wanted.search?.toLowerCase() ?? '';
    const found = all
      .filter((one) => one.name.toLowerCase().includes(text))
      .filter((one) => wanted.store === undefined || one.store === wanted.store)
      .filter((one) => `user-${one.id}`.includes(wanted.matchedBy?.contains ?? ''))
      .filter(() => wanted.matchedBy?.name !== 'clientId');
    for (const sort of ['name', 'createdAt', 'updatedAt', 'match'] as const) {
      const keys = (one: (typeof all)[number]) => [
        sort === 'name' || sort === 'match' ? 0 : one.at,
        sort === 'match' ? `user-${one.id}` : one.name.toLowerCase(),
      ];
      const sorted = found.toSorted((a, b) => compare(keys(a), keys(b))).map(({ id }) => id);
      for (const order of ['asc', 'desc'] as const) {
        const ids = order === 'asc' ? sorted : sorted.toReversed();
        for (const [page, pageSize] of [
          [0, 3],
          [1, 200],
          [5, 200],
          [333, 3],
          [1_000, 3],
          [99_999, 1],
        ] as const) {
          const request = { ...firstPage, ...wanted, sort, order, page, pageSize };
          const { items, total } = model.lists.credentials(request);
          const expected = ids.slice(page * pageSize, (page + 1) * pageSize);
          expect([total, ...items.map(({ id }) => id)]).toEqual([ids.length, ...expected]);
        }
      }
    }
  }

  it('are those of the whole list, whatever is searched', async () => {
    const model = await openFull();
    for (const search of ['PUMP', '7', '-500-', `-${COUNT - 1}`, '\u{1F600}', 'nothing']) {
      compareAll(model, { search });
      compareAll(model, { search, store: 'tbmq' });
    }
    compareAll(model, { store: 'native' });
    compareAll(model, { store: 'emqx' });
    for (const contains of ['user-c1', 'R-', '9', 'username']) {
      compareAll(model, { matchedBy: { name: 'username', contains } });
    }
    compareAll(model, { matchedBy: { name: 'username' }, store: 'tbmq', search: '7' });
    compareAll(model, { matchedBy: { name: 'username', contains: '7' }, search: 'pump' });
    compareAll(model, { matchedBy: { name: 'username', contains: '9' }, search: '7' });
    compareAll(model, { superuser: false, autoGenerated: false, search: 'p' });
    compareAll(model, { matchedBy: { name: 'clientId' } });
  });

  it('by a name that is matched cost one walk, and not one for each piece', async () => {
    const half = PIECE_ROWS / 2;
    for (let part = 0; part < 24; part++) {
      const events = Array.from({ length: half }, (_, index) => {
        const id = `p${part}-${index}`;
        return added(credential(id, { name: id }));
      });
      await append(commitOf(`part-${part}`, ...events));
    }
    const model = await openModel();
    const costOf = (wanted: (round: string) => Wanted): number => {
      const costs = ['a', 'b', 'c', 'd', 'e'].map((round) => {
        const before = process.cpuUsage();
        model.lists.credentials({ ...firstPage, ...wanted(round) });
        const { user, system } = process.cpuUsage(before);
        return user + system;
      });
      return Math.min(...costs);
    };
    // Each round is another search, because what was counted is remembered.
    const searched = costOf((search) => ({ search: `${search}?` }));
    const matched = costOf((contains) => {
      return { sort: 'match', matchedBy: { name: 'username', contains: `${contains}?` } };
    });
    // Both walk the same pieces, once; a walk for each of them would take sixteen times as long as the search.
    expect(matched).toBeLessThan(6 * searched);
  });

  it('are walked to on an index, and not sorted', async () => {
    await openModel();
    const db = new DatabaseSync(path, { readOnly: true });
    for (const order of ['name_key', 'created_at, name_key', 'updated_at, name_key']) {
      for (const direction of ['asc', 'desc']) {
        const columns = `${order}, store, chain, roles, marks, rowid`.split(', ');
        const by = columns.map((column) => `${column} ${direction}`).join();
        const sql = `EXPLAIN QUERY PLAN SELECT rowid FROM credentials
          WHERE instr(name_key, 'a') > 0 AND instr(roles, 'r') > 0 AND marks > 0 ORDER BY ${by} LIMIT 1`;
        const plan = JSON.stringify(db.prepare(sql).all());
        expect(plan).toContain('USING COVERING INDEX credentials_by_');
        expect(plan).not.toContain('TEMP B-TREE');
      }
    }
    db.close();
  });

  it('of marked credentials are found on the index of the mark', async () => {
    await openModel();
    const db = new DatabaseSync(path, { readOnly: true });
    for (const [mark, index] of [
      ['superuser', 'credentials_superusers'],
      ['autoGenerated', 'credentials_auto_generated'],
    ] as const) {
      const sql = `EXPLAIN QUERY PLAN SELECT rowid FROM credentials WHERE ${markedAs(mark)}`;
      expect(JSON.stringify(db.prepare(sql).all())).toContain(`INDEX ${index}`);
    }
    db.close();
  });

  it('are those of the list as it is after a change', async () => {
    const model = await openFull();
    const wanted = { ...firstPage, search: 'pump', page: 1 } as const;
    const before = model.lists.credentials(wanted);
    const [first] = before.items;
    if (first === undefined) throw new Error('no item');
    await append(commitOf('later', { type: 'CredentialRemoved', data: { id: first.id } }));
    await model.waitFor(18, 5_000);
    const after = model.lists.credentials(wanted);
    expect(after.total).toBe(before.total - 1);
    expect(after.items[0]?.id).toBe(before.items[1]?.id);
  });
});

describe('a snapshot', () => {
  it('stays at its revision, and tells everything page by page', async () => {
    const target = { kind: 'everyone' } as const;
    const rules = [{ ruleId: 'r', effect: 'allow', action: 'all', topicFilter: 'a' }] as const;
    await append(
      commitOf('1', added(credential('a')), added(credential('b'))),
      commitOf('2', { type: 'AclRulesReplaced', data: { target, rules } }),
    );
    const model = await openModel();
    using snapshot = model.snapshot();
    await append(
      commitOf('3', { type: 'CredentialRemoved', data: { id: 'a' } }),
      commitOf('4', { type: 'SettingsChanged', data: { changes: { noMatch: 'allow' } } }),
    );
    await model.waitFor(4, 5_000);
    expect(snapshot.revision).toBe(2);
    expect(snapshot.credentials('', 1).map((one) => one.id)).toEqual(['a']);
    expect(snapshot.credentials('a', 5).map((one) => one.id)).toEqual(['b']);
    expect(snapshot.aclTables(undefined, 5)).toHaveLength(1);
    expect(snapshot.settings()).toMatchObject({ noMatch: 'deny', updatedRevision: 0 });
    using later = model.snapshot();
    expect(later.settings()).toMatchObject({ noMatch: 'allow', updatedRevision: 4 });
  });

  it('tells objects in the order of their names, whatever their ids, and those that others refer to', async () => {
    const named = (type: 'RoleAdded' | 'GroupAdded', id: string, name: string) =>
      ({ type, data: { id, name, description: '', permissions: [] } }) as const;
    const rule = { id: 'r', matchBy: 'client_id', value: '*', groups: ['2'] } as const;
    const ban = (id: string, value: string) =>
      ({ type: 'BanAdded', data: { id, kind: 'client_id', value, by: 'x' } }) as const;
    const fields = { clientCertificate: 'none' } as const;
    await append(
      commitOf(
        '1',
        added({ ...credential('a'), name: 'z' }),
        added({ ...credential('b'), name: 'y' }),
        added({ ...credential('c'), store: 'clients', name: 'zz' }),
        ...(['RoleAdded', 'GroupAdded'] as const).flatMap((type) => [
          named(type, '1', 'z'),
          named(type, '2', 'y'),
        ]),
        { type: 'GroupRulesReplaced', data: { rules: [rule] } },
        ban('1', 'z'),
        ban('2', 'y'),
        { type: 'TrustReplaced', data: { listener: 'wss:default', fields } },
      ),
    );
    const model = await openModel();
    using snapshot = model.snapshot();
    const everything = <T extends { readonly id: string }>(
      read: (after: T | undefined, limit: number) => readonly T[],
    ) => {
      const [first] = read(undefined, 1);
      return [first, ...read(first, 9)].map((one) => one?.id);
    };
    expect(
      everything<Credential>((after, limit) => snapshot.credentialsByName(after, limit)),
    ).toEqual([...['c', 'b', 'a']]);
    expect(everything<Role>((after, limit) => snapshot.roles(after, limit))).toEqual(['2', '1']);
    expect(everything<Group>((after, limit) => snapshot.groups(after, limit))).toEqual(['2', '1']);
    expect(everything<Ban>((after, limit) => snapshot.bans(after, limit))).toEqual(['2', '1']);
    expect(snapshot.trust().map((one) => one.listener)).toEqual(['wss:default']);
    expect(snapshot.groupRules()).toMatchObject({ rules: [rule], updatedRevision: 1 });
    expect([snapshot.role('1'), snapshot.group('1')].map((one) => one?.name)).toEqual(['z', 'z']);
    expect([snapshot.credential('a')?.name, snapshot.role('9')]).toEqual(['z', undefined]);
  });

  it('ends with its model, and there are not too many', async () => {
    const model = await openModel();
    const all = Array.from({ length: SNAPSHOTS_MAX }, () => model.snapshot());
    expect(() => model.snapshot()).toThrow(/snapshots are open/);
    all[0]?.[Symbol.dispose]();
    expect(model.snapshot().revision).toBe(0);
    await model[Symbol.asyncDispose]();
    expect(() => all[1]?.credentials('', 1)).toThrow();
  });
});

describe('lookups at CONNECT', () => {
  it('finds the credentials of all stores under each key of the facts, and no others', async () => {
    const both = { username: 'u', clientId: 'c' };
    await append(
      commitOf(
        '1',
        added(credential('1', { match: { username: 'u' } })),
        added(credential('2', { match: { username: 'u' }, store: 'tbmq' })),
        added(credential('3', { match: { clientId: 'c' } })),
        added(credential('4', { match: both })),
        added(credential('5', { match: { username: 'u:1:c' } })),
      ),
    );
    const model = await openModel();
    const ids = (key: string): string[] =>
      model.credentialsByLogin(key).map((one: Credential) => one.id);
    expect(loginKeysOf(both).map(ids)).toEqual([['4'], ['1', '2'], ['3']]);
    expect(model.patternCredentials()).toEqual([]);
    expect(ids(loginKey({ username: 'nobody' }))).toEqual([]);
    expect(model.credentialsByLogin()).toEqual([]);
    // In the order of the keys, also past those of one statement.
    const other = Array.from({ length: LOGIN_KEYS_TOGETHER - 2 }, (_, index) =>
      loginKey({ username: `nobody-${index}` }),
    );
    const keys = [loginKey({ clientId: 'c' }), ...other, loginKey({ username: 'u' })];
    for (const many of [keys, [...keys, loginKey(both)]]) {
      expect(model.credentialsByLogin(...many).map((one) => one.id)).toEqual(many.flatMap(ids));
    }
  });

  it('finds all that match by a pattern, in the order of their names, as each commit leaves them', async () => {
    const pattern = (id: string, name: string, text: string) =>
      added(
        credential(id, { name, kind: 'certificate', match: { parentCommonNamePattern: text } }),
      );
    await append(commitOf('1', pattern('1', 'b', '^x'), pattern('2', 'a', '^y')));
    const model = await openModel();
    const now = (): readonly string[] => model.patternCredentials().map(({ id }) => id);
    expect(now()).toEqual(['2', '1']);
    const changed = (id: string, changes: object): DomainEvent => ({
      type: 'CredentialChanged',
      data: { id, changes },
    });
    await append(commitOf('2', changed('2', { name: 'c' }), pattern('3', 'B', '^z')));
    await model.waitFor(2, 5_000);
    expect(now()).toEqual(['3', '1', '2']);
    await append(
      commitOf(
        '3',
        changed('1', { match: { parentCommonName: 'x' } }),
        ...[{ type: 'CredentialRemoved', data: { id: '3' } } as const],
      ),
    );
    await model.waitFor(3, 5_000);
    expect(now()).toEqual(['2']);
    expect(model.reads.patternCredentialCount()).toBe(1);
  });
});
