import { existsSync, mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import {
  bootstrap,
  createAdminApi,
  type IssuingAuthority,
  loadIssuingAuthority,
  writeRegistrations,
  writeRehashes,
} from '@sallyport/admin-api';
import { BrokerNode, limitsOf, queueObserver } from '@sallyport/broker';
import { formatHostPort, loadConfig, redacted } from '@sallyport/config';
import { CommandExecutor, type EventLog } from '@sallyport/event-log';
import { openSqliteEventLog } from '@sallyport/event-log/sqlite';
import { createLocalBus } from '@sallyport/message-bus';
import { LocalNodeCalls, MemoryNodeRegistry } from '@sallyport/node-registry';
import { PolicyService, RegistrationRecorder, Rehasher } from '@sallyport/policy';
import { ReadModel } from '@sallyport/read-model';
import { SecretHasher } from '@sallyport/secrets';
import type { SessionStore } from '@sallyport/session-store';
import { openSqliteSessionStore } from '@sallyport/session-store/sqlite';
import {
  createOpsHandler,
  type Logger,
  runMain,
  runUntilSignal,
  startTelemetry,
} from '@sallyport/telemetry';
import { checkStandaloneConfig, type StandaloneConfig, standaloneConfigSchema } from './config.ts';
import { loadDeploymentKey } from './deployment-key.ts';
import { firstPassword, greeting } from './greeting.ts';

const NODE_ID = 'standalone';
const clock = Date.now;

interface ControlPlane {
  readonly log: EventLog;
  readonly model: ReadModel;
  readonly box: ReturnType<typeof loadDeploymentKey>;
  readonly hasher: SecretHasher;
  readonly executor: CommandExecutor;
  readonly policy: PolicyService;
  readonly passwordPolicy: StandaloneConfig['passwordPolicy'];
  readonly issuer: IssuingAuthority | undefined;
  /** What works behind the logins. */
  readonly behind: { readonly imported: Rehasher; readonly refused: RegistrationRecorder };
}

/** Log, read model, policy service: the same code as in the cluster, on files in one folder. */
async function openControlPlane(config: StandaloneConfig, logger: Logger): Promise<ControlPlane> {
  const issuer = loadIssuingAuthority(config.registration);
  mkdirSync(config.dataDir, { recursive: true, mode: 0o700 });
  const path = join(config.dataDir, 'log.sqlite');
  const logExists = existsSync(path);
  const { key } = config.secrets;
  const box = loadDeploymentKey({ dataDir: config.dataDir, key, logExists });
  const log = await openSqliteEventLog({
    path,
    // Whoever follows it finds out that nothing comes any more, and says that it is not ready.
    onFailure: (failure) => {
      logger.fatal({ code: failure.code, err: failure }, 'the disk of the log has failed');
    },
  });
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
  const hasher = new SecretHasher(box);
  const executor = new CommandExecutor({ log, model });
  const { passwordPolicy } = config;
  const parts = { box, hasher, logger, clock, passwordPolicy };
  const imported = new Rehasher({
    ...parts,
    store: (secrets) => writeRehashes({ executor, clock }, secrets),
  });
  const refused = new RegistrationRecorder({
    ...{ ...parts, reads: model.reads },
    store: (attempts) => writeRegistrations({ executor, clock }, attempts),
  });
  const behind = { imported, refused };
  const policy = new PolicyService({ model, box, hasher, clock, ...behind });
  return { log, model, box, hasher, executor, policy, behind, passwordPolicy, issuer };
}

async function openSessionStore(
  { dataDir, sessions, mqtt }: StandaloneConfig,
  logger: Logger,
): Promise<SessionStore> {
  return openSqliteSessionStore({
    path: join(dataDir, 'sessions.sqlite'),
    synchronous: sessions.synchronous,
    limits: limitsOf(mqtt),
    observer: queueObserver,
    onProblem: (problem) => {
      logger.error({ code: problem.code, err: problem }, 'sessions cannot be stored');
    },
  });
}

async function main(config: StandaloneConfig): Promise<void> {
  const telemetry = await startTelemetry({
    ...config.telemetry,
    serviceName: 'sallyport-standalone',
    instanceId: NODE_ID,
    // Standard output is for the greeting.
    logDestination: process.stderr,
  });
  const { logger } = telemetry;
  logger.info({ config: redacted(config, standaloneConfigSchema) }, 'starting');
  const plane = await openControlPlane(config, logger);
  const { log, model, policy } = plane;
  const registry = new MemoryNodeRegistry();
  const calls = new LocalNodeCalls();
  const sessionStore = await openSessionStore(config, logger);
  const bus = createLocalBus();
  const ports = { log, policy, sessionStore, bus, registry, calls, logger, clock };
  const { mqtt, enforcement } = config;
  const node = new BrokerNode({ nodeId: NODE_ID, mqtt, enforcement }, ports);
  let started = false;
  const ops = createOpsHandler({
    metricsToken: config.telemetry.metricsToken,
    telemetry,
    checks: {
      live: () => true,
      ready: () => ({ readModel: (model.failure ?? model.trouble)?.code ?? true, ...node.ready() }),
      started: () => started,
    },
  });
  const adminPorts = {
    ...plane,
    secretBox: plane.box,
    registry,
    calls,
    clock,
    ops,
    telemetry: { logger, tracing: config.telemetry.otlpUrl !== undefined },
  };
  const { generatedPassword } = await bootstrap(config.bootstrap, adminPorts);
  // At once: it is never told again, whatever happens to the rest of the start.
  if (generatedPassword !== undefined) process.stdout.write(firstPassword(generatedPassword));
  await node.start();
  const admin = await createAdminApi(config, adminPorts);
  const httpUrls = await admin.listen();
  started = true;
  const listeners = [...node.addresses].map(
    ([name, address]) => [name, formatHostPort(address)] as const,
  );
  process.stdout.write(
    greeting({
      httpUrls,
      listeners: new Map(listeners),
      dataDir: resolve(config.dataDir),
      password: generatedPassword,
    }),
  );
  runUntilSignal({
    logger,
    drain: async () => {
      await admin.close();
      await node.drain();
      await plane.behind.imported[Symbol.asyncDispose]();
      await plane.behind.refused[Symbol.asyncDispose]();
      await sessionStore.destroy();
      await registry[Symbol.asyncDispose]();
      await model[Symbol.asyncDispose]();
      await log[Symbol.asyncDispose]();
      await telemetry.shutdown();
    },
  });
}

await runMain(() =>
  main(
    loadConfig({ schema: standaloneConfigSchema, env: process.env, check: checkStandaloneConfig }),
  ),
);
