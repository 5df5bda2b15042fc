import type { ClientDuplexStream } from '@grpc/grpc-js';
import { errorFacts, OperationalError } from '@sallyport/errors';
import {
  encodeQuestion,
  knownErrorCode,
  required,
  type WireAnswer,
  type WireAuthenticateRequest,
  type WireAuthenticateResponse,
  type WireDecideResponse,
} from '@sallyport/wire';
import { failure, failureOf } from './grpc-failure.ts';
import { MessagePile } from './message-pile.ts';
import type { TurnPace } from './turn-pace.ts';

/** Longest wait for an answer of one replica, in milliseconds; the service itself waits shorter for a revision. */
export const CALL_TIMEOUT_MS = 3_000;

/** Most questions without an answer on one stream; one more fails at once. More than a replica answers in the time that each has. */
export const QUESTIONS_MAX = 16_384;

const ID_MAX = 0xffff_ffff;

interface Waiting {
  readonly askedAt: number;
  readonly resolve: (answer: WireAuthenticateResponse) => void;
  readonly reject: (error: OperationalError) => void;
}

/** One stream of decisions: questions go out, answers come in any order, and each question has its own time. */
export class DecisionStream {
  readonly #stream: ClientDuplexStream<Buffer, WireDecideResponse>;
  readonly #pile: MessagePile;
  readonly #pace: TurnPace;
  readonly #timeoutMs: number;
  /** In the order in which they were asked, which is that in which their time is over. */
  readonly #waiting = new Map<number, Waiting>();
  #lastId = 0;
  #answeredAt = -Infinity;
  #timer: NodeJS.Timeout | undefined;
  #state: 'open' | 'retired' | 'over' = 'open';

  constructor({
    stream,
    pace,
    timeoutMs = CALL_TIMEOUT_MS,
  }: {
    readonly stream: ClientDuplexStream<Buffer, WireDecideResponse>;
    /** At which answers are followed up. */
    readonly pace: TurnPace;
    readonly timeoutMs?: number;
  }) {
    this.#stream = stream;
    this.#pace = pace;
    this.#timeoutMs = timeoutMs;
    this.#pile = new MessagePile(stream);
    stream.on('data', ({ answers }: WireDecideResponse) => this.#hear(answers));
    stream.on('error', (error) => this.#finish(failureOf(error)));
    // The service wants to stop, and has answered all that it has read.
    stream.on('end', () => this.#finish(failure(undefined, 'the stream has ended')));
  }

  /** Whether more may be asked here. */
  get open(): boolean {
    return this.#state === 'open';
  }

  /** @throws OperationalError when there is no answer in time, or the service has one of its errors for it */
  ask(
    authenticate: WireAuthenticateRequest,
    traceparent: string | undefined,
  ): Promise<WireAuthenticateResponse> {
    return new Promise((resolve, reject) => {
      if (this.#waiting.size >= QUESTIONS_MAX) {
        reject(failure(undefined, `${QUESTIONS_MAX} questions wait for an answer`));
        return;
      }
      this.#lastId = (this.#lastId % ID_MAX) + 1;
      const question = encoded({ id: this.#lastId, authenticate, traceparent });
      this.#waiting.set(this.#lastId, { askedAt: performance.now(), resolve, reject });
      this.#timer ??= setTimeout(this.#expire, this.#timeoutMs);
      this.#pile.add(question);
    });
  }

  /** Whoever waits is told that there is no answer. */
  close(): void {
    this.#finish(failure(undefined, 'the client is closed'));
    this.#stream.cancel();
  }

  #hear(answers: readonly WireAnswer[]): void {
    this.#answeredAt = performance.now();
    for (const answer of answers) {
      const waiting = this.#waiting.get(answer.id);
      // Its time was over, and whoever asked has gone on.
      if (waiting === undefined) continue;
      this.#waiting.delete(answer.id);
      this.#pace.do(() => settle(waiting, answer));
    }
    this.#closeWhenUnused();
  }

  /** One timer for all: a timer for each would be a good part of what a decision costs. */
  readonly #expire = (): void => {
    this.#timer = undefined;
    const now = performance.now();
    for (const [id, { askedAt, reject }] of this.#waiting) {
      const left = askedAt + this.#timeoutMs - now;
      if (left > 0) {
        this.#timer = setTimeout(this.#expire, Math.ceil(left));
        break;
      }
      this.#waiting.delete(id);
      // Nothing at all has come since: what is asked next goes on a stream of its own, in case that this one is stuck.
      if (this.#answeredAt < askedAt && this.#state === 'open') this.#state = 'retired';
      reject(failure(undefined, `no answer within ${this.#timeoutMs} ms`));
    }
    this.#closeWhenUnused();
  };

  #closeWhenUnused(): void {
    if (this.#state !== 'retired' || this.#waiting.size > 0) return;
    this.#finish(failure(undefined, 'no answer'));
    this.#stream.cancel();
  }

  #finish(error: OperationalError): void {
    if (this.#state === 'over') return;
    this.#state = 'over';
    this.#pile.close();
    clearTimeout(this.#timer);
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject } of waiting) this.#pace.do(() => reject(error));
  }
}

/** What cannot be written must not be blamed on a replica. */
function encoded(question: Parameters<typeof encodeQuestion>[0]): Buffer {
  try {
    return encodeQuestion(question);
  } catch (cause) {
    throw new OperationalError('invalid_request', 'a question cannot be encoded', { cause });
  }
}

function settle({ resolve, reject }: Waiting, { outcome }: WireAnswer): void {
  if (outcome?.$case !== 'errorCode') {
    try {
      resolve(required(outcome, 'outcome').value);
    } catch (error) {
      reject(failureOf(error));
    }
    return;
  }
  const code = knownErrorCode(outcome.value) ?? 'policy_not_ready';
  reject(failure(code, errorFacts[code].title));
}
