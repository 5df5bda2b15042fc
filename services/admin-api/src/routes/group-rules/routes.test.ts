import { randomUUID } from 'node:crypto';
import { CONNECTION_GROUPS_MAX, GROUP_RULES_MAX } from '@sallyport/domain';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Client, World } from '../../testing/world.ts';

let world: World;
let admin: Client;
let group: string;
beforeAll(async () => {
  world = await World.open();
  admin = await world.login();
  group = (await admin.post('/api/v1/groups', { name: 'pumps' })).body.id;
});
afterAll(() => world[Symbol.asyncDispose]());

const URL = '/api/v1/group-rules';
const rule = (more: object = {}) => ({
  matchBy: 'client_id',
  value: 'pump-*',
  groups: [group],
  ...more,
});
const read = async () => (await admin.get(URL)).body as unknown as { readonly rules: object[] };

describe('group rules', () => {
  it('are an empty document at first', async () => {
    const first = await admin.get(URL);
    expect([first.status, first.headers.etag]).toEqual([200, '"0"']);
    expect(first.body).toEqual({ rules: [], updatedRevision: 0 });
  });

  it('are refused when they are not valid, with what is wrong and where; nothing is kept of them', async () => {
    const cases: [unknown, number, string][] = [
      [{}, 400, '/rules'],
      [{ rules: [rule({ matchBy: 'name' })] }, 400, '/rules/0/matchBy'],
      [{ rules: [rule(), rule({ colour: 'red' })] }, 400, '/rules/1/colour'],
      [{ rules: Array(GROUP_RULES_MAX + 1).fill(rule()) }, 400, '/rules'],
      [
        { rules: [rule({ groups: Array(CONNECTION_GROUPS_MAX + 1).fill(group) })] },
        400,
        '/rules/0/groups',
      ],
      [{ rules: [rule({ groups: [randomUUID()] })] }, 422, '/rules/0/groups/0'],
      [{ rules: [rule(), rule({ groups: [] })] }, 422, '/rules/1/groups'],
      [{ rules: [rule({ value: '' })] }, 422, '/rules/0/value'],
      [{ rules: [rule({ matchBy: 'credential', value: 'nobody' })] }, 422, '/rules/0/value'],
      [
        { rules: [rule({ matchBy: 'certificate_fingerprint', value: 'AB:CD' })] },
        422,
        '/rules/0/value',
      ],
    ];
    for (const [body, status, pointer] of cases) {
      const answer = await admin.put(URL, body);
      expect([answer.status, answer.body.errors[0].pointer]).toEqual([status, pointer]);
    }
    expect((await read()).rules).toEqual([]);
  });

  it('are put whole and read as they are kept: with ids, and with one form of fingerprint', async () => {
    const fingerprint = 'ab'.repeat(32);
    const rules = [
      rule({ id: 'mine' }),
      rule({ matchBy: 'certificate_fingerprint', value: fingerprint }),
    ];
    const put = await admin.put(URL, { rules });
    expect(put.status).toBe(200);
    expect(put.headers.etag).toBe(`"${put.body.revision}"`);
    const document = await read();
    expect(document.rules).toEqual([
      { ...rules[0], inert: false },
      {
        ...rules[1],
        id: expect.stringMatching(/^[0-9a-f-]{36}$/) as string,
        value: `SHA256:${Array(32).fill('AB').join(':')}`,
        inert: false,
      },
    ]);
    expect((await admin.get(URL)).headers.etag).toBe(put.headers.etag);
    // What was read can be sent back as it is.
    expect((await admin.put(URL, { rules: document.rules })).status).toBe(200);
    expect((await read()).rules).toEqual(document.rules);
  });

  it('of two people who save, the second gets a conflict, and the first is not overwritten', async () => {
    const { etag = '' } = (await admin.get(URL)).headers;
    const first = await admin.put(URL, { rules: [rule({ id: 'first' })] }, { 'if-match': etag });
    expect(first.status).toBe(200);
    const second = await admin.put(URL, { rules: [rule({ id: 'second' })] }, { 'if-match': etag });
    expect([second.status, second.headers.etag]).toEqual([412, first.headers.etag]);
    expect((await read()).rules).toMatchObject([{ id: 'first' }]);
  });

  it('lose a group that is removed in the same commit, and are marked when they give nothing any more', async () => {
    const gone = (await admin.post('/api/v1/groups', { name: 'gone' })).body.id;
    const client = await admin.post('/api/v1/clients', {
      name: 'c',
      authentication: 'credentials',
      username: 'c',
      password: 'canary-password',
    });
    const rules = [
      rule({ id: 'both', groups: [gone, group] }),
      rule({ id: 'only', groups: [gone] }),
      rule({ id: 'credential', matchBy: 'credential', value: client.body.id }),
    ];
    const put = await admin.put(URL, { rules });
    expect(put.status).toBe(200);
    const removed = await admin.delete(`/api/v1/groups/${gone}`);
    expect(removed.status).toBe(204);
    expect((await admin.delete(`/api/v1/clients/${client.body.id}`)).status).toBe(204);
    const document = await admin.get(URL);
    expect(document.headers.etag).toBe(`"${String(removed.headers['sallyport-revision'])}"`);
    expect(document.body.rules).toMatchObject([
      { id: 'both', groups: [group], inert: false },
      { id: 'only', groups: [], inert: true },
      { id: 'credential', value: client.body.id, inert: true },
    ]);
    // An administrator who changes something else can save them.
    expect((await admin.put(URL, { rules: document.body.rules })).status).toBe(200);
  });

  it('can be as many as there may be', async () => {
    const rules = Array.from({ length: GROUP_RULES_MAX }, (_, index) =>
      rule({ value: `pump-${index}` }),
    );
    expect((await admin.put(URL, { rules })).status).toBe(200);
    expect((await read()).rules).toHaveLength(GROUP_RULES_MAX);
  });
});
