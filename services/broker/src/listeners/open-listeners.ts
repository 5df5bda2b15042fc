import { parseListenAddress } from '@sallyport/config';
import { OperationalError } from '@sallyport/errors';
import { listenerNames, type MqttConfig, type Transport, transports } from '../config.ts';
import { ConnectionGate, type Refusal } from './connection-gate.ts';
import type {
  AcceptedConnection,
  ListenerOptions,
  RunningListener,
  StormBrakes,
} from './listener.ts';
import { startListener } from './start-listener.ts';
import { ARRIVING_SLICES, type Braked, LEAVING_SLICES, StormBrake } from './storm-brake.ts';
import { type LoadedCertificate, TlsCredentials, type TrustOverride } from './tls-credentials.ts';

/** A client may put a packet into one message with a few others that are small. */
const MESSAGE_OVERHEAD_BYTES = 64 * 1024;

/** Why sockets are left unread for a while. */
export type StormCause = keyof StormBrakes;

export interface ListenerHandlers {
  /** As of `StormBrakeOptions`. */
  readonly onBrake?: (cause: StormCause, braked: Braked) => void;
  readonly onReleased?: (cause: StormCause) => void;
  readonly onConnection: (connection: AcceptedConnection) => void;
  /** As many as strangers wish: throttle before logging. */
  readonly onRefused?: (refusal: Refusal) => void;
  readonly isBanned?: (address: string) => boolean;
  readonly onProblem?: (problem: OperationalError) => void;
  /** The server certificate was read, at the start and after each change. */
  readonly onCertificate?: (listener: string, certificate: LoadedCertificate) => void;
  /** What a TLS listener shows and trusts in place of its files, from its first handshake on. */
  readonly trustOf?: (listener: string) => TrustOverride | undefined;
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

/** Listeners with a rate of their own. */
function acceptRatesOf(config: MqttConfig): ReadonlyMap<string, number> {
  const rates = transports.map(
    (transport) => [listenerNames[transport], config[transport].acceptsPerSecond] as const,
  );
  return new Map(rates.filter(([, rate]) => rate > 0));
}

function gateOf(config: MqttConfig, { onRefused, isBanned }: ListenerHandlers): ConnectionGate {
  return new ConnectionGate({
    limits: {
      ...config,
      connectTimeoutMs: config.limits.connectTimeoutMs,
      acceptsPerSecondOf: acceptRatesOf(config),
    },
    ...(isBanned !== undefined && { isBanned }),
    ...(onRefused !== undefined && { onRefused }),
  });
}

function brakesOf(config: MqttConfig, { onBrake, onReleased }: ListenerHandlers): StormBrakes {
  const { leavingStorm, arrivingStorm } = config;
  const on = (cause: StormCause) => ({
    onBrake: (braked: Braked) => onBrake?.(cause, braked),
    onReleased: () => onReleased?.(cause),
  });
  return {
    leaving: new StormBrake({
      limits: { clientsMin: leavingStorm.leavesMin, turnMsMax: leavingStorm.turnMsMax },
      slices: LEAVING_SLICES,
      ...on('leaving'),
    }),
    arriving: new StormBrake({
      limits: { clientsMin: arrivingStorm.arrivalsMin, turnMsMax: arrivingStorm.turnMsMax },
      slices: ARRIVING_SLICES,
      underWayMax: arrivingStorm.underWayMax,
      ...on('arriving'),
    }),
  };
}

async function credentialsOf(
  listener: string,
  { tls }: MqttConfig,
  { onProblem, onCertificate, trustOf }: ListenerHandlers,
): Promise<TlsCredentials> {
  const { certFile = '', keyFile = '', caFile, crlFile, clientCertificate, reloadSeconds } = tls;
  const credentials = await TlsCredentials.open({
    certFile,
    keyFile,
    caFile,
    crlFile,
    clientCertificate,
    reloadMs: reloadSeconds * 1000,
    onProblem,
    onLoaded: (certificate) => onCertificate?.(listener, certificate),
  });
  const trust = trustOf?.(listener);
  try {
    if (trust !== undefined) credentials.override(trust);
  } catch (error) {
    // The listener refuses handshakes; the others can do without it.
    if (!(error instanceof OperationalError)) throw error;
    onProblem?.(error);
  }
  return credentials;
}

/**
 * Opens what `config` wants, all with one gate. The configuration has been checked.
 * @throws OperationalError `config_invalid` when an address cannot be listened on, or a certificate cannot be used; nothing is
 * open then
 */
export async function openListeners(
  config: MqttConfig,
  handlers: ListenerHandlers,
): Promise<readonly RunningListener[]> {
  const { proxyFrom, limits } = config;
  const { onConnection, onProblem } = handlers;
  const gate = gateOf(config, handlers);
  const brakes = brakesOf(config, handlers);
  const common = { gate, brakes, proxyFrom, ...(onProblem !== undefined && { onProblem }) };
  const webSocket = {
    ...(config.ws.originsAllowed !== undefined && { originsAllowed: config.ws.originsAllowed }),
    messageBytesMax: limits.packetBytesMax + MESSAGE_OVERHEAD_BYTES,
  };
  const wanted = wantedOf(config);
  const isSecure = (transport: Transport): boolean => transport === 'tls' || transport === 'wss';
  const open: RunningListener[] = [];
  try {
    for (const { transport, host, port } of wanted) {
      const name = listenerNames[transport];
      const tls = isSecure(transport) ? await credentialsOf(name, config, handlers) : undefined;
      const options: ListenerOptions = {
        ...common,
        name,
        host,
        port,
        ...(tls !== undefined && { tls }),
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
