import type { Socket } from 'node:net';
import { ProxyHeaderParser, type ProxySource } from './proxy-protocol.ts';

export type ReadHeader =
  /** Undefined: the load balancer speaks for itself. */
  { readonly source: ProxySource | undefined } | 'malformed';

/**
 * Reads the PROXY header that `socket` must start with; what stands behind it stays to be read. Never answers when the socket
 * ends before; how long that may take is for the caller to bound.
 */
export function readProxyHeader(socket: Socket, onHeader: (header: ReadHeader) => void): void {
  const parser = new ProxyHeaderParser();
  // In paused mode, so that nothing flows before the next reader is there.
  const read = (): void => {
    const chunk = socket.read() as Buffer | null; // No encoding is set.
    if (chunk === null) return;
    const header = parser.feed(chunk);
    if (header.state === 'need_more') return;
    socket.off('readable', read);
    if (header.state === 'malformed') {
      onHeader('malformed');
      return;
    }
    if (header.rest.length > 0) socket.unshift(header.rest);
    onHeader({ source: header.source });
  };
  socket.on('readable', read);
}
