import { once } from 'node:events';
import { BlockList, createServer, isIP, type Server, type Socket } from 'node:net';
import { OperationalError } from '@sallyport/errors';
import type { ListenerOptions, RunningListener } from './listener.ts';
import { PROXY_HEADER_TIMEOUT_MS, ProxyHeaderParser, type ProxySource } from './proxy-protocol.ts';

/** IPv4 addresses of a socket that listens on IPv6, as IPv4. */
function plainAddress(address: string): string {
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address;
}

function peerOf({ address, port }: ProxySource): string {
  const plain = plainAddress(address);
  return isIP(plain) === 6 ? `[${plain}]:${port}` : `${plain}:${port}`;
}

function familyOf(address: string): 'ipv4' | 'ipv6' {
  return isIP(address) === 6 ? 'ipv6' : 'ipv4';
}

/** @throws OperationalError `config_invalid` */
function blockListOf(entries: readonly string[]): BlockList {
  const list = new BlockList();
  for (const entry of entries) {
    const [address = '', prefix, ...more] = entry.split('/');
    try {
      if (isIP(address) === 0 || more.length > 0) throw new RangeError('not an address');
      if (prefix === undefined) list.addAddress(address, familyOf(address));
      else if (!/^[0-9]{1,3}$/.test(prefix)) throw new RangeError('not a prefix length');
      else list.addSubnet(address, Number(prefix), familyOf(address));
    } catch (cause) {
      throw new OperationalError('config_invalid', `not an address or CIDR block: ${entry}`, {
        cause,
      });
    }
  }
  return list;
}

/** Reads the PROXY header that `socket` must start with; what stands behind it stays to be read. */
function readProxyHeader(
  socket: Socket,
  onHeader: (source: ProxySource | undefined) => void,
): void {
  const parser = new ProxyHeaderParser();
  const deadline = setTimeout(() => socket.destroy(), PROXY_HEADER_TIMEOUT_MS);
  const stop = (): void => {
    clearTimeout(deadline);
    socket.off('readable', read);
    socket.off('close', stop);
  };
  // In paused mode, so that nothing flows before the next reader is there.
  const read = (): void => {
    const chunk = socket.read() as Buffer | null;
    if (chunk === null) return;
    const header = parser.feed(chunk);
    if (header.state === 'need_more') return;
    stop();
    if (header.state === 'malformed') {
      socket.destroy();
      return;
    }
    if (header.rest.length > 0) socket.unshift(header.rest);
    onHeader(header.source);
  };
  socket.on('readable', read);
  socket.on('close', stop);
}

class SocketListener implements RunningListener {
  readonly name: string;
  readonly #server: Server;
  readonly #sockets: Set<Socket>;
  readonly #address: { host: string; port: number };

  constructor(name: string, server: Server, sockets: Set<Socket>) {
    this.name = name;
    this.#server = server;
    this.#sockets = sockets;
    const address = server.address();
    if (address === null || typeof address === 'string') throw new TypeError('not a TCP server');
    this.#address = { host: address.address, port: address.port };
  }

  get address(): { host: string; port: number } {
    return this.#address;
  }

  get connections(): number {
    return this.#sockets.size;
  }

  close(): void {
    this.#server.close(); // Called twice it does nothing: the error goes to a callback that is not there.
  }

  closeConnections(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.closeConnections();
    await closed;
  }
}

/**
 * Accepts sockets for one listener: counts them, reads the PROXY header where it is due, and hands each over with its peer.
 * @throws OperationalError `config_invalid` when the address cannot be listened on, or `proxyFrom` is not valid
 */
export async function startAccepting(
  options: ListenerOptions,
  onSocket: (socket: Socket, peer: string) => void,
): Promise<RunningListener> {
  const proxies = blockListOf(options.proxyFrom ?? []);
  const sockets = new Set<Socket>();
  const server = createServer({ noDelay: true }, (socket) => {
    socket.on('error', () => undefined); // `close` follows, and whoever reads sees it.
    const { remoteAddress, remotePort } = socket;
    if (sockets.size >= options.connectionsMax || remoteAddress === undefined) {
      socket.destroy();
      return;
    }
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    const own = { address: remoteAddress, port: remotePort ?? 0 };
    const address = plainAddress(remoteAddress);
    if (!proxies.check(address, familyOf(address))) onSocket(socket, peerOf(own));
    else readProxyHeader(socket, (source) => onSocket(socket, peerOf(source ?? own)));
  });
  server.listen(options.port, options.host);
  try {
    await once(server, 'listening');
  } catch (cause) {
    throw new OperationalError(
      'config_invalid',
      `${options.name} cannot listen on ${options.host}:${options.port}`,
      { cause },
    );
  }
  server.on('error', (cause) =>
    options.onProblem?.(
      new OperationalError('internal', `${options.name} could not accept`, { cause }),
    ),
  );
  return new SocketListener(options.name, server, sockets);
}
