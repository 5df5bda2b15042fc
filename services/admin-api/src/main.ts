import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadConfig, parseConnectAddress, redacted } from '@sallyport/config';
import { CommandExecutor } from '@sallyport/event-log';
import {
  LOG_STREAM_NAME,
  openJetStreamEventLog,
  openNatsConnection,
} from '@sallyport/event-log/jetstream';
import { NatsNodeCalls, openNatsNodeRegistry } from '@sallyport/node-registry/nats';
import { GrpcPolicyClient } from '@sallyport/policy-client/grpc';
import { ReadModel } from '@sallyport/read-model';
import { SecretBox, SecretHasher } from '@sallyport/secrets';
import {
  type Logger,
  runMain,
  runUntilSignal,
  startOpsServer,
  startTelemetry,
} from '@sallyport/telemetry';
import { bootstrap, BOOTSTRAP_ADMIN } from './bootstrap.ts';
import { type AdminApiConfig, adminApiConfigSchema, checkAdminApiConfig } from './config.ts';
import { loadIssuingAuthority } from './issuing/load-issuing-authority.ts';
import type { AdminApiPorts } from './ports.ts';
import { listenForRegistrations } from './registration/registration-listener.ts';
import { listenForRehashes } from './rehash/rehash-listener.ts';
import { createAdminApi } from './service.ts';

type Opened = Omit<AdminApiPorts, 'telemetry' | 'model'> & {
  readonly model: ReadModel;
  close(): Promise<void>;
};

/** Opens what the API works with in the cluster profile. */
async function openPorts(config: AdminApiConfig, logger: Logger): Promise<Opened> {
  const issuer = loadIssuingAuthority(config.registration);
  const { servers, user, password, nodesUser, nodesPassword, replicas } = config.nats;
  const connection = await openNatsConnection({
    servers,
    user,
    pass: password,
    name: 'sallyport-admin-api',
  });
  const log = await openJetStreamEventLog({
    connection,
    replicas: config.log.replicas ?? replicas,
    streamName: LOG_STREAM_NAME,
    createStream: true,
  });
  const maxStalenessMs = config.enforcement.maxStalenessSeconds * 1000;
  // Log and registry live in NATS accounts of their own, so that no broker can reach the log (deploy/nats/users.conf).
  const nodes = await openNatsConnection({
    servers,
    user: nodesUser ?? user,
    pass: nodesPassword ?? password,
    name: 'sallyport-admin-api nodes',
  });
  const registry = await openNatsNodeRegistry({ connection: nodes, replicas, maxStalenessMs });
  const calls = new NatsNodeCalls({ connection: nodes });
  const model = await ReadModel.open({
    path: join(config.dataDir, 'read-model.sqlite'),
    log,
    onFailure: (failure) => {
      logger.fatal({ code: failure.code, err: failure }, 'the fold has stopped');
    },
    onTrouble: (trouble) => {
      logger.error({ code: trouble.code, err: trouble }, 'trouble with the read model');
    },
  });
  const policy = new GrpcPolicyClient({
    endpoints: config.policy.endpoints,
    ...(config.policy.token === undefined ? {} : { token: config.policy.token }),
    ...tlsOf(config.policy),
  });
  const secretBox = SecretBox.fromBase64(config.secrets.key);
  const hasher = new SecretHasher(secretBox);
  const executor = new CommandExecutor({ log, model });
  const clock = Date.now;
  const inbox = { source: connection, box: secretBox, executor, logger, clock };
  const inboxes = [listenForRehashes(inbox), listenForRegistrations(inbox)];
  const close = async () => {
    for (const one of inboxes) await one[Symbol.asyncDispose]();
    await policy[Symbol.asyncDispose]();
    await model[Symbol.asyncDispose]();
    await calls[Symbol.asyncDispose]();
    await registry[Symbol.asyncDispose]();
    await nodes.close();
    await log[Symbol.asyncDispose]();
    await connection.close();
  };
  const { passwordPolicy } = config;
  const secrets = { secretBox, hasher, passwordPolicy, issuer };
  return { log, registry, calls, model, policy, ...secrets, executor, clock, close };
}

function tlsOf({ caFile, certFile, keyFile }: AdminApiConfig['policy']) {
  if (caFile === undefined) return {};
  return {
    tls: {
      ca: readFileSync(caFile),
      ...(certFile === undefined ? {} : { cert: readFileSync(certFile) }),
      ...(keyFile === undefined ? {} : { key: readFileSync(keyFile) }),
    },
  };
}

/** The first password is told on standard output and nowhere else: a log is kept, and read by many. */
function tellPassword(password: string): void {
  process.stdout.write(`\nFirst start. Log in as ${BOOTSTRAP_ADMIN} with: ${password}\n\n`);
}

async function main(config: AdminApiConfig): Promise<void> {
  const telemetry = await startTelemetry({
    ...config.telemetry,
    serviceName: 'sallyport-admin-api',
    instanceId: config.http.listen.join(),
  });
  const { logger } = telemetry;
  logger.info({ config: redacted(config, adminApiConfigSchema) }, 'starting');
  const running: { model?: ReadModel; ready?: true } = {};
  const ops = await startOpsServer({
    address: parseConnectAddress(config.ops.listen),
    metricsToken: config.telemetry.metricsToken,
    telemetry,
    checks: {
      live: () => true,
      ready: () => ({
        readModel: (running.model?.failure ?? running.model?.trouble)?.code ?? true,
      }),
      started: () => running.ready === true,
    },
  });
  const opened = await openPorts(config, logger);
  running.model = opened.model;
  const tracing = config.telemetry.otlpUrl !== undefined;
  const { generatedPassword } = await bootstrap(config.bootstrap, opened);
  // At once: it is stored, and nobody could learn it any more if the rest of the start failed.
  if (generatedPassword !== undefined) tellPassword(generatedPassword);
  const api = await createAdminApi(config, { ...opened, telemetry: { logger, tracing } });
  const addresses = await api.listen();
  running.ready = true;
  logger.info({ addresses, revision: opened.model.revision }, 'ready');
  runUntilSignal({
    logger,
    drain: async () => {
      await api.close();
      await opened.close();
      await ops.close();
      await telemetry.shutdown();
    },
  });
}

await runMain(() =>
  main(loadConfig({ schema: adminApiConfigSchema, env: process.env, check: checkAdminApiConfig })),
);
