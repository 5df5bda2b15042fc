import { randomUUID } from 'node:crypto';
import type { Msg, NatsConnection, Subscription } from '@nats-io/nats-core';
import {
  answerFrom,
  type AnswerQuestion,
  answerTo,
  encodeQuestion,
  type NodeCalls,
  silent,
} from '../node-calls.ts';
import { encodeNodeId } from './bucket.ts';

const ASK_PREFIX = 'sallyport.ask.';
/** Answers have subjects of their own, so that a node may publish them and nothing else (deploy/nats/users.conf). */
const ANSWER_PREFIX = 'sallyport.answer.';
/** What a server says to whom it cannot find anybody for. */
const NO_RESPONDERS = 503;

interface Waiting {
  readonly resolve: (message: Msg) => void;
  readonly reject: (cause: unknown) => void;
}

export interface NatsNodeCallsOptions {
  /** The caller's, which stays open. */
  readonly connection: NatsConnection;
}

/** Calls as NATS requests, at most once. */
export class NatsNodeCalls implements NodeCalls {
  readonly #connection: NatsConnection;
  readonly #answers = `${ANSWER_PREFIX}${randomUUID()}`;
  readonly #waiting = new Map<string, Waiting>();
  #subscription: Subscription | undefined;
  #asked = 0;

  constructor({ connection }: NatsNodeCallsOptions) {
    this.#connection = connection;
  }

  async serve(nodeId: string, answer: AnswerQuestion): Promise<AsyncDisposable> {
    const subscription = this.#connection.subscribe(`${ASK_PREFIX}${encodeNodeId(nodeId)}`, {
      callback: (error, message) => {
        const to = message.reply;
        // Only where an answer may be wanted: whoever asks names the subject.
        if (error !== null || to?.startsWith(ANSWER_PREFIX) !== true) return;
        void answerTo(message.string(), answer).then((text) => {
          // Whoever asked hears nothing from a node that goes away.
          if (!this.#connection.isClosed()) this.#connection.publish(to, text);
        });
      },
    });
    await this.#connection.flush();
    return {
      [Symbol.asyncDispose]: async () => {
        subscription.unsubscribe();
      },
    };
  }

  async ask(nodeId: string, question: unknown, timeoutMs: number): Promise<unknown> {
    const text = encodeQuestion(question);
    this.#subscription ??= this.#connection.subscribe(`${this.#answers}.*`, {
      callback: (error, message) => {
        if (error === null) this.#waiting.get(message.subject)?.resolve(message);
      },
    });
    const reply = `${this.#answers}.${(this.#asked += 1)}`;
    let timer: NodeJS.Timeout | undefined;
    let message: Msg;
    try {
      message = await new Promise<Msg>((resolve, reject) => {
        this.#waiting.set(reply, { resolve, reject });
        timer = setTimeout(() => reject(new Error('no answer in time')), timeoutMs);
        this.#connection.publish(`${ASK_PREFIX}${encodeNodeId(nodeId)}`, text, { reply });
      });
    } catch (cause) {
      throw silent(nodeId, cause);
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(reply);
    }
    if (message.headers?.code === NO_RESPONDERS) throw silent(nodeId);
    return answerFrom(nodeId, message.string());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#subscription?.unsubscribe();
    for (const { reject } of this.#waiting.values()) reject(new Error('the calls are closed'));
    this.#waiting.clear();
  }
}
