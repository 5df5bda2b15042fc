import { readFileSync } from 'node:fs';
import { loadConfig, parseConnectAddress, redacted } from '@sallyport/config';
import {
  LOG_STREAM_NAME,
  natsConnectionOptions,
  openNatsConnection,
  openJetStreamEventLog,
} from '@sallyport/event-log/jetstream';
import { openNatsMessageBus } from '@sallyport/message-bus/nats';
import { NatsNodeCalls, openNatsNodeRegistry } from '@sallyport/node-registry/nats';
import { GrpcPolicyClient } from '@sallyport/policy-client/grpc';
import { openRedisSessionStore, redisConnection } from '@sallyport/session-store/redis';
import {
  count,
  type Logger,
  runMain,
  runUntilSignal,
  startOpsServer,
  startTelemetry,
} from '@sallyport/telemetry';
import { type BrokerConfig, brokerConfigSchema, checkBrokerConfig, limitsOf } from './config.ts';
import { queueObserver } from './engine/engine-counters.ts';
import { BrokerNode, type BrokerPorts } from './service.ts';

type Ports = BrokerPorts & { readonly close: () => Promise<void> };

/** Opens what the node works with, in the cluster profile. */
async function openPorts(
  config: BrokerConfig,
  logger: Logger,
  afterGap: () => void,
): Promise<Ports> {
  const { servers, user, password, replicas } = config.nats;
  const nats = { servers, user, pass: password };
  const onProblem = (problem: unknown): void => logger.warn({ err: problem }, 'connection trouble');
  // What decides goes its own way, so that a flood of messages cannot hold it up.
  const control = await openNatsConnection({ ...nats, name: `${config.node.id} control` });
  const log = await openJetStreamEventLog({
    connection: control,
    streamName: LOG_STREAM_NAME,
    replicas,
    createStream: false,
    apiPrefix: config.nats.logApiPrefix,
  });
  const registry = await openNatsNodeRegistry({ connection: control, replicas });
  const calls = new NatsNodeCalls({ connection: control });
  const sessionStore = await openRedisSessionStore({
    connection: redisConnection(config.redis.url),
    limits: limitsOf(config.mqtt),
    observer: queueObserver,
    onProblem,
  });
  const bus = await openNatsMessageBus({
    connection: natsConnectionOptions({ ...nats, name: `${config.node.id} bus` }),
    onProblem,
    onReconnect: (gap) => {
      count('sallyport.bus.reconnects', {});
      logger.warn(gap, 'the message bus was away; what is not stored of that time is lost');
      // Other nodes may have told of subscriptions meanwhile, and have queued for our sessions.
      sessionStore.resyncSubscriptions().catch(onProblem);
      afterGap();
    },
  });
  const policy = new GrpcPolicyClient({
    endpoints: config.policy.endpoints,
    ...(config.policy.token !== undefined && { token: config.policy.token }),
    ...tlsOf(config.policy),
  });
  return {
    log,
    registry,
    calls,
    bus,
    sessionStore,
    policy,
    logger,
    clock: Date.now,
    close: async () => {
      await policy[Symbol.asyncDispose]();
      await bus[Symbol.asyncDispose]();
      await sessionStore.destroy();
      await calls[Symbol.asyncDispose]();
      await registry[Symbol.asyncDispose]();
      await log[Symbol.asyncDispose]();
      await control.close();
    },
  };
}

function tlsOf({ caFile, certFile, keyFile }: BrokerConfig['policy']) {
  if (caFile === undefined) return {};
  return {
    tls: {
      ca: readFileSync(caFile),
      ...(certFile !== undefined && { cert: readFileSync(certFile) }),
      ...(keyFile !== undefined && { key: readFileSync(keyFile) }),
    },
  };
}

async function main(config: BrokerConfig): Promise<void> {
  const telemetry = await startTelemetry({
    ...config.telemetry,
    serviceName: 'sallyport-broker',
    instanceId: config.node.id,
  });
  const { logger } = telemetry;
  logger.info({ config: redacted(config, brokerConfigSchema) }, 'starting');
  // Filled while starting; health answers from the first moment.
  const parts: { node?: BrokerNode } = {};
  let started = false;
  const ops = await startOpsServer({
    address: parseConnectAddress(config.ops.listen),
    metricsToken: config.telemetry.metricsToken,
    telemetry,
    checks: {
      live: () => true,
      ready: () => parts.node?.ready() ?? { node: 'starting' },
      started: () => started,
    },
  });
  const ports = await openPorts(config, logger, () => parts.node?.catchUp());
  const { id: nodeId } = config.node;
  const node = new BrokerNode(
    { nodeId, mqtt: config.mqtt, enforcement: config.enforcement },
    ports,
  );
  parts.node = node;
  await node.start();
  started = true;
  process.on('SIGHUP', () => void node.reload());
  runUntilSignal({
    logger,
    drain: async () => {
      await node.drain();
      await ports.close();
      await ops.close();
      await telemetry.shutdown();
    },
  });
}

await runMain(() =>
  main(loadConfig({ schema: brokerConfigSchema, env: process.env, check: checkBrokerConfig })),
);
