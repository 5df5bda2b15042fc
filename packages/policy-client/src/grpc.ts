import {
  type ChannelCredentials,
  credentials as channelCredentials,
  Metadata,
  type ServiceError,
} from '@grpc/grpc-js';
import type { Revision } from '@sallyport/domain';
import { OperationalError } from '@sallyport/errors';
import { currentTraceparent, observe } from '@sallyport/telemetry';
import {
  AUTHORIZATION_KEY,
  ERROR_CODE_KEY,
  knownErrorCode,
  PolicyServiceClient,
  TRACEPARENT_KEY,
} from '@sallyport/wire';
import { bansAnswerFromWire } from './grpc-bans.ts';
import {
  authenticateAnswerFromWire,
  authenticateRequestToWire,
  explainAnswerFromWire,
  explainRequestToWire,
  resolveAnswerFromWire,
  resolveRequestToWire,
  scramFinalAnswerFromWire,
  scramFinalRequestToWire,
  scramFirstAnswerFromWire,
  scramFirstRequestToWire,
} from './grpc-convert.ts';
import { loginAnswerFromWire, loginRequestToWire } from './grpc-login.ts';
import type {
  AuthenticateAnswer,
  AuthenticateRequest,
  BansAnswer,
  ExplainAnswer,
  ExplainLoginAnswer,
  ExplainLoginRequest,
  ExplainRequest,
  ListenerTrustAnswer,
  LoginExplainer,
  PolicyClient,
  PolicyStatus,
  ResolveAnswer,
  ResolveRequest,
  ScramFinalAnswer,
  ScramFinalRequest,
  ScramFirstAnswer,
  ScramFirstRequest,
} from './policy-client.ts';
import { trustAnswerFromWire } from './trust-convert.ts';
import { TurnPace } from './turn-pace.ts';

export { type HandlerOptions, policyHandlers } from './grpc-handlers.ts';

/** Longest time for one attempt at one replica, in milliseconds; the service itself waits shorter for a revision. */
export const CALL_TIMEOUT_MS = 3_000;

/** Answers that are followed up in one turn of the event loop: a CONNECT each, and hundreds may come in one packet. */
export const ANSWERS_A_TURN = 32;

/** Largest answer, in bytes: a full batch of principals with policies of their own. */
export const MESSAGE_BYTES_MAX = 64 * 1024 * 1024;

export interface GrpcPolicyClientOptions {
  /** `host:port` of each replica. The first that works is used until it fails. */
  readonly endpoints: readonly string[];
  readonly token?: string;
  /** PEM; plain text when absent. `key` and `cert` prove the caller (mutual TLS). */
  readonly tls?: { readonly ca: Buffer; readonly key?: Buffer; readonly cert?: Buffer };
}

type Call<A> = (
  client: PolicyServiceClient,
  metadata: Metadata,
  options: { deadline: number },
  callback: (error: ServiceError | null, answer: A) => void,
) => void;

/** The policy service over gRPC. A replica that fails is left for the next one within the same call. */
export class GrpcPolicyClient implements PolicyClient, LoginExplainer {
  readonly #clients: readonly PolicyServiceClient[];
  readonly #token: string | undefined;
  #preferred = 0;
  readonly #pace = new TurnPace(ANSWERS_A_TURN);

  constructor(options: GrpcPolicyClientOptions) {
    if (options.endpoints.length === 0) {
      throw new OperationalError('config_invalid', 'policy.endpoints must name a replica');
    }
    const credentials = credentialsOf(options.tls);
    this.#token = options.token;
    this.#clients = options.endpoints.map(
      (endpoint) =>
        new PolicyServiceClient(endpoint, credentials, {
          'grpc.keepalive_time_ms': 10_000,
          'grpc.keepalive_timeout_ms': 2_000,
          'grpc.initial_reconnect_backoff_ms': 100,
          'grpc.max_reconnect_backoff_ms': 1_000,
          'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
          'grpc.use_local_subchannel_pool': 1,
          'grpc.enable_channelz': 0,
        }),
    );
  }

  async authenticate(request: AuthenticateRequest): Promise<AuthenticateAnswer> {
    const wire = authenticateRequestToWire(request);
    return authenticateAnswerFromWire(
      await this.#ask('authenticate', (client, ...rest) => client.authenticate(wire, ...rest)),
    );
  }

  async scramFirst(request: ScramFirstRequest): Promise<ScramFirstAnswer> {
    const wire = scramFirstRequestToWire(request);
    return scramFirstAnswerFromWire(
      await this.#ask('scramFirst', (client, ...rest) => client.scramFirst(wire, ...rest)),
    );
  }

  async scramFinal(request: ScramFinalRequest): Promise<ScramFinalAnswer> {
    const wire = scramFinalRequestToWire(request);
    return scramFinalAnswerFromWire(
      await this.#ask('scramFinal', (client, ...rest) => client.scramFinal(wire, ...rest)),
    );
  }

  async resolve(request: ResolveRequest): Promise<ResolveAnswer> {
    const wire = resolveRequestToWire(request);
    return resolveAnswerFromWire(
      await this.#ask('resolve', (client, ...rest) => client.resolvePolicy(wire, ...rest)),
    );
  }

  async explain(request: ExplainRequest): Promise<ExplainAnswer> {
    const wire = explainRequestToWire(request);
    return explainAnswerFromWire(
      await this.#ask('explain', (client, ...rest) => client.explain(wire, ...rest)),
    );
  }

  async explainLogin(request: ExplainLoginRequest): Promise<ExplainLoginAnswer> {
    const wire = loginRequestToWire(request);
    return loginAnswerFromWire(
      await this.#ask('explainLogin', (client, ...rest) => client.explainLogin(wire, ...rest)),
    );
  }

  async listenerTrust(request: { readonly minRevision: number }): Promise<ListenerTrustAnswer> {
    return trustAnswerFromWire(
      await this.#ask('listenerTrust', (client, ...rest) =>
        client.listListenerTrust({ minRevision: request.minRevision }, ...rest),
      ),
    );
  }

  status(): Promise<PolicyStatus> {
    return this.#ask('status', (client, ...rest) => client.status({}, ...rest));
  }

  async bans(minRevision: Revision): Promise<BansAnswer> {
    return bansAnswerFromWire(
      await this.#ask('bans', (client, ...rest) => client.listBans({ minRevision }, ...rest)),
    );
  }

  async #ask<A>(method: string, call: Call<A>): Promise<A> {
    const started = performance.now();
    let outcome = 'ok';
    try {
      return await this.#tryReplicas(call);
    } catch (error) {
      outcome = error instanceof OperationalError ? error.code : 'internal';
      throw error;
    } finally {
      const seconds = (performance.now() - started) / 1000;
      observe('sallyport.policy.requests', seconds, { method, outcome });
    }
  }

  async #tryReplicas<A>(call: Call<A>): Promise<A> {
    let failure: OperationalError | undefined;
    for (let attempt = 0; attempt < this.#clients.length; attempt++) {
      const index = this.#preferred;
      const client = this.#clients[index];
      if (client === undefined) break;
      try {
        return await this.#once(client, call);
      } catch (error) {
        failure = failureOf(error);
        // Another replica may know the revision, have free places, or just be there.
        if (!failure.retryable) throw failure;
        // Unless somebody else has moved on already.
        if (this.#preferred === index) this.#preferred = (index + 1) % this.#clients.length;
      }
    }
    throw failure ?? new OperationalError('policy_not_ready', 'there is no policy replica');
  }

  #once<A>(client: PolicyServiceClient, call: Call<A>): Promise<A> {
    const metadata = new Metadata();
    if (this.#token !== undefined) metadata.set(AUTHORIZATION_KEY, `Bearer ${this.#token}`);
    const traceparent = currentTraceparent();
    if (traceparent !== undefined) metadata.set(TRACEPARENT_KEY, traceparent);
    return new Promise((resolve, reject) => {
      call(client, metadata, { deadline: Date.now() + CALL_TIMEOUT_MS }, (error, answer) => {
        this.#pace.do(() => (error === null ? resolve(answer) : reject(error)));
      });
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) client.close();
    await Promise.resolve();
  }
}

function credentialsOf(tls: GrpcPolicyClientOptions['tls']): ChannelCredentials {
  if (tls === undefined) return channelCredentials.createInsecure();
  return channelCredentials.createSsl(tls.ca, tls.key ?? null, tls.cert ?? null);
}

/** Every failure of the transport means: no answer, so nothing is allowed. */
function failureOf(error: unknown): OperationalError {
  if (error instanceof OperationalError) return error;
  const { metadata, details } = error as Partial<ServiceError>; // grpc-js rejects with a ServiceError.
  const [text] = metadata?.get(ERROR_CODE_KEY) ?? [];
  const code = knownErrorCode(typeof text === 'string' ? text : undefined) ?? 'policy_not_ready';
  return new OperationalError(code, `policy service: ${details ?? 'no answer'}`, { cause: error });
}
