import {
  credentials,
  Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import {
  encodeAnswer,
  openDecideStream,
  policyServiceDefinition,
  PolicyServiceClient,
  type WireAnswer,
  type WireAuthenticateRequest,
  type WireAuthenticateResponse,
  type WireDecideRequest,
} from '@sallyport/wire';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { QUESTIONS_A_TURN, QUESTIONS_OPEN_MAX } from './decide-streams.ts';
import { DecisionStream, QUESTIONS_MAX } from './decision-stream.ts';
import { policyHandlers } from './grpc-handlers.ts';
import { Replica, STREAM_RETRY_MS } from './replica.ts';
import type { LoginExplainer, PolicyClient } from './policy-client.ts';
import { TurnPace } from './turn-pace.ts';

type Call = ServerDuplexStream<WireDecideRequest, Buffer>;

const TIMEOUT_MS = 20_000;
const NOT_READY = { code: 'policy_not_ready' };

let server: Server;
let port: number;
let client: PolicyServiceClient;
let calls: number;
let onCall: (call: Call) => void;
const streams: DecisionStream[] = [];

const request = (clientId: string, minRevision = 0): WireAuthenticateRequest => ({
  facts: { clientId, listener: 'l', methods: [], attributes: {}, open: false },
  minRevision,
  stores: [],
});

const admission = (clientId: string): WireAuthenticateResponse => ({
  revision: 1,
  outcome: { $case: 'refusal', value: 1 },
  ruleId: clientId,
});

const answer = (id: number, clientId = `${id}`): WireAnswer => ({
  id,
  outcome: { $case: 'authenticate', value: admission(clientId) },
});

const questionsOf = (call: Call, on: (id: number, clientId: string) => void): void => {
  call.on('data', ({ questions }: WireDecideRequest) => {
    for (const { id, authenticate } of questions) on(id, authenticate?.facts?.clientId ?? '');
  });
};

async function serve(implementation: UntypedServiceImplementation, definition: object) {
  server = new Server();
  server.addService(definition as typeof policyServiceDefinition, implementation); // As it is, or with less.
  port = await new Promise((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  client = new PolicyServiceClient(`127.0.0.1:${port}`, credentials.createInsecure());
}

beforeEach(async () => {
  calls = 0;
  const decide = (call: Call): void => {
    calls++;
    call.on('error', () => undefined);
    onCall(call);
  };
  await serve({ decide }, { decide: policyServiceDefinition.decide });
});

afterEach(() => {
  vi.useRealTimers();
  for (const stream of streams.splice(0)) stream.close();
  client.close();
  server.forceShutdown();
});

function open(timeoutMs = TIMEOUT_MS): DecisionStream {
  const stream = openDecideStream(client, new Metadata());
  const decisions = new DecisionStream({ stream, pace: new TurnPace(32), timeoutMs });
  streams.push(decisions);
  return decisions;
}

/** The time of a question passes only when the test says so. */
const freezeTime = (): void =>
  void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

const ask = (stream: DecisionStream, clientId: string, minRevision = 0) =>
  stream.ask(request(clientId, minRevision), undefined);

describe('a stream of decisions', () => {
  it('fails what is not answered in time, each in its own, and what is late answers nobody', async () => {
    freezeTime();
    let late: (() => void) | undefined;
    onCall = (call) =>
      questionsOf(call, (id, clientId) => {
        if (clientId === 'answered') call.write(encodeAnswer(answer(id, clientId)));
        // The first, late, and the one behind it in time.
        if (clientId === 'second') {
          late = () => {
            call.write(Buffer.concat([encodeAnswer(answer(id - 1)), encodeAnswer(answer(id))]));
          };
        }
      });
    const stream = open();
    await ask(stream, 'answered');
    await vi.advanceTimersByTimeAsync(1);
    let failed: unknown;
    const first = ask(stream, 'first').catch((error: unknown) => (failed = error));
    await vi.advanceTimersByTimeAsync(TIMEOUT_MS / 2);
    const second = ask(stream, 'second');
    while (late === undefined) await turn();
    await vi.advanceTimersByTimeAsync(TIMEOUT_MS / 2 - 1);
    expect(failed).toBeUndefined();
    await vi.advanceTimersByTimeAsync(1);
    expect(await first).toMatchObject(NOT_READY);
    late();
    expect(await second).toEqual(admission('3'));
  });

  it('is left when it is silent: what is asked next goes elsewhere, and it is closed when nobody waits', async () => {
    freezeTime();
    let cancelled = 0;
    onCall = (call) => call.on('cancelled', () => (cancelled += 1)).resume();
    const stream = open();
    const first = expect(ask(stream, 'first')).rejects.toMatchObject(NOT_READY);
    await vi.advanceTimersByTimeAsync(TIMEOUT_MS / 2);
    const second = expect(ask(stream, 'second')).rejects.toMatchObject(NOT_READY);
    while (calls === 0) await turn();
    await vi.advanceTimersByTimeAsync(TIMEOUT_MS / 2);
    await first;
    expect([stream.open, cancelled]).toEqual([false, 0]);
    await vi.advanceTimersByTimeAsync(TIMEOUT_MS / 2);
    await second;
    while (cancelled === 0) await turn();
    expect(cancelled).toBe(1);
  });

  it('does not fail one question for another that cannot be encoded', async () => {
    onCall = (call) =>
      questionsOf(call, (id, clientId) => call.write(encodeAnswer(answer(id, clientId))));
    const stream = open();
    const [good, bad, after] = await Promise.allSettled([
      ask(stream, 'good'),
      ask(stream, 'bad', Number.NaN),
      ask(stream, 'after'),
    ]);
    expect(bad).toMatchObject({ status: 'rejected', reason: { code: 'invalid_request' } });
    expect([good, after]).toMatchObject([{ status: 'fulfilled' }, { status: 'fulfilled' }]);
    expect(await ask(stream, 'later')).toEqual(admission('later'));
    expect(calls).toBe(1);
  });

  it('takes rubbish for no answer, of those that it is the answer of', async () => {
    freezeTime();
    onCall = (call) =>
      questionsOf(call, (id, clientId) => {
        const says: Record<string, readonly Buffer[]> = {
          empty: [encodeAnswer({ id })],
          unknown: [encodeAnswer({ id, outcome: { $case: 'errorCode', value: 'no_such_code' } })],
          prototype: [encodeAnswer({ id, outcome: { $case: 'errorCode', value: 'constructor' } })],
          known: [encodeAnswer({ id, outcome: { $case: 'errorCode', value: 'hash_pool_full' } })],
          others: [encodeAnswer(answer(99)), encodeAnswer(answer(0)), Buffer.alloc(0)],
          twice: [encodeAnswer(answer(id, 'one')), encodeAnswer(answer(id, 'two'))],
        };
        for (const one of says[clientId] ?? []) call.write(one);
      });
    const stream = open();
    const names = ['empty', 'unknown', 'prototype', 'known', 'others'];
    const questions = names.map((name) => ask(stream, name));
    const settled = Promise.allSettled(questions);
    await Promise.allSettled(questions.slice(0, -1));
    await vi.advanceTimersByTimeAsync(TIMEOUT_MS);
    expect(await settled).toMatchObject(
      [
        'invalid_request',
        'policy_not_ready',
        'policy_not_ready',
        'hash_pool_full',
        NOT_READY.code,
      ].map((code) => ({ status: 'rejected', reason: { code } })),
    );
    expect(await ask(open(), 'twice')).toEqual(admission('one'));
  });

  it('fails all that wait, and is left, when it ends, breaks, or says what cannot be read', async () => {
    for (const end of [
      (call: Call) => call.end(),
      (call: Call) => call.emit('error', { code: 14, details: 'gone' }),
      (call: Call) => call.write(Buffer.alloc(100, 0xff)),
      () => server.forceShutdown(),
    ]) {
      let seen = 0;
      onCall = (call) => questionsOf(call, () => ++seen === 2 && end(call));
      const stream = open(60_000);
      const both = await Promise.allSettled([ask(stream, 'a'), ask(stream, 'b')]);
      const failed = { status: 'rejected', reason: NOT_READY };
      expect(both, end.toString()).toMatchObject([failed, failed]);
      expect(stream.open).toBe(false);
    }
  });

  it('has as many questions that wait as it may, and fails one more at once', async () => {
    let release = (): void => undefined;
    const waiting: number[] = [];
    onCall = (call) => {
      questionsOf(call, (id) => waiting.push(id));
      release = () => {
        for (const id of waiting.splice(0)) call.write(encodeAnswer(answer(id)));
      };
    };
    const stream = open(60_000);
    const all = Array.from({ length: QUESTIONS_MAX }, () => ask(stream, 'x'));
    await expect(ask(stream, 'one more')).rejects.toMatchObject(NOT_READY);
    await expect.poll(() => waiting.length, { timeout: 50_000 }).toBe(QUESTIONS_MAX);
    release();
    expect(await Promise.all(all)).toHaveLength(QUESTIONS_MAX);
    const late = ask(stream, 'x');
    await expect.poll(() => waiting.length).toBe(1);
    release();
    await late;
  });
});

describe('a replica', () => {
  const call = () => Promise.resolve(admission('by a call'));

  it('that does not know the stream is asked by calls, and for the stream again after a while', async () => {
    server.forceShutdown();
    client.close();
    const { decide: _new, ...older } = policyServiceDefinition;
    await serve({}, older);
    let now = 0;
    const pace = new TurnPace(32);
    const clock = () => now;
    const replica = new Replica({ client, pace, metadata: () => new Metadata(), clock });
    const many = await Promise.all(['a', 'b'].map((name) => replica.decide(request(name), call)));
    expect(many).toEqual([admission('by a call'), admission('by a call')]);
    server.forceShutdown();
    now = STREAM_RETRY_MS - 1;
    // No stream, so nothing that could fail.
    expect(await replica.decide(request('c'), call)).toEqual(admission('by a call'));
    now = STREAM_RETRY_MS;
    await expect(replica.decide(request('d'), call)).rejects.toMatchObject(NOT_READY);
    replica.close();
  });
});

describe('the service', () => {
  /** Behind it whoever answers as the test says. */
  async function serveWith(authenticate: () => Promise<void>): Promise<DecisionStream> {
    server.forceShutdown();
    client.close();
    // Nothing else is asked of it.
    const policy = {
      authenticate: async () => {
        await authenticate();
        return { ok: false, revision: 1, reason: 'unknown_client' };
      },
    } as unknown as PolicyClient & LoginExplainer;
    const handlers = policyHandlers(policy, { token: undefined, onError: () => undefined });
    await serve(handlers.implementation, policyServiceDefinition);
    return open(60_000);
  }

  const askMany = (stream: DecisionStream, length: number) =>
    Array.from({ length }, () => ask(stream, 'x'));

  it('reads no more than it may of what it has not answered, and goes on when it has', async () => {
    let asked = 0;
    let release = (): void => undefined;
    const released = new Promise<void>((resolve) => (release = resolve));
    const stream = await serveWith(() => {
      asked++;
      return released;
    });
    const count = 3 * QUESTIONS_OPEN_MAX;
    const all = askMany(stream, count);
    await expect.poll(() => asked, { timeout: 50_000 }).toBeGreaterThanOrEqual(QUESTIONS_OPEN_MAX);
    await new Promise((resolve) => setTimeout(resolve, 200));
    // One message more than that may have been read, or what one turn has brought.
    expect(asked).toBeLessThan(2 * QUESTIONS_OPEN_MAX);
    release();
    expect(await Promise.all(all)).toHaveLength(count);
  });

  it('takes up some of many questions in one turn, and none whose stream is over', async () => {
    let asked = 0;
    let inTurn = 0;
    let inTurnMost = 0;
    const stream = await serveWith(() => {
      asked++;
      if (inTurn++ === 0) setImmediate(() => (inTurn = 0));
      inTurnMost = Math.max(inTurnMost, inTurn);
      if (asked === 1_000) stream.close();
      return Promise.resolve();
    });
    const settled = await Promise.allSettled(askMany(stream, 5_000));
    expect(settled.at(-1)).toMatchObject({ status: 'rejected', reason: NOT_READY });
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(asked).toBeLessThan(3_000);
    // Two shares: what is left from one turn is taken up at the end of it, before the count begins again.
    expect(inTurnMost).toBeLessThanOrEqual(2 * QUESTIONS_A_TURN);
  });
});
