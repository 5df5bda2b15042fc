import type { ServerDuplexStream } from '@grpc/grpc-js';
import { Metadata } from '@grpc/grpc-js';
import type { ErrorCode } from '@sallyport/errors';
import { withSpan } from '@sallyport/telemetry';
import {
  encodeAnswer,
  required,
  type WireAuthenticateRequest,
  type WireAuthenticateResponse,
  type WireDecideRequest,
  type WireDecideResponse,
  type WireQuestion,
} from '@sallyport/wire';
import { statusOf } from './grpc-failure.ts';
import { MessagePile } from './message-pile.ts';
import { TurnPace } from './turn-pace.ts';

/** Questions of one stream that are not answered, or whose answers are not read, from which on no more are read. */
export const QUESTIONS_OPEN_MAX = 4_096;

/** Questions of all streams that are taken up in one turn of the event loop: a message may bring hundreds, and a turn must stay short. */
export const QUESTIONS_A_TURN = 32;

type Call = ServerDuplexStream<WireDecideRequest, WireDecideResponse>;

export interface DecideOptions {
  readonly authenticate: (request: WireAuthenticateRequest) => Promise<WireAuthenticateResponse>;
  /** Throws for whoever may not ask. */
  readonly admit: (call: Call) => void;
  /** What is said of an error. */
  readonly codeOf: (error: unknown) => ErrorCode;
}

/** The service's ends of all streams of decisions. */
export class DecideStreams {
  readonly #options: DecideOptions;
  readonly #open = new Set<DecideStream>();
  readonly #pace = new TurnPace(QUESTIONS_A_TURN);
  #draining = false;

  constructor(options: DecideOptions) {
    this.#options = options;
  }

  serve(call: Call): void {
    try {
      this.#options.admit(call);
    } catch (error) {
      call.emit('error', statusOf(this.#options.codeOf(error)));
      return;
    }
    // The caller's side keeps what it has written until then, in case that it must write it again.
    call.sendMetadata(new Metadata());
    const stream = new DecideStream(call, {
      ...this.#options,
      pace: this.#pace,
      onOver: () => this.#open.delete(stream),
    });
    this.#open.add(stream);
    if (this.#draining) stream.end();
  }

  /** Ends every stream behind the answers to what was read on it. */
  drain(): void {
    this.#draining = true;
    for (const stream of this.#open) stream.end();
  }
}

interface StreamOptions extends DecideOptions {
  readonly pace: TurnPace;
  readonly onOver: () => void;
}

class DecideStream {
  readonly #call: Call;
  readonly #options: StreamOptions;
  readonly #pile: MessagePile;
  #unanswered = 0;
  #state: 'open' | 'ending' | 'over' = 'open';

  constructor(call: Call, options: StreamOptions) {
    this.#call = call;
    this.#options = options;
    this.#pile = new MessagePile(call, () => this.#goOn());
    call.on('data', ({ questions }: WireDecideRequest) => {
      this.#unanswered += questions.length;
      for (const question of questions) options.pace.do(() => void this.#answer(question), this);
      if (this.#isFull()) call.pause();
    });
    call.on('end', () => this.end());
    call.on('cancelled', () => this.#finish());
    call.on('close', () => this.#finish());
  }

  end(): void {
    if (this.#state === 'open') this.#state = 'ending';
    this.#goOn();
  }

  #finish(): void {
    this.#state = 'over';
    this.#pile.close();
    this.#options.pace.forget(this);
    this.#options.onOver();
  }

  async #answer({ id, authenticate, traceparent }: WireQuestion): Promise<void> {
    // Nobody waits for it any more.
    if (this.#state === 'over') return;
    let answer: Buffer;
    try {
      const options = { kind: 'server', parent: traceparent } as const;
      const value = await withSpan('policy.authenticate', options, () =>
        this.#options.authenticate(required(authenticate, 'authenticate')),
      );
      answer = encodeAnswer({ id, outcome: { $case: 'authenticate', value } });
    } catch (error) {
      const value = this.#options.codeOf(error);
      answer = encodeAnswer({ id, outcome: { $case: 'errorCode', value } });
    }
    this.#unanswered--;
    this.#pile.add(answer);
    this.#goOn();
  }

  #isFull(): boolean {
    return this.#unanswered + this.#pile.size >= QUESTIONS_OPEN_MAX;
  }

  #goOn(): void {
    if (this.#state === 'ending' && this.#unanswered === 0) this.#pile.end();
    else if (this.#call.isPaused() && !this.#isFull()) this.#call.resume();
  }
}
