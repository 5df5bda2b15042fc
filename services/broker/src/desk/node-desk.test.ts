import { OperationalError } from '@sallyport/errors';
import type { ConnectedClient } from '@sallyport/mqtt-session';
import {
  compareKeys,
  type ListQuery,
  LIST_ROWS_MAX,
  type PageOfNode,
} from '@sallyport/node-registry';
import { describe, expect, it } from 'vitest';
import type { RefusedEntry } from '../access/refused-attempts.ts';
import { connectionValues, type ConnectionView } from './connection-view.ts';
import { NodeDesk, SNAPSHOT_MS } from './node-desk.ts';
import { REFUSED_SORTS } from './refused-view.ts';

function connected(clientId: string, more: Partial<ConnectedClient> = {}): ConnectedClient {
  return {
    client: {
      clientId,
      version: 5,
      origin: { listener: 'wss:default', peer: '[2001:db8::1]:5000' },
      disconnect: () => Promise.resolve(),
      dismiss: () => Promise.resolve(),
    },
    keepAliveSeconds: 60,
    connectedAt: 1000,
    rights: {
      publishedTopic: (topic) => topic,
      mayPublish: () => true,
      mayReceive: () => true,
      maySubscribe: () => true,
      mayUnsubscribe: () => true,
      deniedPublish: 'acknowledge',
    },
    ...more,
  };
}

function setUp(clients: readonly ConnectedClient[] = [], refused: readonly RefusedEntry[] = []) {
  let now = 0;
  const all = new Map(clients.map((one) => [one.client.clientId, one]));
  const ended: string[] = [];
  const desk = new NodeDesk({
    nodeId: 'n1',
    clients: { connected: () => all.values(), connectedAs: (clientId) => all.get(clientId) },
    refused: { all: () => refused },
    enforcedRevision: () => 77,
    secretUses: (credentialId) => Promise.resolve({ [`${credentialId}'s`]: 5 }),
    disconnect: ({ client }, endSession) =>
      ended.push(endSession ? `${client.clientId}, all of it` : client.clientId),
    clock: () => now,
  });
  const page = async (changes: Partial<ListQuery> = {}, limit = LIST_ROWS_MAX) => {
    const query = { list: 'connections', sort: 'clientId', order: 'asc', ...changes };
    return (await desk.answer({ op: 'page', query, limit })) as PageOfNode<ConnectionView>;
  };
  const ids = async (changes: Partial<ListQuery> = {}): Promise<string[]> =>
    (await page(changes)).items.map(({ row }) => row.clientId);
  return { desk, all, ended, page, ids, pass: (ms: number) => (now += ms) };
}

describe('NodeDesk', () => {
  it.each([
    undefined,
    null,
    7,
    {},
    { op: 'reboot', clientId: 'x' },
    { op: 'connection' },
    { op: 'secret-uses', clientId: 'x' },
    { op: 'disconnect', clientId: 7 },
    { op: 'explain', clientId: 'x' },
    { op: 'explain', clientId: 'x', action: 'read', topic: 'a', qos: 0, retain: false },
    { op: 'explain', clientId: 'x', action: 'publish', topic: 7, qos: 0, retain: false },
    { op: 'explain', clientId: 'x', action: 'publish', topic: 'a', qos: 3, retain: false },
    { op: 'explain', clientId: 'x', action: 'publish', topic: 'a', qos: 0, retain: 'yes' },
    { op: 'page', query: { list: 'secrets', sort: 'clientId', order: 'asc' }, limit: 1 },
    { op: 'page', query: { list: 'connections', sort: '__proto__', order: 'asc' }, limit: 1 },
    { op: 'page', query: { list: 'refused-connections', sort: 'id', order: 'asc' }, limit: 1 },
  ])('does not know %j', async (question) => {
    await expect(setUp().desk.answer(question)).rejects.toThrow(OperationalError);
  });

  it('tells of a connection what an administrator sees', async () => {
    const { desk } = setUp([connected('c')]);
    expect(await desk.answer({ op: 'connection', clientId: 'c' })).toEqual({
      connection: {
        clientId: 'c',
        address: '2001:db8::1',
        peer: '[2001:db8::1]:5000',
        protocolVersion: '5.0',
        transport: 'wss',
        listener: 'wss:default',
        zone: 'default',
        keepAliveSeconds: 60,
        connectedAt: 1000,
        nodeId: 'n1',
      },
    });
    for (const clientId of ['C', '__proto__', '']) {
      expect(await desk.answer({ op: 'connection', clientId })).toEqual({ connection: undefined });
    }
  });

  it('tells when the secrets of a credential were used', async () => {
    const question = { op: 'secret-uses', credentialId: 'k' };
    expect(await setUp().desk.answer(question)).toEqual({ uses: { "k's": 5 } });
  });

  it('ends the connection that it is told to, and no other', async () => {
    const { desk, ended } = setUp([connected('c'), connected('d')]);
    expect(await desk.answer({ op: 'disconnect', clientId: 'x' })).toEqual({ disconnected: false });
    expect(await desk.answer({ op: 'disconnect', clientId: 'd' })).toEqual({ disconnected: true });
    expect(await desk.answer({ op: 'disconnect', clientId: 'd', endSession: true })).toEqual({
      disconnected: true,
    });
    expect(ended).toEqual(['d', 'd, all of it']);
  });

  it('searches client ids as literal text without case, and sorts by everything that is told', async () => {
    const { ids, page } = setUp([
      connected('Pump-1', { keepAliveSeconds: 9 }),
      connected('pump-2', { keepAliveSeconds: 10 }),
      connected('.*', { keepAliveSeconds: 100 }),
    ]);
    expect(await ids({ search: 'PUMP' })).toEqual(['Pump-1', 'pump-2']);
    expect(await ids({ search: '.*' })).toEqual(['.*']);
    // As numbers.
    expect(await ids({ sort: 'keepAliveSeconds' })).toEqual(['Pump-1', 'pump-2', '.*']);
    expect(await ids({ order: 'desc' })).toEqual(['pump-2', 'Pump-1', '.*']);
    for (const sort of connectionValues.keys()) expect((await page({ sort })).total).toBe(3);
    for (const sort of REFUSED_SORTS) {
      expect((await page({ list: 'refused-connections', sort })).total).toBe(0);
    }
  });

  it('finds refused attempts by client id, name and address', async () => {
    const entry = (id: string, more: Partial<RefusedEntry>): RefusedEntry => ({
      id,
      reason: 'banned',
      listener: 'tcp:default',
      address: '192.0.2.1',
      count: 1,
      firstAt: 1,
      lastAt: 2,
      ...more,
    });
    const { page } = setUp(
      [],
      [
        entry('1', { clientId: 'Needle' }),
        entry('2', { username: 'needle' }),
        entry('3', { address: 'needle' }),
        entry('4', {}),
      ],
    );
    const found = await page({ list: 'refused-connections', sort: 'lastAt', search: 'needle' });
    expect(found.items.map(({ key }) => key.id)).toEqual(['1', '2', '3']);
    expect(found.items[0]?.row).toEqual({
      clientId: 'Needle',
      reason: 'banned',
      listener: 'tcp:default',
      address: '192.0.2.1',
      count: 1,
      firstAt: 1,
      lastAt: 2,
      nodeId: 'n1',
    });
  });

  it('answers the questions for one page from one order, and soon after from a new one', async () => {
    const { all, ids, pass } = setUp([connected('a')]);
    expect(await ids()).toEqual(['a']);
    all.set('b', connected('b'));
    pass(SNAPSHOT_MS - 1);
    expect(await ids()).toEqual(['a']);
    // Another question is of another order.
    expect(await ids({ order: 'desc' })).toEqual(['b', 'a']);
    pass(1);
    expect(await ids()).toEqual(['a', 'b']);
  });

  it('has the order of keys, whatever the client ids are', async () => {
    const names = [
      'a',
      'a!',
      'a b',
      'B',
      'ü',
      '\u{1f600}',
      '\uffee',
      '',
      '__proto__',
      'constructor',
    ];
    const { page } = setUp(names.map((name, at) => connected(name, { connectedAt: at % 3 })));
    for (const sort of ['clientId', 'connectedAt', 'address']) {
      for (const order of ['asc', 'desc'] as const) {
        const keys = (await page({ sort, order })).items.map(({ key }) => key);
        expect(keys).toEqual(keys.toSorted((a, b) => compareKeys(a, b, order)));
        expect(keys).toHaveLength(names.length);
      }
    }
  });
});
