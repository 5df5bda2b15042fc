import { startAccepting } from './accept.ts';
import type { AcceptedConnection, ListenerOptions, RunningListener } from './listener.ts';

/** MQTT over TCP. @throws OperationalError `config_invalid` when the address cannot be listened on */
export async function startTcpListener(
  options: ListenerOptions,
  onConnection: (connection: AcceptedConnection) => void,
): Promise<RunningListener> {
  return startAccepting(options, (socket, peer) => {
    onConnection({ stream: socket, listener: options.name, peer });
  });
}
