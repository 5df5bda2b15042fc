import { connect, type NatsConnection } from '@nats-io/transport-node';
import { type NatsServer, startNatsServer } from '@sallyport/test-kit';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { describeNodeCallsContract } from '../test-support/calls-contract.ts';
import { NatsNodeCalls } from './nats.ts';

const users = {
  'admin-api': 'writes-the-log',
  'admin-api-nodes': 'asks-the-nodes',
  policy: 'reads-the-log',
  broker: 'answers',
} as const;

let server: NatsServer;
let node: NatsConnection;
let asker: NatsConnection;

beforeAll(async () => {
  server = await startNatsServer({ users });
  const dial = (user: keyof typeof users): Promise<NatsConnection> =>
    connect({ servers: server.address, user, pass: users[user] });
  [node, asker] = await Promise.all([dial('broker'), dial('admin-api-nodes')]);
});

afterAll(async () => {
  await Promise.all([node?.close(), asker?.close()]);
  await server?.stop();
});

describeNodeCallsContract('NatsNodeCalls, with the users of the deployment,', async () => {
  const nodeCalls = new NatsNodeCalls({ connection: node });
  const askerCalls = new NatsNodeCalls({ connection: asker });
  const served: AsyncDisposable[] = [];
  return {
    node: {
      ask: nodeCalls.ask.bind(nodeCalls),
      serve: async (nodeId, answer) => {
        const one = await nodeCalls.serve(nodeId, answer);
        served.push(one);
        return one;
      },
      [Symbol.asyncDispose]: () => nodeCalls[Symbol.asyncDispose](),
    },
    asker: askerCalls,
    [Symbol.asyncDispose]: async () => {
      for (const one of served) await one[Symbol.asyncDispose]();
      await nodeCalls[Symbol.asyncDispose]();
      await askerCalls[Symbol.asyncDispose]();
    },
  };
});

it('a node that hears but does not answer is silent after the time', async () => {
  await using calls = new NatsNodeCalls({ connection: asker });
  const deaf = node.subscribe('sallyport.ask.deaf', { callback: () => undefined });
  await node.flush();
  await expect(calls.ask('deaf', 'q', 200)).rejects.toMatchObject({ code: 'node_silent' });
  deaf.unsubscribe();
});

it('a node answers nobody on a subject that is not for answers', async () => {
  await using calls = new NatsNodeCalls({ connection: node });
  await using _served = await calls.serve('careful', () => 'x');
  const heard: string[] = [];
  const inbox = asker.subscribe('_INBOX.forged', {
    callback: (_, message) => void heard.push(message.string()),
  });
  asker.publish('sallyport.ask.careful', '"q"', { reply: '_INBOX.forged' });
  await using proper = new NatsNodeCalls({ connection: asker });
  expect(await proper.ask('careful', 'q', 2000)).toBe('x');
  expect(heard).toEqual([]);
  inbox.unsubscribe();
});
