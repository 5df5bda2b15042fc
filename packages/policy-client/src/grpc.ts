import {
  type ChannelCredentials,
  credentials as channelCredentials,
  Metadata,
  type ServiceError,
} from '@grpc/grpc-js';
import type { Revision } from '@sallyport/domain';
import { OperationalError } from '@sallyport/errors';
import { currentTraceparent, observe } from '@sallyport/telemetry';
import { AUTHORIZATION_KEY, PolicyServiceClient, TRACEPARENT_KEY } from '@sallyport/wire';
import { CALL_TIMEOUT_MS } from './decision-stream.ts';
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
import { failureOf } from './grpc-failure.ts';
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
import { Replica } from './replica.ts';
import { trustAnswerFromWire } from './trust-convert.ts';
import { TurnPace } from './turn-pace.ts';

export { type HandlerOptions, type PolicyHandlers, policyHandlers } from './grpc-handlers.ts';

/** Answers that are followed up in one turn of the event loop: a CONNECT each, and hundreds may come in one packet. */
export const ANSWERS_A_TURN = 32;

/** Largest answer, in bytes: a full batch of principals with policies of their own. */
export const MESSAGE_BYTES_MAX = 64 * 1024 * 1024;

/** Bytes of answers that may be on their way: all decisions share one stream, and each may bring a policy. */
const FLOW_CONTROL_WINDOW_BYTES = 1024 * 1024;

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
  readonly #replicas: readonly Replica[];
  readonly #token: string | undefined;
  #preferred = 0;
  readonly #pace = new TurnPace(ANSWERS_A_TURN);

  constructor(options: GrpcPolicyClientOptions) {
    if (options.endpoints.length === 0) {
      throw new OperationalError('config_invalid', 'policy.endpoints must name a replica');
    }
    const credentials = credentialsOf(options.tls);
    this.#token = options.token;
    this.#replicas = options.endpoints.map((endpoint) => {
      const client = new PolicyServiceClient(endpoint, credentials, {
        'grpc.keepalive_time_ms': 10_000,
        'grpc.keepalive_timeout_ms': 2_000,
        'grpc.initial_reconnect_backoff_ms': 100,
        'grpc.max_reconnect_backoff_ms': 1_000,
        'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
        'grpc.use_local_subchannel_pool': 1,
        'grpc.enable_channelz': 0,
        'grpc-node.flow_control_window': FLOW_CONTROL_WINDOW_BYTES,
      });
      const metadata = (): Metadata => this.#metadata();
      return new Replica({ client, metadata, pace: this.#pace, clock: () => performance.now() });
    });
  }

  /** As a message on a stream, unlike the rest: each client that connects and is not known asks for it. */
  async authenticate(request: AuthenticateRequest): Promise<AuthenticateAnswer> {
    const wire = authenticateRequestToWire(request);
    return authenticateAnswerFromWire(
      await this.#measured('authenticate', (replica) =>
        replica.decide(wire, () =>
          this.#once(replica, (client, ...rest) => client.authenticate(wire, ...rest)),
        ),
      ),
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

  #ask<A>(method: string, call: Call<A>): Promise<A> {
    return this.#measured(method, (replica) => this.#once(replica, call));
  }

  async #measured<A>(method: string, ask: (replica: Replica) => Promise<A>): Promise<A> {
    const started = performance.now();
    let outcome = 'ok';
    try {
      return await this.#tryReplicas(ask);
    } catch (error) {
      outcome = error instanceof OperationalError ? error.code : 'internal';
      throw error;
    } finally {
      const seconds = (performance.now() - started) / 1000;
      observe('sallyport.policy.requests', seconds, { method, outcome });
    }
  }

  async #tryReplicas<A>(ask: (replica: Replica) => Promise<A>): Promise<A> {
    let failure: OperationalError | undefined;
    for (let attempt = 0; attempt < this.#replicas.length; attempt++) {
      const index = this.#preferred;
      const replica = this.#replicas[index];
      if (replica === undefined) break;
      try {
        return await ask(replica);
      } catch (error) {
        failure = failureOf(error);
        // Another replica may know the revision, have free places, or just be there.
        if (!failure.retryable) throw failure;
        // Unless somebody else has moved on already.
        if (this.#preferred === index) this.#preferred = (index + 1) % this.#replicas.length;
      }
    }
    throw failure ?? new OperationalError('policy_not_ready', 'there is no policy replica');
  }

  #metadata(): Metadata {
    const metadata = new Metadata();
    if (this.#token !== undefined) metadata.set(AUTHORIZATION_KEY, `Bearer ${this.#token}`);
    return metadata;
  }

  #once<A>({ client }: Replica, call: Call<A>): Promise<A> {
    const metadata = this.#metadata();
    const traceparent = currentTraceparent();
    if (traceparent !== undefined) metadata.set(TRACEPARENT_KEY, traceparent);
    return new Promise((resolve, reject) => {
      call(client, metadata, { deadline: Date.now() + CALL_TIMEOUT_MS }, (error, answer) => {
        this.#pace.do(() => (error === null ? resolve(answer) : reject(error)));
      });
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const replica of this.#replicas) replica.close();
    await Promise.resolve();
  }
}

function credentialsOf(tls: GrpcPolicyClientOptions['tls']): ChannelCredentials {
  if (tls === undefined) return channelCredentials.createInsecure();
  return channelCredentials.createSsl(tls.ca, tls.key ?? null, tls.cert ?? null);
}
