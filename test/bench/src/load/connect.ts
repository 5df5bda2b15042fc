import { setTimeout as delay } from 'node:timers/promises';
import type { ConnectJob, ConnectResult } from '../mqtt/generator.ts';
import { LoadConnection, loginsOf, openAll } from './connection.ts';
import { measureLoad, residentKib } from './processor.ts';

/** Opens all connections as fast as the broker lets it, and keeps them until the process ends. */
export async function runConnect(job: ConnectJob): Promise<ConnectResult> {
  const logins = loginsOf(job.clients);
  const before = residentKib(job.pid);
  const loadOf = measureLoad(job.pid);
  const started = performance.now();
  await openAll(logins.length, job.handshakes, (number) => {
    const login = logins[number] ?? { clientId: '', username: '', password: '' };
    return LoadConnection.open({ port: job.port, number, login }, fail);
  });
  const seconds = (performance.now() - started) / 1000;
  const load = loadOf();
  await delay(job.holdSeconds * 1000);
  return {
    ...load,
    perSecond: logins.length / seconds,
    kibPerConnection: (residentKib(job.pid) - before) / logins.length,
  };
}

function fail(error: Error): never {
  throw error;
}
