import { readFileSync } from 'node:fs';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { OperationalError } from '@sallyport/errors';
import type { LoginExplainer, PolicyClient } from '@sallyport/policy-client';
import { MESSAGE_BYTES_MAX, policyHandlers } from '@sallyport/policy-client/grpc';
import type { Logger } from '@sallyport/telemetry';
import { policyServiceDefinition } from '@sallyport/wire';
import type { PolicyConfig } from '../config.ts';

export interface RunningGrpcServer {
  /** The port that is listened on, also when 0 was asked for. */
  readonly port: number;
  /** Lets running calls end, at most `graceMs`, and closes. */
  close(graceMs: number): Promise<void>;
}

/** How often a connection is asked for a sign of life, and how long it has for that: a broker that is gone may leave its streams. */
const KEEPALIVE_MS = 10_000;

/** Serves a policy service over gRPC. @throws OperationalError `config_invalid` when it cannot listen or read its files */
export async function startGrpcServer(
  policy: PolicyClient & LoginExplainer,
  config: PolicyConfig['grpc'],
  logger: Logger,
  keepaliveMs = KEEPALIVE_MS,
): Promise<RunningGrpcServer> {
  const server = new Server({
    'grpc.keepalive_time_ms': keepaliveMs,
    'grpc.keepalive_timeout_ms': keepaliveMs,
    'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
    // Its counters of every call are for a service of channelz, and there is none.
    'grpc.enable_channelz': 0,
  });
  const handlers = policyHandlers(policy, {
    token: config.token,
    onError: (error) => logger.error({ err: error }, 'a policy call failed'),
  });
  server.addService(policyServiceDefinition, handlers.implementation);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(config.listen, credentialsOf(config), (cause, bound) => {
      if (cause === null) resolve(bound);
      else {
        const where = `cannot listen on ${config.listen}`;
        reject(new OperationalError('config_invalid', where, { cause }));
      }
    });
  });
  return {
    port,
    close: (graceMs) => {
      handlers.drain();
      return shutDown(server, graceMs);
    },
  };
}

function credentialsOf(config: PolicyConfig['grpc']): ServerCredentials {
  const { certFile, keyFile, clientCaFile } = config;
  if (certFile === undefined || keyFile === undefined) return ServerCredentials.createInsecure();
  try {
    const pair = { cert_chain: readFileSync(certFile), private_key: readFileSync(keyFile) };
    const ca = clientCaFile === undefined ? null : readFileSync(clientCaFile);
    return ServerCredentials.createSsl(ca, [pair], ca !== null);
  } catch (cause) {
    throw new OperationalError('config_invalid', 'the TLS files of grpc cannot be read', { cause });
  }
}

function shutDown(server: Server, graceMs: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      server.forceShutdown();
      resolve();
    }, graceMs);
    server.tryShutdown(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}
