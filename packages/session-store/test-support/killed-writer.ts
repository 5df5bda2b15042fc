import { writeSync } from 'node:fs';
import type { SessionStore } from '../src/session-store.ts';
import { openSqliteSessionStore } from '../src/sqlite.ts';
import { type Operation, operationsOf } from './writer-model.ts';

/** The clients that the writer writes for. */
export const WRITTEN_CLIENTS = Array.from({ length: 8 }, (_, index) => `c${index}`);

function perform(of: SessionStore, { clientId, kind, number }: Operation): Promise<unknown> {
  const message = {
    topic: 'a/b',
    payload: Buffer.alloc(number % 2000, 'x'),
    qos: 2 as const,
    brokerId: 'broker',
    brokerCounter: number,
  };
  const messageId = (number % 60_000) + 1;
  switch (kind) {
    case 'enqueue':
      return of.outgoingEnqueueCombi([{ clientId }], message, { clientId, messageId });
    case 'send':
      return of.outgoingUpdate({ id: clientId }, { ...message, messageId });
    case 'release':
      return of.outgoingUpdate({ id: clientId }, { cmd: 'pubrel', messageId });
    case 'acknowledge':
      return of.outgoingClearMessageId({ id: clientId }, { messageId });
    case 'forget-id':
      return of.incomingDelPacket({ id: clientId }, { messageId });
    case 'retain':
      return of.storeRetained({ topic: `r/${clientId}`, payload: Buffer.from(String(number)) });
    case 'subscribe':
      return of.addSubscriptions({ id: clientId }, [{ topic: `t/${number}`, qos: 1 }]);
    case 'unsubscribe':
      return of.removeSubscriptions({ id: clientId }, [`t/${number - 1}`]);
  }
}

async function write(store: SessionStore, clientId: string, first: number): Promise<void> {
  await store.openSession({
    clientId,
    owner: 'o',
    principal: null,
    expirySeconds: 600,
    nodeId: 'n',
    cleanStart: false,
    now: Date.now(),
  });
  for (const operation of operationsOf(clientId, first)) {
    const line = JSON.stringify(operation);
    writeSync(1, `begin ${line}\n`);
    await perform(store, operation);
    writeSync(1, `done ${line}\n`);
  }
}

/** Writes to the store without end, and says before each operation that it begins and afterwards that it is done. */
export async function writeUntilKilled(path: string, first: number): Promise<void> {
  const store = await openSqliteSessionStore({ path });
  await Promise.all(WRITTEN_CLIENTS.map((clientId) => write(store, clientId, first)));
}
