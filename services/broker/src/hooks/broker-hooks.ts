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
import { KICKED, type LiveSession } from '../access/live-sessions.ts';
import type { PublishRates } from '../access/publish-rates.ts';
import { ClientRights } from './client-rights.ts';
import { certificateOf, EnhancedLogin } from './enhanced-login.ts';

/** Tries to learn the rights of somebody who is not connected, and the pause between two. */
const STORED_RIGHTS_ATTEMPTS_MAX = 5;
const STORED_RIGHTS_RETRY_MS = 1000;

/** What MQTT 5 is told of the end of a session, where it is not that it has no rights any more. */
const endReasons: ReadonlyMap<string, ReasonCode> = new Map([
  ['banned', reasonCode.administrativeAction],
  [KICKED, reasonCode.administrativeAction],
]);

export interface BrokerHooksOptions extends AuthenticateContext {
  readonly policy: PolicyClient;
  /** What becomes of a denied publish on this listener; undefined: what the policy says. */
  readonly deniedPublish: (listener: string) => SessionRights['deniedPublish'] | undefined;
  readonly publishRates: Pick<PublishRates, 'of'>;
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
    const { clientId, username, password, willTopic, willTerms, origin } = request;
    const { listener, peer } = origin;
    const asked = {
      clientId,
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
    const { sessions, door } = this.#options;
    const { session } = rights;
    sessions.remove(session);
    door.ended(session.principal, performance.now() - session.beganAt);
  }

  /** Nobody's rights, when they cannot be learned. */
  async storedWillTopic(record: SessionRecord, will: StoredWill): Promise<string | undefined> {
    const { policy, cache, logger, door } = this.#options;
    const principal = record.principal as Principal; // What `authenticate` gave to the engine.
    if (door.isBanned(principal.facts)) return undefined;
    for (let attempt = 1; attempt <= STORED_RIGHTS_ATTEMPTS_MAX; attempt++) {
      try {
        const answer = await policy.resolve({
          principals: [principal],
          minRevision: cache.revision,
        });
        const [resolved] = answer.results;
        const spec = answer.policies.find(({ policyId }) => policyId === resolved?.policyId);
        if (resolved === undefined || spec === undefined) return undefined;
        return permittedTopic(cache.compiled(spec), decidingFacts(principal, resolved), will);
      } catch (error) {
        if (!(error instanceof OperationalError)) throw error;
        logger.warn(error.code, { code: error.code, err: error }, 'a will waits for its rights');
        await new Promise((resolve) => setTimeout(resolve, STORED_RIGHTS_RETRY_MS));
      }
    }
    return undefined;
  }

  #close(client: MqttClient, reason: string): void {
    const { clientId } = client;
    this.#options.logger.info(`ended: ${reason}`, { clientId, reason }, 'session ended');
    void client.disconnect(endReasons.get(reason) ?? reasonCode.notAuthorized);
  }
}

/** The topic that a message of somebody's is published under, or undefined when it may not be. */
function permittedTopic(
  policy: CompiledPolicy,
  facts: Facts,
  { topic: named, qos, retain }: StoredWill,
): string | undefined {
  const topic = publishedTopic(policy, named);
  if (topic === undefined) return undefined;
  const terms = termsOf(qos, retain);
  return check(policy, facts, 'publish', levelsOf(topic), topic, terms).allowed ? topic : undefined;
}
