import {
  type AuthChain,
  authenticatorId,
  authenticatorOf,
  type CertificateIdentity,
  chainInForce,
  type Credential,
  type DecisionReads,
  grantsOf,
  isLive,
  liveTokens,
  memberKey,
  memberOf,
  parseFingerprint,
  type Revision,
  unboundCertificateOf,
} from '@sallyport/domain';
import { assert, OperationalError } from '@sallyport/errors';
import {
  ANONYMOUS_ID,
  type ExplainAnswer,
  type ExplainLoginAnswer,
} from '@sallyport/policy-client';
import type { Action, Facts, ProofMethod } from '@sallyport/rules';
import { parseSubscription, parseTopicName, topicProblemText } from '@sallyport/topic';
import type { Routes } from '../../http/context.ts';
import { instant } from '../../http/list-query.ts';
import { answers, READ_PROBLEMS } from '../../http/openapi.ts';
import { refused } from '../../http/problems.ts';
import type { AdminApiPorts } from '../../ports.ts';
import { type Asked, type ExplainedLive, explainLive } from './live-session.ts';
import {
  CATCH_UP_MS,
  connectAnswer,
  decidedBy,
  explainLogin,
  type LoginQuestion,
  loginView,
} from './login.ts';
import { explainRequest, requestIn } from './http-request.ts';
import { eventOf, type Origin, originOf } from './origin.ts';
import { PastStates } from './past-state.ts';
import { emptyQuery, type ExplainBody, explainBody, explanationSchema } from './schema.ts';
import {
  heldTags,
  type LiftedDenial,
  liftedDenial,
  mayBeTaken,
  type PastQuestion,
  type TakenRight,
  takenRight,
} from './taken-right.ts';

/** Most times that an answer and the objects behind it are of two revisions, before the caller has to come again. */
const ATTEMPTS_MAX = 5;

export const explainRoutes: Routes = (app, { ports }) => {
  const past = new PastStates();
  app.post(
    '/explain',
    {
      config: { permission: 'policy:read' },
      schema: {
        tags: ['policy'],
        operationId: 'explain',
        summary: 'Tell what a client or a live session may do, and which rule says so',
        querystring: emptyQuery,
        body: explainBody,
        response: answers({ 200: explanationSchema }, READ_PROBLEMS),
      },
    },
    async (request) => {
      const { connection } = request.body;
      const wanted = requestIn(request.body);
      if (wanted !== undefined) {
        const { answer, credential, origin } = explainRequest(ports, wanted);
        return {
          ...{ ...answer, opinions: [...answer.opinions] },
          ...(await eventsOf(ports.log, origin, {})),
          credential: stateOf(credential, ports.clock()),
        };
      }
      const supposed = supposedIn(request.body);
      const asked = askedIn(request.body);
      const login =
        connection === undefined && supposed.credentialId === undefined
          ? await explainLogin(ports, loginIn(request.body, supposed.facts))
          : undefined;
      const told = login && {
        login: loginView(login, (id) => ports.model.reads.credential(id)),
      };
      if (asked === undefined || (login !== undefined && login.principal === undefined)) {
        assert(login !== undefined, 'only a login may be asked for without a topic');
        return {
          ...(await connectView(ports, login, loginIn(request.body, supposed.facts))),
          ...told,
        };
      }
      const found: ExplainedLive | Explained =
        connection === undefined
          ? await explained(ports, { ...whoIsSupposed(supposed, login), ...asked })
          : await explainLive(ports, past, connection, asked);
      const { answer, credential, origin, facts } = found;
      const before = await beforeOf(ports, past, found, asked);
      const admittedBy = await admissionView(ports, found.admittedBy);
      return {
        ...answer,
        opinions: [...answer.opinions],
        ...(await eventsOf(ports.log, origin, before)),
        ...told,
        ...('connection' in found && { connection: found.connection }),
        ...(credential && { credential: credentialView(ports, credential, facts) }),
        ...(admittedBy && { admittedBy }),
      };
    },
  );
};

/** Whether somebody would get in at all, and what says so. */
async function connectView(
  ports: AdminApiPorts,
  login: ExplainLoginAnswer,
  question: LoginQuestion,
) {
  const { ruleId, credential, origin } = await decidedBy(ports, login, question);
  return {
    ...{ ...connectAnswer(login), opinions: [], ...(ruleId !== undefined && { ruleId }) },
    ...(await eventsOf(ports.log, origin, {})),
    ...(credential && { credential: credentialView(ports, credential, question.facts) }),
  };
}

const credentialView = (
  { model, clock }: AdminApiPorts,
  credential: Credential,
  { listener }: Facts,
) => ({
  ...stateOf(credential, clock()),
  ...authenticatorState(model.reads, credential, listener),
});

const pastQuestion = (
  { clock }: AdminApiPorts,
  { answer, facts, credentialId }: Pick<Explained, 'answer' | 'facts' | 'credentialId'>,
  asked: Asked,
): PastQuestion => ({ ...asked, credentialId, facts, revision: answer.revision, at: clock() });

/** How the answer was another one before, by a change that what decides now does not tell. */
interface Before {
  readonly taken?: TakenRight | undefined;
  readonly gained?: LiftedDenial | undefined;
}

/** The right that is gone, or what was in its way; whoever has no credential never had one. */
async function beforeOf(
  ports: AdminApiPorts,
  past: PastStates,
  found: Pick<Explained, 'answer' | 'facts' | 'credentialId' | 'credential' | 'origin'>,
  asked: Asked,
): Promise<Before> {
  const { answer, credentialId, credential, origin } = found;
  if (credentialId === ANONYMOUS_ID) return {};
  const question = pastQuestion(ports, found, asked);
  const { log } = ports;
  if (mayBeTaken(asked.action, answer)) {
    return { taken: await past.alone(() => takenRight(log, question)) };
  }
  if (!answer.allowed || credential === undefined) return {};
  const tags = heldTags(ports.model.reads, credential, found.facts);
  const since = Math.max(origin?.revision ?? 0, origin?.via?.revision ?? 0);
  const gained = await past.alone(() => liftedDenial(log, { ...question, tags }, since));
  return { gained };
}

/** What decided, and who made it so: of a right that is gone whoever took it. @throws OperationalError `log_unavailable` */
async function eventsOf(
  log: AdminApiPorts['log'],
  origin: Origin | undefined,
  { taken, gained }: Before,
) {
  const [event, via] = await Promise.all([
    eventView(log, (taken ?? gained)?.revision ?? origin?.revision),
    viaView(log, origin?.via),
  ]);
  return {
    ...(origin && { origin: { ...origin, ...via } }),
    ...(event && { event }),
    ...(taken && { taken }),
    ...(gained && { gained }),
  };
}

/** What gives an object, each with who made it so. */
async function viaView(
  log: AdminApiPorts['log'],
  via: Origin | undefined,
): Promise<{ readonly via?: object }> {
  if (via === undefined) return {};
  const [event, further] = await Promise.all([eventView(log, via.revision), viaView(log, via.via)]);
  return { via: { ...via, ...further, ...(event && { event }) } };
}

/** What made an object as it is since a revision. */
async function eventView(log: AdminApiPorts['log'], revision: Revision | undefined) {
  const event = revision === undefined ? undefined : await eventOf(log, revision);
  return event && { ...event, at: instant(event.at) };
}

async function admissionView(ports: AdminApiPorts, chain: AuthChain | undefined) {
  if (chain === undefined) return undefined;
  const { scope, anonymous, admitsUnknown, updatedRevision } = chain;
  const event = await eventView(ports.log, updatedRevision);
  const authenticators = chain.authenticators.map((one) => ({
    id: authenticatorId(one),
    enabled: one.enabled,
  }));
  return {
    type: 'auth_chain',
    scope,
    anonymous,
    ...(admitsUnknown && { admitsUnknown }),
    authenticators,
    ...(event && { event }),
  } as const;
}

interface Question extends Asked {
  readonly credentialId: string;
  readonly facts: Facts;
}

interface Explained {
  readonly answer: ExplainAnswer;
  /** Undefined of a client without one. */
  readonly credential: Credential | undefined;
  readonly origin: Origin | undefined;
  readonly facts: Facts;
  readonly credentialId: string;
  readonly admittedBy?: undefined;
}

/** The answer, and the objects that it was made from: both of one revision. @throws OperationalError `policy_not_ready` */
async function explained(ports: AdminApiPorts, question: Question): Promise<Explained> {
  const { model, policy, clock } = ports;
  const { credentialId, facts, ...asked } = question;
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    if (credentialId === ANONYMOUS_ID) return explainedAnonymous(ports, question);
    const credential = model.reads.credential(credentialId) ?? unboundCertificateOf(credentialId);
    if (credential === undefined) throw refused('credential_not_found');
    // With the newest secret, if it needs one.
    const secret = supposedSecret(credential, clock());
    const principal = {
      credentialId,
      store: credential.store,
      facts: { ...facts, methods: provenBy(credential, secret, facts) },
      ...(secret !== undefined && { secretId: secret.secretId }),
    };
    const before = model.revision;
    const answer = await policy.explain({ principal, ...asked, minRevision: before });
    await model.waitFor(answer.revision, CATCH_UP_MS);
    if (model.revision !== answer.revision || before !== answer.revision) continue;
    const { action } = asked;
    const at = clock();
    const origin = originOf({ reads: model.reads, credential, facts, action, answer, at });
    return { answer, credential, origin, facts, credentialId };
  }
  throw new OperationalError('policy_not_ready', 'the policy changes faster than it is explained');
}

/** Of whom nothing is stored: what decides is not looked for. */
async function explainedAnonymous(
  { policy, model }: AdminApiPorts,
  { credentialId, facts, ...asked }: Question,
): Promise<Explained> {
  const principal = { credentialId, store: 'emqx', facts } as const;
  const answer = await policy.explain({ principal, ...asked, minRevision: model.revision });
  return { answer, credential: undefined, origin: undefined, facts, credentialId };
}

interface Supposed {
  /** Absent where that is what is asked. */
  readonly credentialId: string | undefined;
  readonly facts: Facts;
}

/** Who was named, or was found by the facts. */
function whoIsSupposed(
  { credentialId, facts }: Supposed,
  login: ExplainLoginAnswer | undefined,
): Pick<Question, 'credentialId' | 'facts'> {
  const principal = login?.principal;
  if (principal === undefined) return { credentialId: credentialId ?? '', facts };
  return { credentialId: principal.credentialId, facts: principal.facts };
}

function loginIn({ stores, proof }: ExplainBody, facts: Facts): LoginQuestion {
  return { facts, stores, scram: proof === 'scram' };
}

/** What is asked of topics; undefined where only the login is. @throws RefusedError `invalid_request` */
function askedIn(body: ExplainBody): Asked | undefined {
  const { action, qos, retain } = body;
  if (action === 'http') return undefined;
  if (action === 'connect') {
    const detail = 'is asked of facts only, without a credential or a connection';
    if (body.connection === undefined && body.credentialId === undefined) return undefined;
    throw refused('invalid_request', { problems: [{ pointer: '/action', detail }] });
  }
  if (body.topic === undefined) {
    const problems = [{ pointer: '/topic', detail: 'is required but for the action connect' }];
    throw refused('invalid_request', { problems });
  }
  const { topic, shared } = parsedTopic(action, body.topic);
  return { action, topic, terms: { qos, retain, ...(shared && { shared }) } };
}

/** What a client would say of itself. With a connection nobody is to suppose anything. @throws RefusedError `invalid_request` */
function supposedIn(body: ExplainBody): Supposed {
  const { connection, credentialId, clientId } = body;
  const problems =
    connection === undefined
      ? clientId === undefined
        ? [{ pointer: '/clientId', detail: 'is required without a connection' }]
        : []
      : SUPPOSED.filter((name) => body[name] !== undefined).map((name) => ({
          pointer: `/${name}`,
          detail: 'is known of a connection, and is not to be told with one',
        }));
  if (problems.length > 0) throw refused('invalid_request', { problems });
  return { credentialId, facts: factsOf(body, clientId ?? '') };
}

const SUPPOSED = [
  'credentialId',
  'clientId',
  'username',
  'listener',
  'zone',
  'open',
  'peer',
  'certificate',
  'stores',
  'proof',
] as const satisfies readonly (keyof ExplainBody)[];

function factsOf(body: ExplainBody, clientId: string): Facts {
  const { credentialId = '', listener = 'tcp:default', zone, open, username, peer } = body;
  // Who is nothing but a certificate shows that one.
  const fingerprint = unboundCertificateOf(credentialId)?.match.fingerprint;
  const certificate = body.certificate ?? (fingerprint === undefined ? undefined : { fingerprint });
  return {
    clientId,
    listener,
    ...(zone !== undefined && { zone }),
    ...(open !== undefined && { open }),
    ...(username !== undefined && { username }),
    ...(peer !== undefined && { peer }),
    ...(certificate !== undefined && { certificate: certificateOf(certificate) }),
  };
}

/** @throws RefusedError `invalid_request` */
function certificateOf(shown: NonNullable<ExplainBody['certificate']>): CertificateIdentity {
  const { fingerprint, commonName, chainCommonNames } = shown;
  const digest = fingerprint === undefined ? '' : parseFingerprint(fingerprint);
  if (digest === undefined) {
    const detail = 'must be the SHA-256 digest of a certificate';
    throw refused('invalid_request', {
      problems: [{ pointer: '/certificate/fingerprint', detail }],
    });
  }
  return {
    fingerprintSha256: digest,
    chainCommonNames: chainCommonNames ?? (commonName === undefined ? [] : [commonName]),
    ...(commonName !== undefined && { commonName }),
  };
}

interface SupposedSecret {
  readonly secretId: string;
  readonly method: 'password' | 'token';
}

/** The newest secret of a credential, or the newest token where nothing but a token is a way in. */
function supposedSecret(credential: Credential, at: number): SupposedSecret | undefined {
  const granted = grantsOf(credential).map((one) => one.method);
  const secret = credential.secrets.find((one) => isLive(one, at));
  const token = liveTokens(credential, at).at(-1);
  const byToken = secret === undefined || !granted.includes('password');
  if (token !== undefined && byToken && granted.includes('token')) {
    return { secretId: token.tokenId, method: 'token' };
  }
  return secret && { secretId: secret.secretId, method: 'password' };
}

/** The question is about a client that has got in: it has proven what it has. */
function provenBy(
  credential: Credential,
  secret: SupposedSecret | undefined,
  { certificate }: Facts,
): readonly ProofMethod[] {
  const byScram = memberOf(credential)?.authenticator === 'scram:built_in_database';
  return [
    ...(secret === undefined ? [] : ([byScram ? 'scram' : secret.method] as const)),
    ...(certificate === undefined ? [] : (['certificate'] as const)),
  ];
}

function stateOf(credential: Credential, at: number) {
  const { id, name, store, enabled, superuser, passwordRequired, updatedRevision } = credential;
  const secretsLive = credential.secrets.filter((one) => isLive(one, at)).length;
  return { id, name, store, enabled, superuser, passwordRequired, secretsLive, updatedRevision };
}

/** Whether a credential's authenticator would ask it on the listener, as that is now. */
function authenticatorState(reads: DecisionReads, credential: Credential, listener: string) {
  const member = memberOf(credential);
  if (member === undefined) return {};
  const { scope, authenticator: id } = member;
  const chain = reads.authChain(scope);
  const implicit = chain === undefined && memberKey(member) === '';
  const enabled = implicit || authenticatorOf(chain, id)?.enabled === true;
  const ruling = chainInForce(reads, listener);
  const inForce = ruling === undefined ? implicit : ruling.scope === scope;
  return { authenticator: { scope, id, enabled, inForce } };
}

/** The topic to judge, without the share group that it came with. @throws RefusedError `invalid_request` */
function parsedTopic(action: Action, topic: string): { topic: string; shared: boolean } {
  const filter = action === 'subscribe' || action === 'unsubscribe';
  const parsed = filter ? parseSubscription(topic) : parseTopicName(topic);
  if (!parsed.ok) {
    const detail = topicProblemText[parsed.problem];
    throw refused('invalid_request', { problems: [{ pointer: '/topic', detail }] });
  }
  const { value } = parsed;
  if (typeof value === 'string') return { topic: value, shared: false };
  return { topic: value.filter, shared: value.group !== undefined };
}
