import { OperationalError } from '@sallyport/errors';
import type { EventLog } from '@sallyport/event-log';
import type { MessageBus } from '@sallyport/message-bus';
import { Engine } from '@sallyport/mqtt-session';
import { reasonCode } from '@sallyport/mqtt-session/codec';
import type { Membership, NodeCalls, NodeRegistry, NodeView } from '@sallyport/node-registry';
import { PolicyCache, type PolicyClient } from '@sallyport/policy-client';
import type { SessionStore } from '@sallyport/session-store';
import {
  count,
  createLogThrottle,
  type Logger,
  type LogThrottle,
  setGauge,
} from '@sallyport/telemetry';
import { type Store, TRUST_TAG } from '@sallyport/domain';
import { AwayRights } from './access/away-rights.ts';
import { BanList } from './access/ban-list.ts';
import type { Doorkeeper } from './access/doorkeeper.ts';
import { Enforcer } from './access/enforcer.ts';
import { LiveSessions } from './access/live-sessions.ts';
import { createDoorkeeper } from './access/open-door.ts';
import { PublishRates } from './access/publish-rates.ts';
import type { RefusedAttempts } from './access/refused-attempts.ts';
import { SecretUses } from './access/secret-uses.ts';
import { SessionPlaces } from './access/session-places.ts';
import {
  deniedPublishOf,
  type EnforcementConfig,
  type ListenerFacts,
  listenerNames,
  limitsOf,
  listenerFactsOf,
  listenerPublishRateOf,
  loginOf,
  partialSubscribeOf,
  type MqttConfig,
  storesOf,
} from './config.ts';
import { NodeDesk } from './desk/node-desk.ts';
import { AedesKernel } from './engine/aedes-kernel.ts';
import { EngineCounters } from './engine/engine-counters.ts';
import { BrokerHooks } from './hooks/broker-hooks.ts';
import type { RunningListener } from './listeners/listener.ts';
import { ListenerTrusts } from './listeners/listener-trust.ts';
import { openListeners, type StormCause } from './listeners/open-listeners.ts';

const isTbmq = (store: Store): boolean => store === 'tbmq';

/** The facts of each listener, made once: they are asked for at every CONNECT. */
function listenerFactsIn(mqtt: MqttConfig): (listener: string) => ListenerFacts {
  const known = new Map(
    Object.values(listenerNames).map((name) => [name as string, listenerFactsOf(mqtt, name)]),
  );
  return (listener) => known.get(listener) ?? {};
}

const STORM_MESSAGES: Readonly<Record<StormCause, string>> = {
  leaving: 'very many clients leave at once: connections are read in portions',
  arriving: 'very many clients come at once: they are let in in portions',
};

/** Pause between two tries to reach the policy service at the start. */
const START_RETRY_MS = 250;

export interface BrokerPorts {
  readonly log: EventLog;
  readonly policy: PolicyClient;
  readonly sessionStore: SessionStore;
  readonly bus: MessageBus;
  readonly registry: NodeRegistry;
  readonly calls: NodeCalls;
  readonly logger: Logger;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
}

export interface BrokerOptions {
  readonly nodeId: string;
  readonly mqtt: MqttConfig;
  readonly enforcement: EnforcementConfig;
}

/** One broker node: listeners → kernel with our hooks → bus and session store. The ports belong to whoever made them. */
export class BrokerNode {
  readonly #options: BrokerOptions;
  readonly #ports: BrokerPorts;
  readonly #sessions = new LiveSessions();
  readonly #counters = new EngineCounters();
  readonly #throttle: LogThrottle;
  readonly #listeners: RunningListener[] = [];
  readonly #trusts: ListenerTrusts;
  #enforcer: Enforcer | undefined;
  #membership: Membership | undefined;
  #kernel: AedesKernel | undefined;
  #engine: Engine | undefined;
  #desk: AsyncDisposable | undefined;
  #uses: SecretUses | undefined;
  #places: SessionPlaces | undefined;
  #draining = false;
  #failure: OperationalError | undefined;

  constructor(options: BrokerOptions, ports: BrokerPorts) {
    this.#options = options;
    this.#ports = ports;
    this.#throttle = createLogThrottle({ logger: ports.logger });
    this.#trusts = new ListenerTrusts({ client: ports.policy, logger: ports.logger });
  }

  /** Joins the cluster, takes up the log, and opens the listeners once everything that is in the log is enforced. */
  async start(): Promise<void> {
    const { registry, log, policy, clock, logger } = this.#ports;
    const { nodeId, enforcement } = this.#options;
    // INVARIANT: joined before the head is read, so that no write can be called enforced without us (NodeRegistry).
    this.#membership = await registry.join({
      nodeId,
      revision: 0,
      hash: '',
      whenStale: enforcement.whenStale,
    });
    const head = await log.head();
    const start = await this.#answered(() => policy.status());
    const bans = new BanList(await this.#answered(() => policy.bans(start.revision)), clock);
    const { mqtt } = this.#options;
    const stores = (listener: string) => storesOf(mqtt, listener);
    const cache = new PolicyCache({ client: policy, log, revision: start.revision, clock, stores });
    const places = this.#sessionPlaces();
    this.#places = places;
    const caughtUp = new Promise<void>((resolve) => {
      const enforcer = new Enforcer({
        log,
        client: policy,
        cache,
        sessions: this.#sessions,
        bans,
        places,
        start,
        maxStalenessMs: enforcement.maxStalenessSeconds * 1000,
        stalenessAlarmMs: enforcement.stalenessAlarmSeconds * 1000,
        whenStale: enforcement.whenStale,
        clock,
        logger,
        onEnforced: (state) => {
          this.#membership?.announce(state);
          if (state.revision >= head) resolve();
        },
        onChange: async (tags, revision) => {
          if (tags.has(TRUST_TAG)) await this.#trusts.reach(revision);
        },
        onFailure: (failure) => this.#fail(failure),
      });
      this.#enforcer = enforcer;
      this.#membership?.announce(enforcer.enforced);
      if (start.revision >= head) resolve();
    });
    await caughtUp;
    await this.#trusts.reach(start.revision);
    const { door, refused } = createDoorkeeper(this.#options.mqtt, {
      bans,
      logger: this.#throttle,
      clock,
    });
    this.#uses = new SecretUses({
      store: this.#ports.sessionStore,
      intervalMs: mqtt.lastUsedSeconds * 1000,
      clock,
      logger: this.#throttle,
    });
    const away = new AwayRights({
      ...{ store: this.#ports.sessionStore, policy, cache, bans, logger: this.#throttle },
    });
    const access = { cache, door, away, uses: this.#uses, places };
    const engine = await this.#startEngine(access);
    await this.#serveDesk(engine, refused, this.#uses);
    await this.#listen(engine, bans, door);
  }

  async #serveDesk(engine: Engine, refused: RefusedAttempts, uses: SecretUses): Promise<void> {
    const { nodeId } = this.#options;
    const desk = new NodeDesk({
      nodeId,
      clients: engine,
      refused,
      secretUses: (credentialId) => uses.of(credentialId),
      enforcedRevision: () => this.#enforcer?.enforced.revision ?? 0,
      disconnect: ({ client }, endSession) => {
        const { clientId } = client;
        this.#ports.logger.info({ clientId, endSession }, 'disconnected by an administrator');
        if (endSession) void client.dismiss(reasonCode.administrativeAction);
        else void client.disconnect(reasonCode.administrativeAction);
      },
    });
    this.#desk = await this.#ports.calls.serve(nodeId, (question) => desk.answer(question));
  }

  #sessionPlaces(): SessionPlaces {
    const { nodeId, mqtt, enforcement } = this.#options;
    const { registry, sessionStore: store } = this.#ports;
    // INVARIANT: as the registry has it: by then a silent node has dropped its sessions, or is meant to keep them unseen.
    const silentMsMax = enforcement.maxStalenessSeconds * 1000;
    const others = (): readonly NodeView[] =>
      registry.nodes().filter((one) => one.nodeId !== nodeId && one.silentMs <= silentMsMax);
    return new SessionPlaces({
      store,
      nodeId,
      otherNodes: () => others().map((one) => one.nodeId),
      nodesBehind: (revision) =>
        others()
          .filter((one) => one.revision < revision)
          .map((one) => one.nodeId),
      sessionsMax: mqtt.sessionsPerCredentialMax,
      logger: this.#throttle,
    });
  }

  async #startEngine(access: {
    readonly cache: PolicyCache;
    readonly door: Doorkeeper;
    readonly away: AwayRights;
    readonly uses: SecretUses;
    readonly places: SessionPlaces;
  }): Promise<Engine> {
    const { sessionStore: store, bus, clock, policy } = this.#ports;
    const { nodeId, mqtt } = this.#options;
    const kernel = await AedesKernel.start({
      store,
      bus,
      onProblem: (problem) => this.#throttle.warn(problem.code, { err: problem }, 'kernel trouble'),
    });
    const hooks = new BrokerHooks({
      ...access,
      policy,
      sessions: this.#sessions,
      partialSubscribe: (listener) => partialSubscribeOf(mqtt, listener),
      announced: () => this.#ports.registry.newestRevision,
      staleness: () => (this.#draining ? 'draining' : this.#enforcer?.staleness),
      logger: this.#throttle,
      publishRates: new PublishRates({
        credential: mqtt.credentialPublishRate,
        source: mqtt.sourcePublishRate,
        listener: (name) => listenerPublishRateOf(mqtt, name),
      }),
      // @source compat tbmq 5: "never 4"
      hidesBadCredentials: (listener) => storesOf(mqtt, listener)?.every(isTbmq) === true,
      tellsUnknownClients: (listener) => loginOf(mqtt, listener).unknownClient === 'not_authorized',
      wantsNames: (listener) => loginOf(mqtt, listener).authentication === 'named',
      listenerFacts: listenerFactsIn(mqtt),
      deniedPublish: (listener) => {
        const setting = deniedPublishOf(mqtt, listener);
        return setting === 'policy' ? undefined : setting;
      },
    });
    const engine = new Engine({
      nodeId,
      limits: limitsOf(mqtt),
      store,
      kernel,
      hooks,
      clock,
      observer: {
        count: (event) => this.#counters.count(event),
        clientError: ({ clientId, origin }, err) => {
          this.#throttle.info(
            'client error',
            { clientId, peer: origin.peer, err },
            'a client broke off',
          );
        },
        problem: (err) => this.#throttle.warn('engine', { err }, 'engine trouble'),
      },
    });
    await kernel.connect(engine);
    await engine.start();
    this.#kernel = kernel;
    this.#engine = engine;
    return engine;
  }

  /** Asks the policy service until it is there. */
  async #answered<A>(ask: () => Promise<A>): Promise<A> {
    for (;;) {
      try {
        return await ask();
      } catch (error) {
        if (!(error instanceof OperationalError && error.retryable)) throw error;
        this.#ports.logger.warn({ code: error.code }, 'waiting for the policy service');
        await new Promise((resolve) => setTimeout(resolve, START_RETRY_MS));
      }
    }
  }

  async #listen(engine: Engine, bans: BanList, door: Doorkeeper): Promise<void> {
    const opened = await openListeners(this.#options.mqtt, {
      onConnection: (connection) => {
        connection.speaker = engine.accept(connection.stream, connection);
      },
      onBrake: (cause, { first, ...fields }) => {
        count('sallyport.connections.storm_brakes', { reason: cause });
        if (!first) return;
        if (cause === 'leaving') engine.readsNobody();
        this.#throttle.warn(`storm brake: ${cause}`, fields, STORM_MESSAGES[cause]);
      },
      onReleased: (cause) => {
        if (cause === 'leaving') engine.readsAll();
      },
      onRefused: ({ reason, ...fields }) => {
        count('sallyport.connections.refused', { listener: fields.listener, reason });
        door.refused(fields, reason);
        this.#throttle.info(`refused: ${reason}`, fields, 'connection refused');
      },
      isBanned: (address) => bans.hasAddress(address),
      onProblem: (problem) =>
        this.#throttle.warn(problem.code, { err: problem }, 'listener trouble'),
      onCertificate: (listener, { validTo }) =>
        setGauge('sallyport.tls.certificate.valid_until', validTo / 1000, { listener }),
      trustOf: (listener) => this.#trusts.of(listener),
    });
    this.#listeners.push(...opened);
    this.#trusts.attach(opened);
    for (const { name, address } of this.#listeners) {
      this.#ports.logger.info({ listener: name, ...address }, 'listening');
      if (loginOf(this.#options.mqtt, name).authentication !== 'none') continue;
      this.#ports.logger.warn({ listener: name }, 'whoever comes is let in, unproven');
    }
  }

  #fail(failure: OperationalError): void {
    this.#failure = failure;
    this.#ports.logger.fatal({ code: failure.code, err: failure }, 'the log cannot be followed');
  }

  /** Addresses by the listener's name. */
  get addresses(): ReadonlyMap<string, { readonly host: string; readonly port: number }> {
    return new Map(this.#listeners.map((one) => [one.name, one.address]));
  }

  /** What must hold before traffic may come. */
  ready(): Readonly<Record<string, true | string>> {
    for (const { name, connections } of this.#listeners) {
      setGauge('sallyport.connections', connections, { listener: name });
    }
    const { bus, sessionStore } = this.#ports;
    return {
      draining: this.#draining ? 'yes' : true,
      log: this.#failure?.code ?? this.#enforcer?.staleness ?? (this.#enforcer ? true : 'starting'),
      bus: bus.connected || 'not connected',
      sessions: sessionStore.connected || 'not connected',
      listeners: this.#listeners.length > 0 || 'not open',
    };
  }

  /** To be called when the bus or the session store is there again: what was missed meanwhile is in the store. */
  catchUp(): void {
    this.#engine?.catchUp();
  }

  /** Reads the certificate files again, at once. */
  async reload(): Promise<void> {
    await Promise.all(this.#listeners.map((listener) => listener.reload()));
  }

  /** Takes no more connections, closes those that are open, and leaves the cluster. */
  async drain(): Promise<void> {
    if (this.#draining) return;
    this.#draining = true;
    for (const listener of this.#listeners) listener.close();
    this.#trusts.close();
    await this.#desk?.[Symbol.asyncDispose]();
    await this.#engine?.[Symbol.asyncDispose]();
    await this.#kernel?.close();
    for (const listener of this.#listeners) listener.closeConnections();
    await this.#enforcer?.[Symbol.asyncDispose]();
    await this.#uses?.[Symbol.asyncDispose]();
    this.#places?.[Symbol.dispose]();
    await this.#membership?.leave();
    this.#counters.close();
    this.#throttle.close();
  }
}
