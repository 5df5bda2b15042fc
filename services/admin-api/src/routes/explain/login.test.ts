import type { LoginStep } from '@sallyport/policy-client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Client, World } from '../../testing/world.ts';

let world: World;
let admin: Client;
let id: string;
beforeAll(async () => {
  world = await World.open();
  admin = await world.login();
  const access = { kind: 'unrestricted' };
  const sent = { name: 'found', match: { username: 'u' }, passwordRequired: false, access };
  id = (await admin.post('/api/v1/credentials', sent)).body.id;
});
afterAll(() => world[Symbol.asyncDispose]());

const explain = (body: object) => admin.post('/api/v1/explain', { clientId: 'c', ...body });
const publish = { action: 'publish', topic: 'a' };

describe('POST /explain for facts without a credential', () => {
  it('refuses a CONNECT of somebody who is named, a topic that is missing, and a store that there is not', async () => {
    for (const [body, pointer] of [
      [{ action: 'connect', credentialId: 'x' }, '/action'],
      [{ action: 'publish' }, '/topic'],
      [{ action: 'connect', stores: ['nowhere'] }, '/stores/0'],
      [{ action: 'connect', proof: 'token' }, '/proof'],
    ] as const) {
      const { status, body: told } = await explain(body);
      expect([status, told.errors?.[0]?.pointer]).toEqual([400, pointer]);
    }
    const live = await admin.post('/api/v1/explain', { connection: 'c', action: 'connect' });
    expect([live.status, live.body.errors?.[0]?.pointer]).toEqual([400, '/action']);
  });

  it('tells why nobody would be let in, also for a topic', async () => {
    const steps = [
      { credentialId: id, store: 'native', secret: false, refusal: 'disabled' },
    ] as const;
    world.policy.login = { steps, reason: 'disabled' };
    for (const asked of [{ action: 'connect' }, publish]) {
      const { status, body } = await explain(asked);
      expect(status).toBe(200);
      expect(body).toMatchObject({
        allowed: false,
        ruleId: `credential:${id}`,
        login: { reason: 'disabled', steps: [{ ...steps[0], name: 'found' }] },
      });
    }
    world.policy.login = { steps: [], reason: 'banned', banId: 'b1' };
    expect((await explain({ action: 'connect' })).body).toMatchObject({
      allowed: false,
      ruleId: 'ban:b1',
      login: { banId: 'b1' },
    });
  });

  it('tells the state of the credential that refuses, and who made it so and when', async () => {
    const sent = { name: 'closed', match: { username: 'closed' }, passwordRequired: false };
    const closed = (await admin.post('/api/v1/credentials', sent)).body.id;
    const { body: written } = await admin.patch(`/api/v1/credentials/${closed}`, {
      enabled: false,
    });
    await admin.patch(`/api/v1/credentials/${closed}`, { superuser: true });
    const step = { credentialId: closed, store: 'native', secret: false } as const;
    const before = { credentialId: id, store: 'native', secret: true, refusal: 'wrong_secret' };
    world.policy.login = {
      steps: [before, { ...step, refusal: 'disabled' }] as LoginStep[],
      reason: 'disabled',
    };
    const { body } = await explain({ action: 'connect' });
    expect(body).toMatchObject({
      ...{ allowed: false, ruleId: `credential:${closed}` },
      credential: { id: closed, enabled: false, superuser: true },
      origin: { type: 'credential', id: closed, row: { enabled: false } },
      event: { revision: written.revision, actor: { kind: 'operator' } },
    });
  });

  it('tells of a ban what it is, and who made it and when', async () => {
    const until = '2099-01-01T00:00:00.000Z';
    const row = { kind: 'client_id', value: 'c', reason: 'stolen', until };
    const { body: ban } = await admin.post('/api/v1/bans', row);
    world.policy.login = { steps: [], reason: 'banned', banId: ban.id };
    const { body } = await explain({ action: 'connect' });
    expect(body).toMatchObject({
      ...{ allowed: false, ruleId: `ban:${ban.id}` },
      origin: { type: 'ban', id: ban.id, row },
      event: { revision: ban.revision, actor: { kind: 'operator' } },
    });
    await admin.delete(`/api/v1/bans/${ban.id}`);
  });

  it('tells which chain asks none of the credentials that the facts lead to', async () => {
    const chain = { scope: 'global', authenticator: 'password_based:built_in_database' } as const;
    const scope = 'listener:tcp:default';
    const none = { authenticators: [{ mechanism: 'password_based', enabled: false }] };
    const { body: put } = await admin.put(`/api/v1/auth-chains/${scope}`, none);
    const step = { credentialId: id, store: 'emqx', chain, secret: false } as const;
    world.policy.login = { steps: [{ ...step, skipped: 'chain' }], reason: 'unknown_client' };
    expect((await explain({ action: 'connect' })).body).toMatchObject({
      ...{ allowed: false, ruleId: `chain:${scope}`, event: { revision: put.revision } },
      origin: { type: 'auth_chain', id: scope },
    });
    const unnamed = { allowed: false, ruleId: 'login/unknown_client' };
    const scram = await explain({ action: 'connect', proof: 'scram' });
    expect(scram.body).toMatchObject(unnamed);
    world.policy.login = { steps: [{ ...step, skipped: 'store' }], reason: 'unknown_client' };
    expect((await explain({ action: 'connect' })).body).toMatchObject(unnamed);
  });

  it('asks for just these facts, and answers the topic for whoever they log in as', async () => {
    const chain = { scope: 'global', authenticator: 'password_based:built_in_database' } as const;
    const facts = { clientId: 'c', username: 'u', listener: 'tcp:default' };
    world.policy.login = {
      steps: [{ credentialId: id, store: 'native', secret: true, chain }],
      principal: { credentialId: id, store: 'native', facts },
    };
    world.policy.logins.length = 0;
    const { body } = await explain({
      ...publish,
      peer: '192.0.2.1:5',
      zone: 'hall-7',
      open: true,
      stores: ['native'],
      proof: 'scram',
    });
    expect(world.policy.logins).toEqual([
      {
        facts: {
          ...{ clientId: 'c', listener: 'tcp:default', peer: '192.0.2.1:5' },
          ...{ zone: 'hall-7', open: true },
        },
        stores: ['native'],
        scram: true,
        minRevision: world.model.revision,
      },
    ]);
    expect(body).toMatchObject({
      allowed: true,
      ruleId: 'credential/unrestricted',
      origin: { type: 'credential', id },
      login: { secret: 'not_checked', credentialId: id, store: 'native', chain, username: 'u' },
    });
    const connect = await explain({ action: 'connect' });
    expect(connect.body).toMatchObject({ allowed: true, ruleId: `credential:${id}` });
  });
});
