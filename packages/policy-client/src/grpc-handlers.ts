import { timingSafeEqual } from 'node:crypto';
import {
  type handleUnaryCall,
  Metadata,
  type sendUnaryData,
  type ServerUnaryCall,
  type StatusObject,
} from '@grpc/grpc-js';
import { errorFacts, OperationalError } from '@sallyport/errors';
import { type SpanName, withSpan } from '@sallyport/telemetry';
import {
  AUTHORIZATION_KEY,
  ERROR_CODE_KEY,
  grpcStatus,
  type PolicyServiceServer,
  TRACEPARENT_KEY,
} from '@sallyport/wire';
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
import { loginAnswerToWire, loginRequestFromWire } from './grpc-login.ts';
import type { LoginExplainer, PolicyClient } from './policy-client.ts';
import { trustAnswerToWire } from './trust-convert.ts';

export interface HandlerOptions {
  /** Callers must send it as `authorization: Bearer …`; undefined where mutual TLS has told who calls. */
  readonly token: string | undefined;
  /** Told of every failure that is not the caller's, with the driver's error as its cause. */
  readonly onError: (error: unknown) => void;
}

/** The gRPC service in front of a policy service: decode, ask, encode. */
export function policyHandlers(
  policy: PolicyClient & LoginExplainer,
  options: HandlerOptions,
): PolicyServiceServer {
  const unary =
    <Q, A>(name: SpanName, ask: (request: Q) => Promise<A>): handleUnaryCall<Q, A> =>
    (call, callback) => {
      void answer(call, callback, name, ask, options);
    };
  return {
    authenticate: unary('policy.authenticate', async (wire) =>
      authenticateAnswerToWire(await policy.authenticate(authenticateRequestFromWire(wire))),
    ),
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
    const known = error instanceof OperationalError ? error : undefined;
    if (known === undefined || errorFacts[known.code].http >= 500) options.onError(error);
    callback(statusOf(known));
  }
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

/** What the caller is told: our code and its title, never the text of an error. */
function statusOf(error: OperationalError | undefined): Partial<StatusObject> {
  const code = error?.code ?? 'internal';
  const metadata = new Metadata();
  metadata.set(ERROR_CODE_KEY, code);
  return { code: grpcStatus(errorFacts[code].grpc), details: errorFacts[code].title, metadata };
}
