import type { Socket } from 'node:net';

/** What a TCP socket of Node reads with. */
interface ReadingHandle {
  /** Whether Node wants it to read: false while a stream is full. */
  readonly reading: boolean;
  readStop(): number;
  readStart(): number;
}

/**
 * `socket.pause()` stops a stream, and the socket below it only when the next bytes have come: by then the end of a dead one has been
 * handed out as well. What stops the socket is its handle, which is not documented. INVARIANT: `reading` is left alone. It stays what
 * the stream wants, so that pausing, resuming and a full stream mean the same as ever.
 */
function handleOf(socket: Socket): ReadingHandle | undefined {
  // Of Node since 0.x; without it there is no brake, and a test fails. Null once the socket is destroyed.
  const { _handle: handle } = socket as unknown as { _handle?: Partial<ReadingHandle> | null };
  return handle?.reading === true && typeof handle.readStop === 'function'
    ? (handle as ReadingHandle)
    : undefined;
}

/** Stops reading, whatever is made of the bytes. False when it is not read anyway. */
export function stopReading(socket: Socket): boolean {
  const handle = handleOf(socket);
  if (handle === undefined) return false;
  handle.readStop();
  return true;
}

/** Reads again, unless the stream has become full meanwhile, or the socket is closed. */
export function readAgain(socket: Socket): void {
  handleOf(socket)?.readStart();
}
