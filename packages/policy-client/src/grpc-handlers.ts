import { timingSafeEqual } from 'node:crypto';
import {
  type handleUnaryCall,
  type Metadata,
  type sendUnaryData,
  type ServerUnaryCall,
} from '@grpc/grpc-js';
import { type ErrorCode, errorFacts, OperationalError } from '@sallyport/errors';
import { type SpanName, withSpan } from '@sallyport/telemetry';
import {
  AUTHORIZATION_KEY,
  type PolicyServiceServer,
  TRACEPARENT_KEY,
  type WireAuthenticateRequest,
  type WireAuthenticateResponse,
} from '@sallyport/wire';
import { DecideStreams } from './decide-streams.ts';
import { bansAnswerToWire } from './grpc-bans.ts';
import {
  authenticateAnswerToWire,
  authenticateRequestFromWire,
  explainAnswerToWire,
  explainRequestFromWire,
  resolveAnswerToWire,
  resolveRequestFromWire,
  scramFinalAnswerToWire,
  scramFinalRequestFromWire,
  scramFirstAnswerToWire,
  scramFirstRequestFromWire,
} from './grpc-convert.ts';
import { statusOf } from './grpc-failure.ts';
import { loginAnswerToWire, loginRequestFromWire } from './grpc-login.ts';
import type { LoginExplainer, PolicyClient } from './policy-client.ts';
import { trustAnswerToWire } from './trust-convert.ts';

export interface HandlerOptions {
  /** Callers must send it as `authorization: Bearer …`; undefined where mutual TLS has told who calls. */
  readonly token: string | undefined;
  /** Told of every failure that is not the caller's, with the driver's error as its cause. */
  readonly onError: (error: unknown) => void;
}

export interface PolicyHandlers {
  /** For `policyServiceDefinition`. */
  readonly implementation: PolicyServiceServer;
  /** Answers what was asked on streams, and ends them: they would be open for as long as their callers live. */
  drain(): void;
}

/** The gRPC service in front of a policy service: decode, ask, encode. */
export function policyHandlers(
  policy: PolicyClient & LoginExplainer,
  options: HandlerOptions,
): PolicyHandlers {
  const unary =
    <Q, A>(name: SpanName, ask: (request: Q) => Promise<A>): handleUnaryCall<Q, A> =>
    (call, callback) => {
      void answer(call, callback, name, ask, options);
    };
  const authenticate = async (wire: WireAuthenticateRequest): Promise<WireAuthenticateResponse> =>
    authenticateAnswerToWire(await policy.authenticate(authenticateRequestFromWire(wire)));
  const streams = new DecideStreams({
    authenticate,
    admit: ({ metadata }) => {
      if (options.token !== undefined) checkToken(metadata, options.token);
    },
    codeOf: (error) => codeOf(error, options),
  });
  const implementation: PolicyServiceServer = {
    authenticate: unary('policy.authenticate', authenticate),
    decide: (call) => streams.serve(call),
    scramFirst: unary('policy.scram_first', async (wire) =>
      scramFirstAnswerToWire(await policy.scramFirst(scramFirstRequestFromWire(wire))),
    ),
    scramFinal: unary('policy.scram_final', async (wire) =>
      scramFinalAnswerToWire(await policy.scramFinal(scramFinalRequestFromWire(wire))),
    ),
    resolvePolicy: unary('policy.resolve', async (wire) =>
      resolveAnswerToWire(await policy.resolve(resolveRequestFromWire(wire))),
    ),
    explain: unary('policy.explain', async (wire) =>
      explainAnswerToWire(await policy.explain(explainRequestFromWire(wire))),
    ),
    explainLogin: unary('policy.explain_login', async (wire) =>
      loginAnswerToWire(await policy.explainLogin(loginRequestFromWire(wire))),
    ),
    listListenerTrust: unary('policy.listener_trust', async ({ minRevision }) =>
      trustAnswerToWire(await policy.listenerTrust({ minRevision })),
    ),
    status: unary('policy.status', () => policy.status()),
    listBans: unary('policy.bans', async ({ minRevision }) =>
      bansAnswerToWire(await policy.bans(minRevision)),
    ),
  };
  return { implementation, drain: () => streams.drain() };
}

async function answer<Q, A>(
  call: ServerUnaryCall<Q, A>,
  callback: sendUnaryData<A>,
  name: SpanName,
  ask: (request: Q) => Promise<A>,
  options: HandlerOptions,
): Promise<void> {
  try {
    if (options.token !== undefined) checkToken(call.metadata, options.token);
    const parent = textOf(call.metadata, TRACEPARENT_KEY);
    const reply = await withSpan(name, { kind: 'server', parent }, () => ask(call.request));
    callback(null, reply);
  } catch (error) {
    callback(statusOf(codeOf(error, options)));
  }
}

/** What the caller is told of it; whoever looks after the service, more. */
function codeOf(error: unknown, { onError }: HandlerOptions): ErrorCode {
  const known = error instanceof OperationalError ? error : undefined;
  if (known === undefined || errorFacts[known.code].http >= 500) onError(error);
  return known?.code ?? 'internal';
}

function checkToken(metadata: Metadata, token: string): void {
  const expected = Buffer.from(`Bearer ${token}`);
  const found = Buffer.from(textOf(metadata, AUTHORIZATION_KEY) ?? '');
  if (expected.length !== found.length || !timingSafeEqual(expected, found)) {
    throw new OperationalError('unauthenticated', 'a gRPC call came without the token');
  }
}

function textOf(metadata: Metadata, key: string): string | undefined {
  const [value] = metadata.get(key);
  return typeof value === 'string' ? value : undefined;
}
