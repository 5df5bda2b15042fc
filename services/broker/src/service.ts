import { parseListenAddress } from '@sallyport/config';
import { OperationalError } from '@sallyport/errors';
import type { EventLog } from '@sallyport/event-log';
import type { MessageBus } from '@sallyport/message-bus';
import type { Membership, NodeRegistry } from '@sallyport/node-registry';
import { PolicyCache, type PolicyClient, type PolicyStatus } from '@sallyport/policy-client';
import type { SessionStore } from '@sallyport/session-store';
import { createLogThrottle, type Logger, type LogThrottle, setGauge } from '@sallyport/telemetry';
import { Enforcer } from './access/enforcer.ts';
import { type LiveSession, LiveSessions } from './access/live-sessions.ts';
import type { EnforcementConfig, MqttConfig } from './config.ts';
import { createKernel, type Kernel } from './engine/kernel.ts';
import type { KernelClient, KernelHooks } from './engine/kernel-hooks.ts';
import { authenticate, type AuthenticateContext } from './hooks/authenticate.ts';
import { authorizeForward } from './hooks/authorize-forward.ts';
import { authorizePublish } from './hooks/authorize-publish.ts';
import { authorizeSubscribe } from './hooks/authorize-subscribe.ts';
import type { AcceptedConnection, RunningListener } from './listeners/listener.ts';
import { startTcpListener } from './listeners/tcp-listener.ts';
import { startWsListener } from './listeners/ws-listener.ts';

/** Pause between two tries to reach the policy service at the start. */
const START_RETRY_MS = 250;

export interface BrokerPorts {
  readonly log: EventLog;
  readonly policy: PolicyClient;
  readonly sessionStore: SessionStore;
  readonly bus: MessageBus;
  readonly registry: NodeRegistry;
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
  // Also of connections that have ended: the kernel still asks, for the will.
  readonly #sessionOf = new WeakMap<KernelClient, LiveSession>();
  readonly #connected = new WeakSet<KernelClient>();
  readonly #throttle: LogThrottle;
  readonly #listeners: RunningListener[] = [];
  #enforcer: Enforcer | undefined;
  #membership: Membership | undefined;
  #kernel: Kernel | undefined;
  #draining = false;
  #failure: OperationalError | undefined;

  constructor(options: BrokerOptions, ports: BrokerPorts) {
    this.#options = options;
    this.#ports = ports;
    this.#throttle = createLogThrottle({ logger: ports.logger });
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
    const start = await this.#policyStatus();
    const cache = new PolicyCache({ client: policy, log, revision: start.revision, clock });
    const caughtUp = new Promise<void>((resolve) => {
      const enforcer = new Enforcer({
        log,
        client: policy,
        cache,
        sessions: this.#sessions,
        start,
        maxStalenessMs: enforcement.maxStalenessSeconds * 1000,
        whenStale: enforcement.whenStale,
        clock,
        logger,
        onEnforced: (state) => {
          this.#membership?.announce(state);
          if (state.revision >= head) resolve();
        },
        onFailure: (failure) => this.#fail(failure),
      });
      this.#enforcer = enforcer;
      this.#membership?.announce(enforcer.enforced);
      if (start.revision >= head) resolve();
    });
    await caughtUp;
    this.#kernel = await createKernel({
      sessionStore: this.#ports.sessionStore,
      bus: this.#ports.bus,
      hooks: this.#hooks(cache),
      onProblem: (problem) => this.#throttle.warn(problem.code, { err: problem }, 'kernel trouble'),
      onClientError: (client, error) => {
        const fields = { clientId: client.clientId, peer: client.connection.peer, err: error };
        this.#throttle.info('client error', fields, 'a client broke off');
      },
    });
    await this.#listen(this.#kernel);
  }

  async #policyStatus(): Promise<PolicyStatus> {
    for (;;) {
      try {
        return await this.#ports.policy.status();
      } catch (error) {
        if (!(error instanceof OperationalError && error.retryable)) throw error;
        this.#ports.logger.warn({ code: error.code }, 'waiting for the policy service');
        await new Promise((resolve) => setTimeout(resolve, START_RETRY_MS));
      }
    }
  }

  #hooks(cache: PolicyCache): KernelHooks {
    const logger = this.#throttle;
    const sessionOf = (client: KernelClient): LiveSession | undefined =>
      this.#sessionOf.get(client);
    const context: AuthenticateContext = {
      cache,
      sessions: this.#sessions,
      staleness: () => (this.#draining ? 'draining' : this.#enforcer?.staleness),
      logger,
    };
    return {
      authenticate: (client, username, password, will, done) => {
        const { connection, clientId } = client;
        const { listener, peer } = connection;
        const request = { clientId, username, password, willTopic: will?.topic, listener, peer };
        void authenticate(context, request, (reason) => this.#close(client, reason)).then(
          ({ verdict, session }) => {
            if (session !== undefined) this.#enter(client, session);
            done(verdict);
          },
        );
      },
      authorizePublish: (client, { topic }, done) =>
        done(authorizePublish(client === null ? undefined : sessionOf(client), topic, logger)),
      authorizeSubscribe: (client, { filter }, done) =>
        done(authorizeSubscribe(sessionOf(client), filter, logger)),
      authorizeForward: (client, topic) => authorizeForward(sessionOf(client), topic),
      connected: (client) => this.#connected.add(client),
      disconnected: (client) => this.#leave(client),
    };
  }

  /** The session counts until the kernel is done with its will, or until the socket closes before it was connected. */
  #enter(client: KernelClient, session: LiveSession): void {
    const { stream } = client.connection;
    this.#sessionOf.set(client, session);
    if (stream.destroyed) this.#leave(client);
    stream.once('close', () => {
      if (!this.#connected.has(client)) this.#leave(client);
    });
  }

  #leave(client: KernelClient): void {
    const session = this.#sessionOf.get(client);
    if (session !== undefined) this.#sessions.remove(session);
  }

  #close(client: KernelClient, reason: string): void {
    this.#throttle.info(`ended: ${reason}`, { clientId: client.clientId, reason }, 'session ended');
    void this.#kernel?.disconnect(client);
  }

  async #listen(kernel: Kernel): Promise<void> {
    const { mqtt } = this.#options;
    const common = {
      proxyFrom: mqtt.proxyFrom,
      connectionsMax: mqtt.connectionsMax,
      onProblem: (problem: OperationalError) =>
        this.#throttle.warn(problem.code, { err: problem }, 'listener trouble'),
    };
    const accept = (connection: AcceptedConnection): void => void kernel.handle(connection);
    const tcp = parseListenAddress(mqtt.tcp.listen);
    if (tcp !== 'off') {
      const options = { name: 'tcp:default', ...tcp, ...common };
      this.#listeners.push(await startTcpListener(options, accept));
    }
    const ws = parseListenAddress(mqtt.ws.listen);
    if (ws !== 'off') {
      const options = { name: 'ws:default', ...ws, ...common };
      this.#listeners.push(await startWsListener(options, accept));
    }
    for (const { name, address } of this.#listeners) {
      this.#ports.logger.info({ listener: name, ...address }, 'listening');
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

  /** Takes no more connections, closes those that are open, and leaves the cluster. */
  async drain(): Promise<void> {
    if (this.#draining) return;
    this.#draining = true;
    for (const listener of this.#listeners) listener.close();
    await this.#kernel?.close();
    for (const listener of this.#listeners) listener.closeConnections();
    await this.#enforcer?.[Symbol.asyncDispose]();
    await this.#membership?.leave();
    this.#throttle.close();
  }
}
