import { once } from 'node:events';
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as connectTls } from 'node:tls';
import { encodeConnect } from '@sallyport/test-kit';
import type { ArriveJob, ArriveResult } from '../arriving.ts';
import { type Login, loginsOf, openAll } from './connection.ts';

/** MQTT 3.1.1: the server is busy. */
const UNAVAILABLE = 3;
const CODE_AT = 3;

interface Answer {
  /** Undefined: closed without an answer. */
  readonly code: number | undefined;
  readonly ms: number;
}

/**
 * Opens all sockets and says so. Told to go on, it says all CONNECTs at once, or begins all handshakes, says so, and waits for their
 * answers.
 */
export async function runArrive(job: ArriveJob): Promise<ArriveResult> {
  const logins = loginsOf(job.clients);
  const sockets = await openAll(logins.length, job.handshakes, async () => {
    const socket = connect({ port: job.port, host: '127.0.0.1', noDelay: true });
    await once(socket, 'connect');
    return socket;
  });
  process.stdout.write('open\n');
  await once(process.stdin, 'data');
  const streams = sockets.map((socket, index) => {
    // The certificate is one of the benchmark's own.
    const stream = job.tls === true ? connectTls({ socket, rejectUnauthorized: false }) : socket;
    stream.write(encodeConnect(logins[index] ?? { clientId: '' }));
    return stream;
  });
  // What begins a handshake is written a tick later.
  await new Promise((resolve) => setImmediate(resolve));
  process.stdout.write('sent\n');
  const started = performance.now();
  const answers = await Promise.all(streams.map((stream) => answerOf(stream, started)));
  return resultOf(job, logins, answers);
}

function answerOf(socket: Duplex, started: number): Promise<Answer> {
  return new Promise((resolve) => {
    const answer = (code: number | undefined) => resolve({ code, ms: performance.now() - started });
    socket.once('data', (chunk: Buffer) => answer(chunk[CODE_AT]));
    socket.on('error', () => undefined);
    socket.once('close', () => answer(undefined));
  });
}

function resultOf(
  { cheap }: ArriveJob,
  logins: readonly Login[],
  answers: readonly Answer[],
): ArriveResult {
  const isCheap = (index: number): boolean => logins[index]?.username === cheap;
  const ofCheap = answers.filter((_, index) => isCheap(index));
  const of = (code: number | undefined) => answers.filter((one) => one.code === code).length;
  return {
    allMs: Math.max(...answers.map(({ ms }) => ms)),
    cheapMs: Math.max(...ofCheap.map(({ ms }) => ms)),
    cheapRefused: ofCheap.filter(({ code }) => code !== 0).length,
    admitted: of(0),
    busy: of(UNAVAILABLE),
    lost: of(undefined),
  };
}
