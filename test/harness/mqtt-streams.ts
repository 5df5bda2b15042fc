import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { connect as connectTls, type ConnectionOptions } from 'node:tls';
import { opcodes, RawWebSocket } from './raw-web-socket.ts';

/** The listeners of one broker, by the names that policies know them by. */
export type ListenerName = 'tcp:default' | 'ssl:default' | 'ws:default' | 'wss:default';

/** How a stream to a listener is opened. */
export interface StreamOptions {
  readonly port: number;
  /** Of TLS: whom to trust, and what to show. */
  readonly tls?: Pick<ConnectionOptions, 'ca' | 'cert' | 'key'>;
  /** Address to come from, and the first line to send there; plain TCP only. */
  readonly proxied?: { readonly from: string; readonly header: string };
}

const HOST = '127.0.0.1';
const FOREVER_MS = 2 ** 31 - 1;

/** Bytes of MQTT to and from a listener, whatever they are wrapped in on the way. @throws Error when it is not let in */
export async function openMqttStream(
  listener: ListenerName,
  options: StreamOptions,
): Promise<Duplex> {
  switch (listener) {
    case 'tcp:default':
      return openTcp(options);
    case 'ssl:default':
      return openTls(options);
    case 'ws:default':
      return openWebSocket(options.port);
    case 'wss:default':
      return openWebSocket(options.port, await openTls(options));
  }
}

async function openTcp({ port, proxied }: StreamOptions): Promise<Socket> {
  const from = proxied && { localAddress: proxied.from };
  const socket = connect({ port, host: HOST, noDelay: true, ...from });
  await once(socket, 'connect');
  if (proxied !== undefined) socket.write(proxied.header);
  return socket;
}

async function openTls({ port, tls }: StreamOptions): Promise<Socket> {
  const socket = connectTls({ ...tls, port, host: HOST, servername: 'localhost' });
  socket.setNoDelay(true);
  await once(socket, 'secureConnect');
  return socket;
}

async function openWebSocket(port: number, socket?: Socket): Promise<Duplex> {
  const request = { protocols: 'mqtt', ...(socket && { socket }) };
  const { webSocket, handshake } = await RawWebSocket.open(port, request);
  if (handshake.status !== 101) throw new Error(`the upgrade was answered by ${handshake.status}`);
  return streamOf(webSocket);
}

/** Every write is one frame; what comes is put together again. */
function streamOf(webSocket: RawWebSocket): Duplex {
  const stream = new Duplex({
    read: () => undefined,
    write: (chunk: Buffer, _encoding, done) => {
      webSocket.send(chunk);
      done();
    },
    destroy: (error, done) => {
      webSocket.destroy();
      done(error);
    },
  });
  void (async () => {
    for (;;) {
      const frame = await webSocket.receive(FOREVER_MS).catch(() => undefined);
      if (frame === undefined || frame.opcode === opcodes.close) break;
      if (frame.opcode === opcodes.binary) stream.push(frame.payload);
    }
    stream.destroy();
  })();
  return stream;
}
