import { errorFacts, OperationalError } from '@sallyport/errors';
import { NAME_BYTES_MAX, type Revision } from '@sallyport/domain';
import type { ConnectRefusal } from '@sallyport/mqtt-session';
import type {
  Admission,
  Admitted,
  ConnectProof,
  PolicyCache,
  RefusalReason,
} from '@sallyport/policy-client';
import { type Facts, PLAIN_TERMS, type Terms } from '@sallyport/rules';
import { attributes, count, type LogThrottle, withSpan } from '@sallyport/telemetry';
import { parseTopicName, textProblem, utf8Bytes } from '@sallyport/topic';
import type { DecidedBy, Doorkeeper } from '../access/doorkeeper.ts';
import { LiveSession, type LiveSessions } from '../access/live-sessions.ts';
import type { SecretUses } from '../access/secret-uses.ts';
import type { SessionPlaces } from '../access/session-places.ts';
import { type ClientCertificate, identityOf } from '../listeners/client-certificate.ts';

/** Longest password of a CONNECT, in bytes. */
export const PASSWORD_BYTES_MAX = 4096;

/**
 * Longest wait for a change that another node has announced before a CONNECT is decided by what this one has heard of.
 * @source compat C7
 */
export const ANNOUNCED_WAIT_MS = 500;

/** Most answers of the cache that are stale before the connection is even admitted. */
const ADMISSION_ATTEMPTS_MAX = 5;

/** What a CONNECT packet says, and where it came from. */
export interface ConnectRequest {
  readonly clientId: string;
  /** Whether it was made up for a client that has sent none. Absent: no. */
  readonly clientIdAssigned?: boolean | undefined;
  readonly username: string | undefined;
  readonly password: Uint8Array | undefined;
  readonly willTopic: string | undefined;
  /** Absent without a will. */
  readonly willTerms?: Terms | undefined;
  readonly listener: string;
  readonly peer: string;
  /** What the listener found in the client's certificate. */
  readonly certificate?: ClientCertificate | undefined;
}

export type ConnectVerdict = 'accept' | ConnectRefusal;

export interface ConnectAnswer {
  readonly verdict: ConnectVerdict;
  /** Present exactly when accepted; it is among the live sessions already, and must be removed when the connection ends. */
  readonly session?: LiveSession;
}

export interface AuthenticateContext {
  readonly cache: PolicyCache;
  readonly sessions: LiveSessions;
  readonly door: Doorkeeper;
  readonly uses: Pick<SecretUses, 'note'>;
  readonly places: Pick<SessionPlaces, 'take' | 'renew' | 'leave'>;
  /** Listeners that never say that it is the credentials: `not_authorized` in place of `bad_credentials`. None when absent. */
  readonly hidesBadCredentials?: ((listener: string) => boolean) | undefined;
  /** Listeners that say it of known clients only: `not_authorized` to those that nobody knows. None when absent. */
  readonly tellsUnknownClients?: ((listener: string) => boolean) | undefined;
  /** Listeners that refuse unasked whoever gives no name and shows no certificate. None when absent. */
  readonly wantsNames?: ((listener: string) => boolean) | undefined;
  /** What of a listener is a fact of its connections; nothing when absent. */
  readonly listenerFacts?: ((listener: string) => Pick<Facts, 'zone' | 'open'>) | undefined;
  /** Why nobody may be let in now. */
  readonly staleness: () => string | undefined;
  /** What becomes of a filter of which only a part is allowed, on this listener; refused when absent. */
  readonly partialSubscribe?: (listener: string) => 'refuse' | 'filter';
  /** The newest revision that any node has announced. */
  readonly announced: () => Revision;
  readonly logger: LogThrottle;
}

/**
 * What happens on CONNECT. Never throws: whatever cannot be decided is refused. Who is known is answered at once: a promise for each of
 * them would be a good part of a storm of reconnects.
 */
export function authenticate(
  context: AuthenticateContext,
  request: ConnectRequest,
  close: (reason: string) => void,
): ConnectAnswer | Promise<ConnectAnswer> {
  return withSpan('mqtt.connect', { kind: 'server' }, (span) => {
    const decided = decide(context, request, close);
    const outcome =
      decided instanceof Promise
        ? decided.then((later) => placed(context, later))
        : placed(context, decided);
    return outcome instanceof Promise
      ? outcome.then((later) => tell(context, request, later, span))
      : tell(context, request, outcome, span);
  });
}

/** The counter, the trace, and of a refusal the log and those who look. */
function tell(
  { door, logger }: AuthenticateContext,
  request: ConnectRequest,
  { answer, source, reason, by }: Outcome,
  span: { setAttribute(key: string, value: string | number): unknown },
): ConnectAnswer {
  count('sallyport.connects', { outcome: answer.verdict, source });
  span.setAttribute(attributes.outcome, answer.verdict);
  if (answer.verdict !== 'accept') {
    door.refused(request, reason ?? answer.verdict);
    const { clientId, username, listener, peer } = request;
    if (by?.ruleId !== undefined) span.setAttribute(attributes.ruleId, by.ruleId);
    if (by !== undefined) span.setAttribute(attributes.policyRevision, by.revision);
    const fields = { reason, clientId, username, listener, peer, ...by };
    logger.info(`connect ${reason}`, fields, 'connect refused');
  }
  return answer;
}

export interface Outcome {
  readonly answer: ConnectAnswer;
  readonly source: 'cache' | 'policy' | 'none';
  readonly reason?: string;
  /** The ban, the credential, the chain or the rule that refuses, where there is one. */
  readonly by?: DecidedBy;
}

const refused = (
  verdict: ConnectVerdict,
  reason: string,
  source: Outcome['source'] = 'none',
  by?: DecidedBy,
): Outcome => ({ answer: { verdict }, source, reason, ...(by && { by }) });

function decide(
  context: AuthenticateContext,
  request: ConnectRequest,
  close: (reason: string) => void,
): Outcome | Promise<Outcome> {
  const malformed = requestProblem(request);
  if (malformed !== undefined) return refused('not_authorized', malformed);
  const staleness = context.staleness();
  if (staleness !== undefined) return refused('server_unavailable', staleness);
  const objection = context.door.objection(request);
  if (objection !== undefined) {
    return refused(objection.verdict, objection.reason, 'none', objection.by);
  }
  if (isNameless(context, request)) return refused('not_authorized', 'nameless');
  const proof = { facts: factsOf(request, context), password: request.password };
  if (context.announced() > context.cache.revision) {
    return caughtUp(context).then(() => {
      return decideLater(context, request, proof, context.cache.cached(proof), close);
    });
  }
  const known = context.cache.cached(proof);
  // A pinned session must not miss what was not heard of yet, either.
  if (known === undefined || known.policy.applyMode === 'pinned') {
    return decideLater(context, request, proof, known, close);
  }
  count('sallyport.policy.cache', { result: 'hit' });
  return enter(context, request, known, 'cache', close);
}

/** Whether somebody is refused for not even saying who they are. */
const isNameless = (
  { wantsNames }: AuthenticateContext,
  { listener, username = '', certificate }: ConnectRequest,
): boolean => username === '' && certificate === undefined && wantsNames?.(listener) === true;

/** Who was told that a change is made, by any node, is not judged by what was before it on this one. */
export async function caughtUp({
  announced,
  cache,
}: Pick<AuthenticateContext, 'announced' | 'cache'>): Promise<void> {
  const newest = announced();
  if (newest > cache.revision) await cache.reached(newest, ANNOUNCED_WAIT_MS);
}

async function decideLater(
  context: AuthenticateContext,
  request: ConnectRequest,
  proof: ConnectProof,
  known: Admitted | undefined,
  close: (reason: string) => void,
): Promise<Outcome> {
  let admission: Admission;
  try {
    admission = await admit(context.cache, proof, known);
  } catch (error) {
    // An answer that makes no sense is an error of ours or of the service's: nobody gets in by it, and nobody else is cut off.
    const code = error instanceof OperationalError ? error.code : 'internal';
    context.logger.warn(code, { code, err: error }, 'connect not decided');
    return refused(undecided(code), code);
  }
  if (!admission.ok) {
    const { reason, ruleId, revision } = admission;
    if (request.password !== undefined && isGuess(reason)) {
      context.door.unproven(request, request.password);
    }
    const by = { ...(ruleId !== undefined && { ruleId }), revision };
    return refused(verdictOf(context, request, reason), reason, 'policy', by);
  }
  return enter(context, request, admission.admitted, admission.source, close);
}

/** What a client is told when nothing can be said of it because of an error. */
export function undecided(code: keyof typeof errorFacts): ConnectRefusal {
  const { connack } = errorFacts[code];
  return connack === 'not_authorized' || connack === 'server_busy' ? connack : 'server_unavailable';
}

/**
 * One code for everything that may be wrong with a name and a password, a closed credential included: it must not tell what was wrong. A
 * certificate by itself holds no guess, and is what A2.2 has its own code for. A listener may be told to tell who is not known.
 * @source compat A2.1, A2.2, B3, emqx 2.4
 */
function verdictOf(
  { hidesBadCredentials, tellsUnknownClients }: AuthenticateContext,
  { listener, password, certificate }: ConnectRequest,
  reason: RefusalReason,
): ConnectVerdict {
  if (reason === 'banned') return 'banned';
  const byCertificate = certificate !== undefined && password === undefined;
  if (!isGuess(reason) || byCertificate) return 'not_authorized';
  const told = reason === 'unknown_client' && tellsUnknownClients?.(listener) === true;
  return told || hidesBadCredentials?.(listener) === true ? 'not_authorized' : 'bad_credentials';
}

/**
 * Whether a refusal answers a proof that somebody may have tried by chance. Also of a credential that is closed: whoever guesses must not
 * see that it is there.
 */
export const isGuess = (reason: RefusalReason): boolean => GUESSES.has(reason);

const GUESSES: ReadonlySet<RefusalReason> = new Set([
  'unknown_client',
  'wrong_secret',
  'disabled',
  'not_valid_now',
  'certificate',
  'client_id',
]);

/** What a connection is judged by, on every listener and for every way of logging in. */
export function factsOf(
  request: Pick<ConnectRequest, 'clientId' | 'username' | 'listener' | 'peer' | 'certificate'>,
  { listenerFacts }: Pick<AuthenticateContext, 'listenerFacts'>,
): Facts {
  const { clientId, username, listener, peer, certificate } = request;
  const named: { -readonly [Key in keyof Facts]: Facts[Key] } =
    username === undefined ? { clientId, listener, peer } : { clientId, username, listener, peer };
  const { zone, open } = listenerFacts?.(listener) ?? {};
  if (zone !== undefined) named.zone = zone;
  if (open !== undefined) named.open = open;
  return certificate === undefined ? named : { ...named, certificate: identityOf(certificate) };
}

/** `first`: what the cache has said. */
async function admit(
  cache: PolicyCache,
  proof: ConnectProof,
  first: Admitted | undefined,
): Promise<Admission> {
  for (let attempt = 0; attempt < ADMISSION_ATTEMPTS_MAX; attempt++) {
    const known = attempt === 0 ? first : cache.cached(proof);
    count('sallyport.policy.cache', { result: known === undefined ? 'miss' : 'hit' });
    const admission: Admission =
      known === undefined
        ? await cache.authenticate(proof)
        : { ok: true, source: 'cache', admitted: known };
    if (!admission.ok) return admission;
    const { admitted } = admission;
    // A change may have been heard of between the answer and this line.
    if (cache.isStale(admitted.revision, admitted.resolved.tags)) continue;
    // What comes later will not reach a pinned session, so nothing may be missing from it now.
    if (admitted.policy.applyMode !== 'pinned') return admission;
    if (await cache.isNewest(admitted)) return admission;
  }
  throw new OperationalError('policy_not_ready', 'the policy changes faster than it is answered');
}

/** Synchronous, so that no change can come between the check of the answer and the session's place in the index. */
export function enter(
  context: Pick<AuthenticateContext, 'sessions' | 'door' | 'uses' | 'partialSubscribe'>,
  request: Pick<ConnectRequest, 'willTopic' | 'willTerms'>,
  admitted: Admitted,
  source: Outcome['source'],
  close: (reason: string) => void,
): Outcome {
  const objection = context.door.lastObjection(admitted.principal);
  if (objection !== undefined) {
    return refused(objection.verdict, objection.reason, source, objection.by);
  }
  const inPart = context.partialSubscribe?.(admitted.principal.facts.listener) === 'filter';
  const session = new LiveSession(admitted, close, inPart);
  if (request.willTopic !== undefined) {
    const parsed = parseTopicName(request.willTopic);
    if (!parsed.ok) return refused('not_authorized', `will topic: ${parsed.problem}`, source);
    const topic = session.publishedTopic(parsed.value);
    const { revision } = session;
    if (topic === undefined) {
      const by = { ruleId: 'publish_prefix', revision };
      return refused('not_authorized', 'will topic: too long with its prefix', source, by);
    }
    const { qos, retain } = request.willTerms ?? PLAIN_TERMS;
    const decision = session.mayPublish(topic, qos, retain);
    if (!decision.allowed) {
      const { ruleId } = decision;
      return refused('not_authorized', `will: ${ruleId}`, source, { ruleId, revision });
    }
  }
  context.sessions.add(session);
  context.uses.note(admitted.principal);
  return { answer: { verdict: 'accept', session }, source };
}

/** Only for a session that came in by `enter`: it is there while its place is asked for, so that no change misses it. */
export function placed(
  context: Pick<AuthenticateContext, 'places' | 'sessions' | 'logger'>,
  outcome: Outcome,
): Outcome | Promise<Outcome> {
  const { session } = outcome.answer;
  if (session === undefined) return outcome;
  const { sessions, places, logger } = context;
  const without = (verdict: ConnectRefusal, reason: string): Outcome => {
    sessions.remove(session);
    const { credentialId } = session.principal;
    const by = { ruleId: `credential:${credentialId}`, revision: session.revision };
    return refused(verdict, reason, outcome.source, by);
  };
  const judged = (taken: boolean): Outcome =>
    taken ? outcome : without('quota_exceeded', 'credential_sessions');
  const taken = places.take(session);
  if (!(taken instanceof Promise)) return judged(taken);
  return taken.then(judged, (error: unknown) => {
    const code = error instanceof OperationalError ? error.code : 'internal';
    logger.warn(code, { code, err: error }, 'place of a credential not decided');
    return without('server_unavailable', code);
  });
}

/** What the client is told. */
export const refusalOf = (verdict: ConnectVerdict): ConnectRefusal =>
  verdict === 'accept' ? 'not_authorized' : verdict;

function requestProblem({ clientId, username, password }: ConnectRequest): string | undefined {
  if (clientId === '' || utf8Bytes(clientId) > NAME_BYTES_MAX) return 'client id length';
  if (textProblem(clientId) !== undefined) return 'client id characters';
  if (username !== undefined && utf8Bytes(username) > NAME_BYTES_MAX) return 'username length';
  if (username !== undefined && textProblem(username) !== undefined) return 'username characters';
  if (password !== undefined && password.length > PASSWORD_BYTES_MAX) return 'password length';
  return undefined;
}
