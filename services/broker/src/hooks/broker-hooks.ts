import { OperationalError } from '@sallyport/errors';
import type {
  ConnectRequest,
  ConnectVerdict,
  EnhancedAuthentication,
  MqttClient,
  MqttHooks,
  Origin,
  SessionRights,
  StoredWill,
} from '@sallyport/mqtt-session';
import { type ReasonCode, reasonCode } from '@sallyport/mqtt-session/codec';
import { decidingFacts, type PolicyClient, type Principal } from '@sallyport/policy-client';
import { check, type CompiledPolicy, type Facts, publishedTopic, termsOf } from '@sallyport/rules';
import type { SessionRecord } from '@sallyport/session-store';
import { levelsOf } from '@sallyport/topic';
import {
  authenticate,
  type AuthenticateContext,
  type ConnectAnswer,
  refusalOf,
} from './authenticate.ts';
import { withSpan } from '@sallyport/telemetry';
import type { AwayRights } from '../access/away-rights.ts';
import type { DecidedBy } from '../access/doorkeeper.ts';
import { KICKED, type LiveSession, OUTNUMBERED } from '../access/live-sessions.ts';
import type { PublishRates } from '../access/publish-rates.ts';
import { ClientRights, deniedAttributes } from './client-rights.ts';
import { certificateOf, EnhancedLogin } from './enhanced-login.ts';

/** Tries to learn the rights of somebody who is not connected, and the pause between two. */
const STORED_RIGHTS_ATTEMPTS_MAX = 5;
const STORED_RIGHTS_RETRY_MS = 1000;

/** What MQTT 5 is told of the end of a session, where it is not that it has no rights any more. */
const endReasons: ReadonlyMap<string, ReasonCode> = new Map([
  ['banned', reasonCode.administrativeAction],
  [KICKED, reasonCode.administrativeAction],
  [OUTNUMBERED, reasonCode.quotaExceeded],
]);

export interface BrokerHooksOptions extends AuthenticateContext {
  readonly policy: PolicyClient;
  /** What becomes of a denied publish on this listener; undefined: what the policy says. */
  readonly deniedPublish: (listener: string) => SessionRights['deniedPublish'] | undefined;
  readonly publishRates: Pick<PublishRates, 'of'>;
  /** Of clients that are not connected; nothing is known of them when absent. */
  readonly away?: Pick<AwayRights, 'mayReceive' | 'forget'>;
}

/** The answers of the access model to what the engine asks. */
export class BrokerHooks implements MqttHooks {
  readonly #options: BrokerHooksOptions;

  constructor(options: BrokerHooksOptions) {
    this.#options = options;
  }

  authenticate(
    client: MqttClient,
    request: ConnectRequest,
  ): ConnectVerdict | Promise<ConnectVerdict> {
    const { clientId, clientIdAssigned, username, password, willTopic, willTerms, origin } =
      request;
    const { listener, peer } = origin;
    const asked = {
      clientId,
      clientIdAssigned,
      username,
      password,
      willTopic,
      willTerms,
      listener,
      peer,
      certificate: certificateOf(origin),
    };
    const answer = authenticate(this.#options, asked, (reason) => this.#close(client, reason));
    return answer instanceof Promise
      ? answer.then((later) => this.#verdict(later, origin))
      : this.#verdict(answer, origin);
  }

  #verdict({ verdict, session }: ConnectAnswer, origin: Origin): ConnectVerdict {
    if (verdict !== 'accept' || session === undefined) {
      return { accepted: false, reason: refusalOf(verdict) };
    }
    return this.#accepted(session, origin);
  }

  authenticateEnhanced(
    client: MqttClient,
    request: ConnectRequest,
    method: string,
    current?: SessionRights,
  ): EnhancedAuthentication | undefined {
    return EnhancedLogin.start({
      context: this.#options,
      request,
      method,
      current: current instanceof ClientRights ? current.session : undefined,
      close: (reason) => this.#close(client, reason),
      accept: (session) => this.#accepted(session, request.origin),
    });
  }

  #accepted(session: LiveSession, { listener, peer }: Origin): ConnectVerdict {
    const { logger, deniedPublish, publishRates } = this.#options;
    const { principal } = session;
    const { credentialId } = principal;
    const denied = deniedPublish(listener);
    return {
      accepted: true,
      rights: new ClientRights(session, logger, {
        ...(denied !== undefined && { deniedPublish: denied }),
        publishRates: publishRates.of({ credentialId, peer, listener }),
      }),
      owner: credentialId,
      principal,
    };
  }

  ended(_client: MqttClient, rights: SessionRights): void {
    if (!(rights instanceof ClientRights)) return;
    const { sessions, door, places } = this.#options;
    const { session } = rights;
    sessions.remove(session);
    places.leave(session);
    door.ended(session.principal, performance.now() - session.beganAt);
  }

  /** Nobody's rights, when they cannot be learned. */
  async storedWillTopic(record: SessionRecord, will: StoredWill): Promise<string | undefined> {
    const { policy, cache, logger, door } = this.#options;
    const principal = record.principal as Principal; // What `authenticate` gave to the engine.
    const ban = door.banOf(principal.facts);
    if (ban !== undefined) return this.#willDenied(principal, will, ban);
    for (let attempt = 1; attempt <= STORED_RIGHTS_ATTEMPTS_MAX; attempt++) {
      try {
        const answer = await policy.resolve({
          principals: [principal],
          minRevision: cache.revision,
        });
        const [resolved] = answer.results;
        const spec = answer.policies.find(({ policyId }) => policyId === resolved?.policyId);
        const { revision } = answer;
        if (resolved === undefined || spec === undefined) {
          return this.#willDenied(principal, will, { ruleId: 'credential', revision });
        }
        const facts = decidingFacts(principal, resolved);
        const judged = judgedTopic(cache.compiled(spec), facts, will);
        if ('topic' in judged) return judged.topic;
        return this.#willDenied(principal, will, { ...judged, revision });
      } catch (error) {
        if (!(error instanceof OperationalError)) throw error;
        logger.warn(error.code, { code: error.code, err: error }, 'a will waits for its rights');
        await new Promise((resolve) => setTimeout(resolve, STORED_RIGHTS_RETRY_MS));
      }
    }
    return undefined;
  }

  storedMayReceive(clientId: string, topic: string): boolean | undefined {
    return this.#options.away?.mayReceive(clientId, topic);
  }

  storedChanged(clientId: string): void {
    this.#options.away?.forget(clientId);
  }

  #willDenied({ facts }: Principal, { topic, qos, retain }: StoredWill, by: DecidedBy): undefined {
    const fields = { clientId: facts.clientId, topic, qos, retain, ...by };
    withSpan('mqtt.denied', { attributes: deniedAttributes('publish', by) }, () =>
      this.#options.logger.info('will', fields, 'will denied'),
    );
  }

  #close(client: MqttClient, reason: string): void {
    const { clientId } = client;
    this.#options.logger.info(`ended: ${reason}`, { clientId, reason }, 'session ended');
    void client.disconnect(endReasons.get(reason) ?? reasonCode.notAuthorized);
  }
}

/** The topic that a message of somebody's is published under, or what says that it may not be. */
function judgedTopic(
  policy: CompiledPolicy,
  facts: Facts,
  { topic: named, qos, retain }: StoredWill,
): { readonly topic: string } | { readonly ruleId: string } {
  const topic = publishedTopic(policy, named);
  if (topic === undefined) return { ruleId: 'publish_prefix' };
  const terms = termsOf(qos, retain);
  const { allowed, ruleId } = check(policy, facts, 'publish', levelsOf(topic), topic, terms);
  return allowed ? { topic } : { ruleId };
}
