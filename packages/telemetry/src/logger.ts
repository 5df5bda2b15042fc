import { isSpanContextValid, trace } from '@opentelemetry/api';
import { type DestinationStream, type Level, type Logger, pino } from 'pino';

export type { DestinationStream, Logger } from 'pino';
export type LogLevel = Level | 'silent';

export interface LoggerOptions {
  readonly level: LogLevel;
  /** Fields of every line, such as the name of the service. */
  readonly base?: Readonly<Record<string, unknown>>;
  /** Standard output when left out. */
  readonly destination?: DestinationStream;
}

const REDACTED = '[redacted]';
/** A key that ends so holds a secret, whatever stands before: `adminPassword`, `x-api-secret`, `proxy-authorization`. */
const SECRET_KEY =
  /(?:password|passwd|passphrase|secret|authorization|token|verifier|cookie|hash|privatekey|sealingkey)s?$/;
/** `hash` alone is the running hash of the log, which is public. */
const PUBLIC_KEYS = new Set(['hash', 'loghash', 'runninghash']);
const DEPTH_MAX = 8;
/** Keys that have a serializer of their own, here or in a web framework's child logger. */
const SERIALIZED_KEYS = new Set(['err', 'error', 'req', 'res', 'request', 'reply']);

function isSecret(key: string): boolean {
  const plain = key.toLowerCase().replaceAll(/[-_]/g, '');
  return SECRET_KEY.test(plain) && !PUBLIC_KEYS.has(plain);
}

function redactValue(value: unknown, depth: number): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (depth > DEPTH_MAX) return '[too deep]';
  if (Array.isArray(value)) return value.map((item) => redactValue(item, depth + 1));
  if (value instanceof Error) return describeError(value);
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype === Object.prototype || prototype === null) return redactKeys(value, depth + 1);
  if ('toJSON' in value && !ArrayBuffer.isView(value)) return value;
  // A socket or a client drags half the process into the line, and its secrets with it.
  return `[${value.constructor.name}]`;
}

function redactKeys(object: object, depth = 0): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(object) as [string, unknown][]) {
    const serialized = depth === 0 && SERIALIZED_KEYS.has(key);
    const safe = isSecret(key) ? REDACTED : serialized ? value : redactValue(value, depth);
    // defineProperty: a plain assignment to `__proto__` would set the prototype.
    Object.defineProperty(result, key, { value: safe, enumerable: true, configurable: true });
  }
  return result;
}

const CAUSES_MAX = 5;

/** Only what an error says of itself: drivers hang requests, headers and passwords on theirs. */
function describeError(error: unknown, depth = 0): unknown {
  if (!(error instanceof Error)) return error;
  const code = 'code' in error && typeof error.code === 'string' ? { code: error.code } : {};
  const cause =
    error.cause !== undefined && depth < CAUSES_MAX
      ? { cause: describeError(error.cause, depth + 1) }
      : {};
  return { type: error.name, ...code, message: error.message, stack: error.stack, ...cause };
}

/** Method and path; headers and the query may hold what is secret. */
function describeRequest(request: unknown): unknown {
  if (typeof request !== 'object' || request === null) return request;
  const { method, url } = request as { readonly method?: unknown; readonly url?: unknown };
  return { method, url: typeof url === 'string' ? url.split('?', 1)[0] : undefined };
}

function traceFields(): Record<string, string> {
  const context = trace.getActiveSpan()?.spanContext();
  if (context === undefined || !isSpanContextValid(context)) return {};
  return { trace_id: context.traceId, span_id: context.spanId };
}

/** JSON lines with the ids of the active span; values of keys that are named like a secret are replaced, at any depth. */
export function createLogger(options: LoggerOptions): Logger {
  const settings = {
    level: options.level,
    base: redactKeys({ ...options.base }),
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    mixin: traceFields,
    serializers: { err: describeError, error: describeError, req: describeRequest },
    formatters: {
      level: (label: string) => ({ level: label }),
      log: (fields: Record<string, unknown>) => redactKeys(fields),
    },
  };
  const logger =
    options.destination === undefined ? pino(settings) : pino(settings, options.destination);
  // pino hands the bindings of a child to no formatter; children inherit this method.
  // eslint-disable-next-line @typescript-eslint/unbound-method -- called with its `this` below
  const { child } = logger;
  logger.child = function (this: Logger, bindings: object, ...rest: []) {
    return child.call(this, redactKeys(bindings), ...rest);
  } as typeof child;
  return logger;
}

/** A logger that writes nothing; for tests of code that wants one. */
export function silentLogger(): Logger {
  return createLogger({ level: 'silent' });
}
