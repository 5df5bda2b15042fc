import { OperationalError } from '@sallyport/errors';

/** Largest question, in bytes of JSON. */
export const QUESTION_BYTES_MAX = 16 * 1024;

/** Largest answer, in bytes of JSON; the bus' server takes a little more. */
export const ANSWER_BYTES_MAX = 1_500_000;

/** Answers a question about one node, at once or later. A question is of another process, and perhaps of another version: nothing of it is trusted. */
export type AnswerQuestion = (question: unknown) => unknown;

/**
 * Questions to broker nodes by their name, for what only the node knows: its connections. Questions and answers are JSON. Nothing that
 * decides goes this way: a question may get lost.
 */
export interface NodeCalls extends AsyncDisposable {
  /** Answers what is asked of a node, until what is answered is disposed. */
  serve(nodeId: string, answer: AnswerQuestion): Promise<AsyncDisposable>;

  /**
   * @throws OperationalError `node_silent` when no answer comes in time; the code that the node's `answer` threw;
   * `invalid_request` for a question that is too large
   */
  ask(nodeId: string, question: unknown, timeoutMs: number): Promise<unknown>;
}

export const silent = (nodeId: string, cause?: unknown): OperationalError =>
  new OperationalError('node_silent', `node ${nodeId} does not answer`, { cause });

/** @throws OperationalError `invalid_request` */
export function encodeQuestion(question: unknown): string {
  const text = JSON.stringify(question);
  if (Buffer.byteLength(text) > QUESTION_BYTES_MAX) {
    throw new OperationalError('invalid_request', 'the question is too large');
  }
  return text;
}

/** What goes back: the answer, or why there is none. Never throws. */
export async function answerTo(text: string, answer: AnswerQuestion): Promise<string> {
  try {
    const encoded = JSON.stringify({ answer: await answer(JSON.parse(text)) });
    if (Buffer.byteLength(encoded) <= ANSWER_BYTES_MAX) return encoded;
    return JSON.stringify({ error: 'invalid_request' });
  } catch (error) {
    const code = error instanceof OperationalError ? error.code : 'internal';
    return JSON.stringify({ error: code });
  }
}

/** @throws OperationalError the code that the node tells; `internal` for what is no answer */
export function answerFrom(nodeId: string, text: string): unknown {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    parsed = undefined;
  }
  const told = typeof parsed === 'object' && parsed !== null ? parsed : {};
  // An answer of nothing is left out of JSON.
  if (!('error' in told) && parsed !== undefined) return 'answer' in told ? told.answer : undefined;
  const isInvalid = 'error' in told && told.error === 'invalid_request';
  const code = isInvalid ? 'invalid_request' : 'internal';
  throw new OperationalError(code, `node ${nodeId} cannot answer`);
}
