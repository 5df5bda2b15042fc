import type { IncomingMessage, ServerResponse } from 'node:http';

/** How long the body of a request may take to come in. */
export const BODY_TIMEOUT_MS = 30_000;

/** Bytes that must come in that time of a body that is worked on as it comes, and may take longer as a whole. */
export const BODY_PROGRESS_BYTES_MIN = 16 * 1024;

const timers = new WeakMap<IncomingMessage, NodeJS.Timeout>();

function arm(request: IncomingMessage, timeoutMs: number, onTimeout: () => void): void {
  clearTimeout(timers.get(request));
  timers.set(request, setTimeout(onTimeout, timeoutMs));
}

function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length']) > 0;
}

/** As Node answers a request that does not come to its end; an answer that is under way is cut off. */
function cutOff({ socket }: IncomingMessage, response: ServerResponse): void {
  if (response.headersSent) socket.destroy();
  else
    socket.end('HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n', () => socket.destroy());
}

/** Ends a request whose body does not come in. What Node has for that knows one time for all requests. */
export function limitBody(
  request: IncomingMessage,
  response: ServerResponse,
  timeoutMs: number,
): void {
  if (!hasBody(request)) return;
  arm(request, timeoutMs, () => {
    cutOff(request, response);
  });
  request.once('close', () => {
    clearTimeout(timers.get(request));
  });
}

/**
 * Gives a request more time, for as long as its body comes, or `heldUp` says that nobody takes it: a client is not to blame for
 * how long we work.
 */
export function limitBodyPauses(
  request: IncomingMessage,
  response: ServerResponse,
  limits: { readonly heldUp: () => boolean; readonly timeoutMs?: number },
): void {
  const { heldUp, timeoutMs = BODY_TIMEOUT_MS } = limits;
  if (request.complete) return;
  let seen = request.socket.bytesRead;
  let waited = false;
  const look = (): void => {
    const { bytesRead } = request.socket;
    const held = heldUp();
    // Whoever was held up until a moment ago has the whole time again.
    if (bytesRead - seen < BODY_PROGRESS_BYTES_MIN && !held && !waited) {
      cutOff(request, response);
      return;
    }
    seen = bytesRead;
    waited = held;
    arm(request, timeoutMs, look);
  };
  arm(request, timeoutMs, look);
}
