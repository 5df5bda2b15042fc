import { createServer, type Socket } from 'node:net';

// The least that a broker on Node does, as a process of its own: every PUBLISH of anybody goes to everybody who has subscribed to
// anything. No passwords, no rules, no topics; what is left is Node's sockets and its event loop.
const TYPE = { connect: 1, publish: 3, subscribe: 8, pingreq: 12, disconnect: 14 } as const;
const CONNACK = Buffer.from([0x20, 2, 0, 0]);
const PINGRESP = Buffer.from([0xd0, 0]);

const subscribers = new Set<Socket>();
const server = createServer({ noDelay: true }, (socket) => {
  let rest: Buffer = Buffer.alloc(0);
  socket.on('error', () => undefined);
  socket.on('close', () => subscribers.delete(socket));
  socket.on('data', (chunk: Buffer) => {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    for (let end = packetEnd(rest); end > 0; end = packetEnd(rest)) {
      relay(rest.subarray(0, end), socket);
      rest = rest.subarray(end);
    }
  });
});
server.listen(Number(process.argv[2]), '127.0.0.1');

/** Where the first packet ends; 0 when it has not come whole. */
function packetEnd(bytes: Buffer): number {
  let length = 0;
  for (let at = 1, shift = 0; at < bytes.length; at++, shift += 7) {
    const byte = bytes[at] ?? 0;
    length |= (byte & 0x7f) << shift;
    if (byte < 0x80) return at + 1 + length <= bytes.length ? at + 1 + length : 0;
  }
  return 0;
}

function relay(packet: Buffer, socket: Socket): void {
  switch ((packet[0] ?? 0) >> 4) {
    case TYPE.connect:
      socket.write(CONNACK);
      return;
    case TYPE.publish:
      for (const one of subscribers) one.write(packet);
      return;
    case TYPE.subscribe:
      subscribers.add(socket);
      // One filter, and a packet of less than 128 bytes.
      socket.write(Buffer.from([0x90, 3, packet[2] ?? 0, packet[3] ?? 0, 0]));
      return;
    case TYPE.pingreq:
      socket.write(PINGRESP);
      return;
    default:
      socket.end();
  }
}
