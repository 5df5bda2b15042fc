import type { Metadata } from '@grpc/grpc-js';
import { currentTraceparent } from '@sallyport/telemetry';
import {
  openDecideStream,
  type PolicyServiceClient,
  type WireAuthenticateRequest,
  type WireAuthenticateResponse,
} from '@sallyport/wire';
import { DecisionStream } from './decision-stream.ts';
import { isUnimplemented } from './grpc-failure.ts';
import type { TurnPace } from './turn-pace.ts';

/** For how long a replica that does not know the stream is asked by calls; meanwhile a newer one may have taken its place. */
export const STREAM_RETRY_MS = 60_000;

/** One replica of the policy service, and the stream of decisions from it: opened when it is needed, and again when it has broken. */
export class Replica {
  readonly client: PolicyServiceClient;
  readonly #pace: TurnPace;
  readonly #metadata: () => Metadata;
  readonly #clock: () => number;
  #stream: DecisionStream | undefined;
  #unknownUntil = -Infinity;

  constructor(options: {
    readonly client: PolicyServiceClient;
    readonly pace: TurnPace;
    /** Tells the service who opens a stream. */
    readonly metadata: () => Metadata;
    /** Milliseconds, from anywhere. */
    readonly clock: () => number;
  }) {
    this.client = options.client;
    this.#pace = options.pace;
    this.#metadata = options.metadata;
    this.#clock = options.clock;
  }

  /** By the stream; by `call` where the replica is older than that. */
  async decide(
    request: WireAuthenticateRequest,
    call: () => Promise<WireAuthenticateResponse>,
  ): Promise<WireAuthenticateResponse> {
    if (this.#clock() < this.#unknownUntil) return call();
    try {
      return await this.#opened().ask(request, currentTraceparent());
    } catch (error) {
      if (!isUnimplemented(error)) throw error;
      this.#unknownUntil = this.#clock() + STREAM_RETRY_MS;
      return call();
    }
  }

  #opened(): DecisionStream {
    if (this.#stream?.open !== true) {
      const stream = openDecideStream(this.client, this.#metadata());
      this.#stream = new DecisionStream({ stream, pace: this.#pace });
    }
    return this.#stream;
  }

  close(): void {
    this.#stream?.close();
    this.client.close();
  }
}
