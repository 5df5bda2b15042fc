import { parseListenAddress } from '@sallyport/config';
import type { OperationalError } from '@sallyport/errors';
import { listenerNames, type MqttConfig, type Transport, transports } from '../config.ts';
import { ConnectionGate, type Refusal } from './connection-gate.ts';
import type { AcceptedConnection, ListenerOptions, RunningListener } from './listener.ts';
import { startListener } from './start-listener.ts';
import { type LoadedCertificate, TlsCredentials } from './tls-credentials.ts';

/** A client may put a packet into one message with a few others that are small. */
const MESSAGE_OVERHEAD_BYTES = 64 * 1024;

export interface ListenerHandlers {
  readonly onConnection: (connection: AcceptedConnection) => void;
  /** As many as strangers wish: throttle before logging. */
  readonly onRefused?: (refusal: Refusal) => void;
  readonly onProblem?: (problem: OperationalError) => void;
  /** The server certificate was read, at the start and after each change. */
  readonly onCertificate?: (certificate: LoadedCertificate) => void;
}

type Wanted = readonly {
  readonly transport: Transport;
  readonly host: string;
  readonly port: number;
}[];

function wantedOf(config: MqttConfig): Wanted {
  return transports.flatMap((transport) => {
    const address = parseListenAddress(config[transport].listen);
    return address === 'off' ? [] : [{ transport, ...address }];
  });
}

async function credentialsOf(
  { tls }: MqttConfig,
  { onProblem, onCertificate }: ListenerHandlers,
): Promise<TlsCredentials> {
  const { certFile = '', keyFile = '', caFile, crlFile, clientCertificate, reloadSeconds } = tls;
  return TlsCredentials.open({
    certFile,
    keyFile,
    caFile,
    crlFile,
    clientCertificate,
    reloadMs: reloadSeconds * 1000,
    onProblem,
    onLoaded: onCertificate,
  });
}

/**
 * Opens what `config` wants, all with one gate and one set of certificates. The configuration has been checked.
 * @throws OperationalError `config_invalid` when an address cannot be listened on, or a certificate cannot be used; nothing is
 * open then
 */
export async function openListeners(
  config: MqttConfig,
  handlers: ListenerHandlers,
): Promise<readonly RunningListener[]> {
  const { proxyFrom, limits } = config;
  const { onConnection, onRefused, onProblem } = handlers;
  const gate = new ConnectionGate({
    limits: { ...config, connectTimeoutMs: limits.connectTimeoutMs },
    ...(onRefused !== undefined && { onRefused }),
  });
  const common = { gate, proxyFrom, ...(onProblem !== undefined && { onProblem }) };
  const webSocket = {
    ...(config.ws.originsAllowed !== undefined && { originsAllowed: config.ws.originsAllowed }),
    messageBytesMax: limits.packetBytesMax + MESSAGE_OVERHEAD_BYTES,
  };
  const wanted = wantedOf(config);
  const isSecure = (transport: Transport): boolean => transport === 'tls' || transport === 'wss';
  const tls = wanted.some((one) => isSecure(one.transport))
    ? await credentialsOf(config, handlers)
    : undefined;
  const open: RunningListener[] = [];
  try {
    for (const { transport, host, port } of wanted) {
      const options: ListenerOptions = {
        ...common,
        name: listenerNames[transport],
        host,
        port,
        ...(isSecure(transport) && tls !== undefined && { tls }),
        ...((transport === 'ws' || transport === 'wss') && { webSocket }),
      };
      open.push(await startListener(options, onConnection));
    }
  } catch (error) {
    for (const listener of open) await listener[Symbol.asyncDispose]();
    throw error;
  }
  return open;
}
