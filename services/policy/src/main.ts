import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { loadConfig, parseConnectAddress, redacted } from '@sallyport/config';
import type { PasswordPolicy } from '@sallyport/domain';
import { OperationalError } from '@sallyport/errors';
import {
  LOG_STREAM_NAME,
  openJetStreamEventLog,
  openNatsConnection,
} from '@sallyport/event-log/jetstream';
import { ReadModel } from '@sallyport/read-model';
import { SecretBox, SecretHasher } from '@sallyport/secrets';
import {
  type Logger,
  runMain,
  runUntilSignal,
  startOpsServer,
  startTelemetry,
} from '@sallyport/telemetry';
import {
  encodeRegistrations,
  encodeRehash,
  REGISTRATION_SUBJECT,
  REHASH_SUBJECT,
} from '@sallyport/wire';
import { checkPolicyConfig, type PolicyConfig, policyConfigSchema } from './config.ts';
import { type RunningGrpcServer, startGrpcServer } from './grpc/server.ts';
import { RegistrationRecorder } from './registration/registration-recorder.ts';
import { Rehasher } from './rehash/rehasher.ts';
import { PolicyService } from './service.ts';

/** How long running calls may go on after SIGTERM. */
const DRAIN_GRACE_MS = 3_000;

const clock = Date.now;

/**
 * From here on the main thread collects what is young alone. Nothing is left of a decision, so there is hardly anything to share, and with
 * helpers the thread stands still until the last of them has had a core: 10 to 80 ms where others are busy. Not earlier: much is left of
 * what is folded from a long log, and helpers save the thread an eighth of its work then.
 */
function collectAlone(): void {
  setFlagsFromString('--no-parallel-scavenge');
}

/** What comes of logins, behind them. Only admin-api may write the log: it is told without an answer, and what gets lost comes again. */
function openBehind({
  connection,
  model,
  ...parts
}: {
  readonly connection: Awaited<ReturnType<typeof openNatsConnection>>;
  readonly model: ReadModel;
  readonly box: SecretBox;
  readonly hasher: SecretHasher;
  readonly logger: Logger;
  readonly passwordPolicy: PasswordPolicy;
}): { readonly rehasher: Rehasher; readonly recorder: RegistrationRecorder } {
  const say = async (subject: string, message: string): Promise<void> => {
    await Promise.resolve();
    if (connection.isClosed()) throw new OperationalError('log_unavailable', 'no connection');
    connection.publish(subject, message);
  };
  const rehasher = new Rehasher({
    ...{ ...parts, clock },
    store: (secrets) => say(REHASH_SUBJECT, encodeRehash(secrets)),
  });
  const recorder = new RegistrationRecorder({
    ...{ ...parts, clock, reads: model.reads },
    store: (attempts) => say(REGISTRATION_SUBJECT, encodeRegistrations(attempts)),
  });
  return { rehasher, recorder };
}

async function main(config: PolicyConfig): Promise<void> {
  const telemetry = await startTelemetry({
    ...config.telemetry,
    serviceName: 'sallyport-policy',
    instanceId: config.grpc.listen,
  });
  const { logger } = telemetry;
  logger.info({ config: redacted(config, policyConfigSchema) }, 'starting');
  // Filled while starting; health answers from the first moment.
  const parts: { model?: ReadModel; grpc?: RunningGrpcServer } = {};
  const ops = await startOpsServer({
    address: parseConnectAddress(config.ops.listen),
    metricsToken: config.telemetry.metricsToken,
    telemetry,
    checks: {
      live: () => true,
      ready: () => ({ readModel: (parts.model?.failure ?? parts.model?.trouble)?.code ?? true }),
      started: () => parts.grpc !== undefined,
    },
  });
  const connection = await openNatsConnection({
    servers: config.nats.servers,
    user: config.nats.user,
    pass: config.nats.password,
    name: 'sallyport-policy',
  });
  const log = await openJetStreamEventLog({
    connection,
    replicas: config.nats.replicas,
    streamName: LOG_STREAM_NAME,
    createStream: false,
    apiPrefix: config.nats.logApiPrefix,
  });
  const model = await ReadModel.open({
    path: join(config.dataDir, 'read-model.sqlite'),
    log,
    lists: false,
    onFailure: (failure) => {
      logger.fatal({ code: failure.code, err: failure }, 'the fold has stopped');
    },
    onTrouble: (trouble) => {
      logger.error({ code: trouble.code, err: trouble }, 'trouble with the read model');
    },
  });
  parts.model = model;
  collectAlone();
  const box = SecretBox.fromBase64(config.secrets.key);
  const hasher = new SecretHasher(box);
  const { passwordPolicy } = config;
  const ports = { connection, model, box, hasher, logger, passwordPolicy };
  const { rehasher, recorder } = openBehind(ports);
  const behind = { imported: rehasher, refused: recorder };
  const policy = new PolicyService({ model, box, hasher, clock, ...behind });
  const grpc = await startGrpcServer(policy, config.grpc, logger);
  parts.grpc = grpc;
  logger.info({ port: grpc.port, revision: model.revision }, 'ready');
  runUntilSignal({
    logger,
    drain: async () => {
      await grpc.close(DRAIN_GRACE_MS);
      await rehasher[Symbol.asyncDispose]();
      await recorder[Symbol.asyncDispose]();
      await model[Symbol.asyncDispose]();
      await log[Symbol.asyncDispose]();
      await connection.close();
      await ops.close();
      await telemetry.shutdown();
    },
  });
}

await runMain(() =>
  main(loadConfig({ schema: policyConfigSchema, env: process.env, check: checkPolicyConfig })),
);
