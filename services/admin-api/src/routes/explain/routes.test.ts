import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Client, World } from '../../testing/world.ts';

let world: World;
let admin: Client;
beforeAll(async () => {
  world = await World.open();
  admin = await world.login();
});
afterAll(() => world[Symbol.asyncDispose]());

async function credential(more: object = {}): Promise<{ id: string; revision: number }> {
  const name = randomUUID();
  const sent = { name, match: { username: name }, passwordRequired: false, ...more };
  const answer = await admin.post('/api/v1/credentials', sent);
  expect(answer.status).toBe(201);
  return { id: answer.body.id, revision: answer.body.revision };
}

const ask = (credentialId: string, more: object) =>
  admin.post('/api/v1/explain', {
    credentialId,
    clientId: 'c',
    action: 'publish',
    topic: 'a',
    ...more,
  });

const rule = (ruleId: string, effect: string, topicFilter: string, more: object = {}) => ({
  ruleId,
  effect,
  action: 'all',
  topicFilter,
  ...more,
});

describe('POST /explain', () => {
  it('refuses facts and terms that there are not, and names them', async () => {
    const { id } = await credential();
    for (const [more, pointer] of [
      [{ qos: 3 }, '/qos'],
      [{ retain: 'yes' }, '/retain'],
      [{ certificate: { commonName: 1 } }, '/certificate/commonName'],
      [{ attributes: { a: 'b' } }, '/attributes'],
    ] as const) {
      const answer = await ask(id, more);
      expect([answer.status, answer.body.errors?.[0]?.pointer]).toEqual([400, pointer]);
    }
    expect((await ask('nobody', {})).status).toBe(404);
  });

  it('names the row, its table, and the commit that brought the row, not the newest one', async () => {
    const { id } = await credential();
    const url = '/api/v1/acl/clients/explained';
    const first = await admin.put(url, { rules: [rule('r1', 'deny', 'a')] });
    const second = await admin.put(url, {
      rules: [rule('r0', 'allow', 'b'), rule('r1', 'deny', 'a')],
    });
    expect(second.body.revision).toBeGreaterThan(first.body.revision);
    const [commit] = await world.log.read(first.body.revision - 1, 1);
    const answer = await ask(id, { clientId: 'explained' });
    expect(answer.body).toMatchObject({
      allowed: false,
      ruleId: 'acl:client:explained/r1',
      revision: second.body.revision,
      origin: {
        type: 'acl',
        id: 'client:explained',
        name: 'explained',
        position: 1,
        row: { ruleId: 'r1', effect: 'deny', action: 'all', topicFilter: 'a' },
      },
      event: {
        revision: first.body.revision,
        commitId: commit?.commitId,
        actor: commit?.actor,
        at: new Date(commit?.at ?? 0).toISOString(),
      },
      credential: { id, enabled: true, superuser: false, secretsLive: 0 },
    });
    expect((await ask(id, { clientId: 'explained', topic: 'b' })).body.event.revision).toBe(
      second.body.revision,
    );
    await admin.delete(url);
  });

  it('asks by QoS and retain, and by what the certificate and the credential say', async () => {
    const { id } = await credential({ attributes: { site: 'north' } });
    const url = '/api/v1/acl/clients/terms';
    const filter = '${client_attrs.site}/${cert_common_name}';
    await admin.put(url, { rules: [rule('r', 'allow', filter, { qos: [1], retain: true })] });
    const asked = (more: object) =>
      ask(id, {
        clientId: 'terms',
        topic: 'north/cn',
        certificate: { commonName: 'cn' },
        qos: 1,
        retain: true,
        ...more,
      });
    expect((await asked({})).body).toMatchObject({ allowed: true, ruleId: 'acl:client:terms/r' });
    for (const more of [
      { qos: 0 },
      { retain: false },
      { certificate: {} },
      { topic: 'south/cn' },
    ]) {
      expect((await asked(more)).body.allowed, JSON.stringify(more)).toBe(false);
    }
    await admin.delete(url);
  });

  it('says of a subscription whether its deliveries are checked', async () => {
    const { id } = await credential({ access: { kind: 'unrestricted' } });
    const url = '/api/v1/acl/clients/holes';
    await admin.put(url, { rules: [rule('r', 'deny', 'h/secret')] });
    const asked = (topic: string) => ask(id, { clientId: 'holes', action: 'subscribe', topic });
    expect((await asked('h/#')).body).toMatchObject({
      allowed: true,
      checkDeliveries: true,
      ruleId: 'credential/unrestricted',
      origin: { type: 'credential', id },
    });
    expect((await asked('i/#')).body).toMatchObject({ allowed: true, checkDeliveries: false });
    await admin.delete(url);
  });

  it('names the credential for what it decides itself: patterns, nothing of them, superuser', async () => {
    const patterns = await credential({
      access: { kind: 'patterns', publish: ['x', 'a'], subscribe: [] },
    });
    const event = { revision: patterns.revision };
    expect((await ask(patterns.id, {})).body).toMatchObject({
      allowed: true,
      origin: {
        type: 'credential',
        id: patterns.id,
        position: 1,
        row: { direction: 'publish', pattern: 'a' },
      },
      event,
    });
    expect((await ask(patterns.id, { topic: 'b' })).body).toMatchObject({
      allowed: false,
      ruleId: 'default',
      origin: { type: 'credential', id: patterns.id, row: { kind: 'patterns' } },
      event,
    });
    const { id } = await credential({ superuser: true });
    expect((await ask(id, {})).body).toMatchObject({ ruleId: 'superuser', origin: { id } });
  });

  it('names the role and the permission, and the group and the row, that decide', async () => {
    const permission = { id: 'p', context: 'mqtt', resource: 'a', operation: 'write' };
    const role = await admin.post('/api/v1/roles', { name: 'writers', permissions: [permission] });
    const own = { id: 'own', context: 'mqtt', resource: 'b', operation: 'write' };
    const access = { kind: 'roles', roles: [role.body.id], permissions: [own] };
    const holder = await credential({ access });
    expect((await ask(holder.id, {})).body).toMatchObject({
      allowed: true,
      origin: { type: 'role', id: role.body.id, name: 'writers', row: permission, position: 0 },
      event: { revision: role.body.revision },
    });
    expect((await ask(holder.id, { topic: 'b' })).body).toMatchObject({
      allowed: true,
      origin: { type: 'credential', id: holder.id, row: own, position: 0 },
    });
    const permissions = [
      { permission: 'allow', action: 'publish', topic: 'a' },
      { permission: 'deny', action: 'publish', topic: 'a' },
    ];
    const group = await admin.post('/api/v1/groups', { name: 'g', description: '', permissions });
    const member = await credential({ access: { kind: 'groups' } });
    const rules = [{ matchBy: 'credential', value: member.id, groups: [group.body.id] }];
    expect((await admin.put('/api/v1/group-rules', { rules })).status).toBe(200);
    expect((await ask(member.id, {})).body).toMatchObject({
      allowed: false,
      origin: { type: 'group', id: group.body.id, name: 'g', row: permissions[1], position: 1 },
      event: { revision: group.body.revision },
    });
    expect((await ask(member.id, { topic: 'c' })).body).toMatchObject({
      allowed: false,
      ruleId: 'default',
      origin: { type: 'credential', id: member.id, row: { kind: 'groups' } },
    });
  });

  it('names the event of just the part that decides, not a later one of its object', async () => {
    const [own, more] = ['own', 'more'].map((id) => ({
      ...{ id, context: 'mqtt', resource: id, operation: 'write' },
    }));
    const permission = { id: 'p', context: 'mqtt', resource: 'a', operation: 'write' };
    const role = await admin.post('/api/v1/roles', {
      name: 'dated role',
      permissions: [permission],
    });
    const access = { kind: 'roles', roles: [], permissions: [own] };
    const holder = await credential({ access });
    const url = `/api/v1/credentials/${holder.id}`;
    const patch = async (to: string, body: object): Promise<number> => {
      const answer = await admin.patch(to, body);
      expect(answer.status, answer.text).toBe(200);
      return answer.body.revision;
    };
    const assigned = await patch(url, { access: { ...access, roles: [role.body.id] } });
    const added = await patch(url, {
      access: { ...access, roles: [role.body.id], permissions: [more, own] },
    });
    await patch(url, { name: randomUUID() });
    await patch(`/api/v1/roles/${role.body.id}`, { name: 'renamed' });
    expect((await ask(holder.id, {})).body).toMatchObject({
      origin: {
        type: 'role',
        name: 'renamed',
        row: permission,
        revision: role.body.revision,
        via: {
          type: 'credential',
          id: holder.id,
          row: { role: role.body.id },
          event: { revision: assigned, actor: { kind: 'operator' } },
        },
      },
      event: { revision: role.body.revision },
    });
    for (const [topic, revision] of [
      ['own', holder.revision],
      ['more', added],
    ] as const) {
      expect((await ask(holder.id, { topic })).body, topic).toMatchObject({
        origin: { type: 'credential', row: { id: topic } },
        event: { revision },
      });
    }
    const superuser = await patch(url, { superuser: true });
    await patch(url, { name: randomUUID() });
    expect((await ask(holder.id, { topic: 'x' })).body).toMatchObject({
      ruleId: 'superuser',
      origin: { row: { superuser: true } },
      event: { revision: superuser },
    });
  });

  it('names the pattern, the entry and the prefix by the event that brought just that', async () => {
    const patterns = (publish: string[]) => ({
      access: { kind: 'patterns', publish, subscribe: [] },
    });
    const { id, revision } = await credential(patterns(['a']));
    const url = `/api/v1/credentials/${id}`;
    const second = await admin.patch(url, patterns(['b', 'a']));
    await admin.patch(url, { name: randomUUID() });
    expect((await ask(id, {})).body).toMatchObject({
      origin: { position: 1 },
      event: { revision },
    });
    expect((await ask(id, { topic: 'b' })).body.event.revision).toBe(second.body.revision);
    const prefix = { kind: 'roles', roles: [], permissions: [], publishPrefix: 'p'.repeat(1000) };
    const prefixed = await credential({ access: prefix });
    await admin.patch(`/api/v1/credentials/${prefixed.id}`, { name: randomUUID() });
    expect((await ask(prefixed.id, { topic: 't'.repeat(1000) })).body).toMatchObject({
      allowed: false,
      ruleId: 'publish_prefix',
      origin: { type: 'credential', id: prefixed.id },
      event: { revision: prefixed.revision },
    });
  });

  it('names the row of a group, and of the rules that give the group the one that does it for longest', async () => {
    const rows = (...topics: string[]) =>
      topics.map((topic) => ({ permission: 'allow', action: 'publish', topic }));
    const fields = { name: 'dated', description: '', permissions: rows('a') };
    const group = await admin.post('/api/v1/groups', fields);
    const groupId: string = group.body.id;
    const member = await credential({ access: { kind: 'groups' } });
    const give = async (...rules: object[]): Promise<number> => {
      const answer = await admin.put('/api/v1/group-rules', { rules });
      expect(answer.status, answer.text).toBe(200);
      return Number(answer.headers['sallyport-revision']);
    };
    const rule = { id: 'r', matchBy: 'credential', value: member.id, groups: [groupId] };
    const given = await give(rule);
    await give({ id: 'any', matchBy: 'client_id', value: '*', groups: [groupId] }, rule);
    const url = `/api/v1/groups/${groupId}`;
    const replaced = await admin.put(url, { ...fields, permissions: rows('b', 'a') });
    expect(replaced.status, replaced.text).toBe(200);
    expect((await ask(member.id, {})).body).toMatchObject({
      allowed: true,
      origin: {
        type: 'group',
        id: groupId,
        position: 1,
        via: { type: 'group_rules', position: 1, row: { id: 'r' }, event: { revision: given } },
      },
      event: { revision: group.body.revision },
    });
    const newest = await ask(member.id, { topic: 'b' });
    expect(newest.body.event.revision).toBe(Number(replaced.headers['sallyport-revision']));
    await give();
    await admin.delete(url);
  });

  it('names the row of a role of dynamic security, what gives the role, and what gives the group that has it', async () => {
    const acl = { aclType: 'publishClientSend', topic: 'a', priority: -1, allow: true };
    const role = await admin.post('/api/v1/dynsec/roles', { name: 'dated', acls: [acl] });
    const roles = [{ role: role.body.id, priority: 3 }];
    const group = await admin.post('/api/v1/dynsec/groups', { name: 'dated', roles });
    const groups = [{ group: group.body.id, priority: -1 }];
    const member = await credential({ access: { kind: 'dynsec', groups } });
    const url = `/api/v1/dynsec/roles/${role.body.id}`;
    const acls = [{ ...acl, topic: 'b' }, acl];
    const replaced = await admin.put(url, { name: 'dated', acls, allowWildcardSubs: false });
    const ruleId = `dynsec-role:${role.body.id}`;
    expect((await ask(member.id, {})).body).toMatchObject({
      ...{ allowed: true, ruleId: `${ruleId}/1` },
      origin: {
        ...{ type: 'dynsec_role', id: role.body.id, name: 'dated', position: 1, row: acl },
        via: {
          ...{ type: 'dynsec_group', id: group.body.id, position: 0, row: roles[0] },
          event: { revision: group.body.revision },
          via: {
            ...{ type: 'credential', id: member.id, row: groups[0] },
            event: { revision: member.revision },
          },
        },
      },
      event: { revision: role.body.revision },
    });
    const newest = Number(replaced.headers['sallyport-revision']);
    const wide = await ask(member.id, { action: 'subscribe', topic: 'a/#' });
    expect(wide.body).toMatchObject({
      ...{ allowed: false, ruleId: `${ruleId}/allowWildcardSubs` },
      origin: { type: 'dynsec_role', row: { allowWildcardSubs: false } },
      event: { revision: newest },
    });
    const access = { kind: 'dynsec', roles };
    const own = await admin.patch(`/api/v1/credentials/${member.id}`, { access });
    expect((await ask(member.id, {})).body).toMatchObject({
      origin: {
        via: { type: 'credential', row: roles[0], event: { revision: own.body.revision } },
      },
    });
  });

  it('names the setting where no row of dynamic security speaks, and the row that was taken', async () => {
    const acl = { aclType: 'publishClientSend', topic: 'a', priority: -1, allow: true };
    const role = await admin.post('/api/v1/dynsec/roles', { name: 'emptied', acls: [acl] });
    const roles = [{ role: role.body.id, priority: -1 }];
    const group = await admin.post('/api/v1/dynsec/groups', { name: 'emptied', roles });
    const groups = [{ group: group.body.id, priority: -1 }];
    const { id } = await credential({ access: { kind: 'dynsec', groups } });
    const emptied = await admin.put(`/api/v1/dynsec/roles/${role.body.id}`, { name: 'emptied' });
    expect((await ask(id, {})).body).toMatchObject({
      ...{ allowed: false, ruleId: 'default' },
      origin: { type: 'settings', row: { dynsecPublishClientSend: 'deny' } },
      taken: {
        ruleId: `dynsec-role:${role.body.id}/0`,
        origin: { type: 'dynsec_role', row: acl, via: { type: 'dynsec_group', via: {} } },
      },
      event: { revision: emptied.body.revision },
    });
    const ofReceive = await ask(id, { action: 'receive', topic: 'b' });
    expect(ofReceive.body).toMatchObject({
      ...{ allowed: true, ruleId: 'dynsec/default/dynsecPublishClientReceive' },
      origin: { type: 'settings', row: { dynsecPublishClientReceive: 'allow' } },
    });
  });

  it('of what no rule allows tells nothing more where it was never allowed', async () => {
    const { id } = await credential();
    const { body } = await ask(id, { topic: 'never' });
    expect(body).toMatchObject({ allowed: false, ruleId: 'default' });
    expect(body).not.toHaveProperty('taken');
  });

  it('names the event that took a right, and what had given it', async () => {
    const permission = { id: 'p', context: 'mqtt', resource: 'a', operation: 'write' };
    const role = await admin.post('/api/v1/roles', { name: 'taken', permissions: [permission] });
    const access = { kind: 'roles', roles: [role.body.id], permissions: [] };
    const holder = await credential({ access });
    const url = `/api/v1/credentials/${holder.id}`;
    const revisionOf = (answer: { headers: Record<string, unknown> }) =>
      Number(answer.headers['sallyport-revision']);

    const emptied = await admin.patch(`/api/v1/roles/${role.body.id}`, { permissions: [] });
    await admin.patch(url, { name: randomUUID() });
    const byRole = await ask(holder.id, {});
    expect(byRole.body).toMatchObject({
      allowed: false,
      ruleId: 'default',
      origin: { type: 'credential', id: holder.id },
      event: { revision: revisionOf(emptied) },
      taken: {
        ruleId: `role:${role.body.id}/p`,
        revision: revisionOf(emptied),
        origin: {
          type: 'role',
          id: role.body.id,
          row: permission,
          via: { row: { role: role.body.id } },
        },
      },
    });

    const filled = await admin.patch(`/api/v1/roles/${role.body.id}`, {
      permissions: [permission],
    });
    expect(filled.status).toBe(200);
    const unassigned = await admin.patch(url, { access: { ...access, roles: [] } });
    const byAssignment = await ask(holder.id, {});
    expect(byAssignment.body).toMatchObject({
      event: { revision: revisionOf(unassigned) },
      taken: { origin: { type: 'role', row: permission } },
    });
  });

  it('names the event that took a group, a row of a table, and the rights of a superuser', async () => {
    const permissions = [{ permission: 'allow', action: 'publish', topic: 'a' }];
    const fields = { name: 'left', description: '', permissions };
    const group = await admin.post('/api/v1/groups', fields);
    const member = await credential({ access: { kind: 'groups' } });
    const rules = [{ matchBy: 'credential', value: member.id, groups: [group.body.id] }];
    expect((await admin.put('/api/v1/group-rules', { rules })).status).toBe(200);
    expect((await ask(member.id, {})).body.allowed).toBe(true);
    const left = await admin.put('/api/v1/group-rules', { rules: [] });
    expect((await ask(member.id, {})).body).toMatchObject({
      allowed: false,
      event: { revision: Number(left.headers['sallyport-revision']) },
      taken: { origin: { type: 'group', id: group.body.id, via: { type: 'group_rules' } } },
    });

    const { id } = await credential({ superuser: true });
    const acl = '/api/v1/acl/clients/taken';
    await admin.put(acl, { rules: [rule('r', 'allow', 'a')] });
    const demoted = await admin.patch(`/api/v1/credentials/${id}`, { superuser: false });
    expect((await ask(id, { topic: 'b' })).body).toMatchObject({
      allowed: false,
      event: { revision: demoted.body.revision },
      taken: { ruleId: 'superuser', origin: { row: { superuser: true } } },
    });
    const removed = await admin.delete(acl);
    expect((await ask(id, { clientId: 'taken' })).body).toMatchObject({
      origin: { type: 'settings' },
      event: { revision: Number(removed.headers['sallyport-revision']) },
      taken: { origin: { type: 'acl', id: 'client:taken', row: { ruleId: 'r' } } },
    });
  });

  it('of what was allowed since its row is there tells nothing more', async () => {
    const { id } = await credential();
    const url = '/api/v1/acl/clients/ungained';
    const put = (...rules: object[]) => admin.put(url, { rules });
    await put(rule('d', 'deny', 'a'));
    const both = [rule('d', 'deny', 'b'), rule('r', 'allow', 'a')];
    const opened = await put(...both);
    await put(...both, rule('s', 'allow', 'z'));
    await admin.patch(`/api/v1/credentials/${id}`, { name: randomUUID() });
    const { body } = await ask(id, { clientId: 'ungained' });
    expect(body).toMatchObject({ allowed: true, event: { revision: opened.body.revision } });
    expect(body).not.toHaveProperty('gained');
    await admin.delete(url);
  });

  it('names the event that removed a deny row, and the row that it was', async () => {
    const { id } = await credential();
    const revisionOf = (answer: { headers: Record<string, unknown> }) =>
      Number(answer.headers['sallyport-revision']);
    const url = '/api/v1/acl/clients/gained';
    const asked = { clientId: 'gained' };
    await admin.put(url, { rules: [rule('d', 'deny', '+'), rule('r', 'allow', 'a')] });
    const removed = await admin.delete(`${url}/rules/d`);
    await admin.patch(`/api/v1/credentials/${id}`, { name: randomUUID() });
    expect((await ask(id, asked)).body).toMatchObject({
      allowed: true,
      origin: { type: 'acl', row: { ruleId: 'r' } },
      event: { revision: revisionOf(removed) },
      gained: {
        ruleId: 'acl:client:gained/d',
        revision: revisionOf(removed),
        origin: { type: 'acl', id: 'client:gained', row: { ruleId: 'd', effect: 'deny' } },
      },
    });
    // The whole table of somebody else's making, gone without a trace in what is there now.
    await admin.put('/api/v1/acl/everyone', { rules: [rule('e', 'allow', '#')] });
    await admin.put(url, { rules: [rule('d2', 'deny', '#')] });
    const dropped = await admin.delete(url);
    expect((await ask(id, asked)).body).toMatchObject({
      origin: { id: 'everyone' },
      event: { revision: revisionOf(dropped) },
      gained: { ruleId: 'acl:client:gained/d2' },
    });
    await admin.delete('/api/v1/acl/everyone');
  });

  it('names the event that took somebody out of a group that denied, or emptied it', async () => {
    const permission = (effect: string, topic: string) => ({
      ...{ permission: effect, action: 'publish', topic },
    });
    const group = async (...permissions: object[]) => {
      const fields = { name: randomUUID(), description: '', permissions };
      return { fields, id: (await admin.post('/api/v1/groups', fields)).body.id };
    };
    const opens = await group(permission('allow', '#'));
    const shuts = await group(permission('deny', 'a'), permission('deny', 'b'));
    const member = await credential({ access: { kind: 'groups' } });
    const give = (...groups: string[]) =>
      admin.put('/api/v1/group-rules', {
        rules: [{ id: 'rule', matchBy: 'credential', value: member.id, groups }],
      });
    await give(opens.id, shuts.id);
    const less = await admin.put(`/api/v1/groups/${shuts.id}`, {
      ...shuts.fields,
      permissions: [permission('deny', 'b')],
    });
    expect((await ask(member.id, {})).body).toMatchObject({
      allowed: true,
      event: { revision: Number(less.headers['sallyport-revision']) },
      gained: { ruleId: `group:${shuts.id}/0`, origin: { type: 'group', id: shuts.id } },
    });
    const left = await give(opens.id);
    expect((await ask(member.id, { topic: 'b' })).body).toMatchObject({
      allowed: true,
      origin: { type: 'group', id: opens.id },
      event: { revision: Number(left.headers['sallyport-revision']) },
      gained: { origin: { type: 'group', id: shuts.id, via: { type: 'group_rules' } } },
    });
    await admin.put('/api/v1/group-rules', { rules: [] });
  });

  it('names what is built in without an event, and the setting with the one that set it', async () => {
    const { id } = await credential();
    const guard = await ask(id, { topic: '$SYS/x' });
    expect(guard.body).toMatchObject({ ruleId: 'guard', origin: { type: 'built_in' } });
    expect(guard.body.event).toBeUndefined();
    const unset = await ask(id, {});
    expect(unset.body).toMatchObject({ origin: { type: 'settings', row: { noMatch: 'deny' } } });
    expect(unset.body.event).toBeUndefined();
    const set = await admin.patch('/api/v1/settings', { noMatch: 'allow' });
    const revision = Number(set.headers['sallyport-revision']);
    const answer = await ask(id, {});
    expect(answer.body).toMatchObject({ allowed: true, origin: { row: { noMatch: 'allow' } } });
    expect(answer.body.event.revision).toBe(revision);
  });
});

describe('what may be asked of an HTTP API, compat A1.3', () => {
  const httpOf = (more: object) => admin.post('/api/v1/explain', { action: 'http', ...more });

  it.each([
    ['nobody', { method: 'GET', path: '/a' }, '/credentialId'],
    ['no method', { credentialId: 'x', path: '/a' }, '/method'],
    ['no path', { credentialId: 'x', method: 'GET' }, '/path'],
    ['an empty path', { credentialId: 'x', method: 'GET', path: '' }, '/path'],
    ['another method', { credentialId: 'x', method: 'TRACE', path: '/a' }, '/method'],
    ['a topic', { credentialId: 'x', method: 'GET', path: '/a', topic: 'a' }, '/topic'],
    ['a client id', { credentialId: 'x', method: 'GET', path: '/a', clientId: 'c' }, '/clientId'],
    ['a session', { connection: 'c', method: 'GET', path: '/a' }, '/connection'],
    ['a path of a topic', { action: 'publish', clientId: 'c', topic: 'a', path: '/a' }, '/path'],
  ])('is refused with %s', async (_, body, pointer) => {
    const answer = await httpOf(body);
    expect([answer.status, answer.body.errors[0].pointer]).toEqual([400, pointer]);
  });

  it('is refused of a credential that is not there', async () => {
    const answer = await httpOf({ credentialId: randomUUID(), method: 'GET', path: '/a' });
    expect([answer.status, answer.body.code]).toEqual([404, 'credential_not_found']);
  });

  it('is told with the permission that grants it, and the commit that it is there since', async () => {
    const permission = (id: string, resource: string, operation: string) => ({
      ...{ id, context: 'http', resource, operation },
    });
    const role = await admin.post('/api/v1/roles', {
      ...{ name: randomUUID(), permissions: [permission('all', '/api/users/+', 'read')] },
    });
    const own = [permission('own', '/api/roles/#', 'readWrite')];
    const access = { kind: 'roles', roles: [role.body.id], permissions: own };
    const { id, revision } = await credential({ access });
    const ask = async (method: string, path: string) =>
      (await httpOf({ credentialId: id, method, path })).body;
    for (const [method, path] of [
      ['DELETE', '/api/users/7'],
      ['GET', '/api/users'],
      ['GET', '/api/roles/../users/7'],
    ] as const) {
      expect(await ask(method, path)).toMatchObject({
        ...{ allowed: false, ruleId: 'default', origin: { type: 'credential', id } },
        opinions: [{ authority: 'credential', verdict: 'deny', ruleId: 'default' }],
      });
    }
    expect(await ask('GET', '/api/users/7')).toMatchObject({
      allowed: true,
      ruleId: `role:${role.body.id}/all`,
      origin: { type: 'role', id: role.body.id, position: 0, via: { type: 'credential', id } },
      event: { revision: role.body.revision },
      credential: { id },
    });
    expect(await ask('PUT', '/api/roles/7')).toMatchObject({
      allowed: true,
      ruleId: `credential:${id}/permission/own`,
      origin: { type: 'credential', row: { resource: '/api/roles/#' } },
      event: { revision },
    });
    await admin.patch(`/api/v1/credentials/${id}`, { enabled: false });
    expect(await ask('GET', '/api/users/7')).toMatchObject({
      allowed: false,
      ruleId: 'credential',
      origin: { row: { enabled: false } },
    });
  });
});
