import { once } from 'node:events';
import { encodePacket, encodeSubscribe, packetTypes } from '@sallyport/test-kit';
import type { HoldJob } from '../storm.ts';
import { LoadConnection, loginsOf, openAll } from './connection.ts';

/** Connects subscribers of one topic and says so. Then it stays until it is killed, or told `goodbye`: then all say that at once. */
export async function runHold(job: HoldJob): Promise<void> {
  const logins = loginsOf(job.clients);
  const subscribe = encodeSubscribe(1, [{ topicFilter: job.topicFilter, qos: 0 }]);
  let leaving = false;
  const connections = await openAll(logins.length, job.handshakes, async (number) => {
    const login = logins[number] ?? { clientId: '', username: '', password: '' };
    const connection = await LoadConnection.open({ port: job.port, number, login }, (error) => {
      if (!leaving) throw error;
    });
    await connection.subscribe(subscribe);
    return connection;
  });
  process.stdout.write('subscribed\n');
  await once(process.stdin, 'data');
  leaving = true;
  const goodbye = encodePacket(packetTypes.disconnect, 0, Buffer.alloc(0));
  for (const connection of connections) connection.write(goodbye);
}
