import {
  answerFrom,
  type AnswerQuestion,
  answerTo,
  encodeQuestion,
  type NodeCalls,
  silent,
} from './node-calls.ts';

/** The calls of one process, which is all nodes there are. Through the same text as between processes. */
export class LocalNodeCalls implements NodeCalls {
  readonly #served = new Map<string, AnswerQuestion>();

  async serve(nodeId: string, answer: AnswerQuestion): Promise<AsyncDisposable> {
    this.#served.set(nodeId, answer);
    return {
      [Symbol.asyncDispose]: async () => {
        if (this.#served.get(nodeId) === answer) this.#served.delete(nodeId);
      },
    };
  }

  async ask(nodeId: string, question: unknown): Promise<unknown> {
    const text = encodeQuestion(question);
    const answer = this.#served.get(nodeId);
    if (answer === undefined) throw silent(nodeId);
    return answerFrom(nodeId, await answerTo(text, answer));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#served.clear();
  }
}
