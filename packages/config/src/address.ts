import { isIP } from 'node:net';
import { type TSchemaOptions, type TString, Type } from 'typebox';
import { assert } from '@sallyport/errors';

/** Where a server listens, or where one is reached. */
export interface HostPort {
  /** Host name or IP address, without the brackets of IPv6. */
  readonly host: string;
  /** 0 to 65535; 0 asks the system for a free one. */
  readonly port: number;
}

const PORT_MAX = 65_535;
const HOST_LENGTH_MAX = 253;
const HOST_NAME = /^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?$/;

function validHost(host: string): boolean {
  if (host.length > HOST_LENGTH_MAX) return false;
  // Digits and dots only would otherwise pass as a name: 999.1.1.1 is a mistyped address.
  return isIP(host) === 4 || (HOST_NAME.test(host) && !/^[\d.]+$/.test(host));
}

/** Reads `host:port` or `[ipv6]:port`; undefined when it is neither. */
export function parseHostPort(text: string): HostPort | undefined {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text);
  if (match === null) return undefined;
  const [, bracketed, plain, digits] = match;
  const port = Number(digits);
  if (port > PORT_MAX) return undefined;
  if (bracketed !== undefined) {
    return isIP(bracketed) === 6 ? { host: bracketed, port } : undefined;
  }
  return plain !== undefined && validHost(plain) ? { host: plain, port } : undefined;
}

/** Writes what `parseHostPort` reads. */
export function formatHostPort(address: HostPort): string {
  return address.host.includes(':')
    ? `[${address.host}]:${address.port}`
    : `${address.host}:${address.port}`;
}

/** Whether `text` is a listen address: `host:port`, `[ipv6]:port` or `off`. */
export function isListenAddress(text: string): boolean {
  return text === 'off' || parseHostPort(text) !== undefined;
}

/** What a `ListenAddress` key says. The text has been validated by `loadConfig`; anything else is a bug. */
export function parseListenAddress(text: string): HostPort | 'off' {
  if (text === 'off') return 'off';
  const address = parseHostPort(text);
  assert(address !== undefined, 'a listen address is validated when the configuration is loaded');
  return address;
}

/** What a `ConnectAddress` key says. The text has been validated by `loadConfig`; anything else is a bug. */
export function parseConnectAddress(text: string): HostPort {
  const address = parseHostPort(text);
  assert(address !== undefined, 'an address is validated when the configuration is loaded');
  return address;
}

/** A key that says where to listen: `127.0.0.1:1883`, `[::1]:1883`, `broker.example:1883`, or `off`. */
export function ListenAddress(options: TSchemaOptions = {}): TString {
  return Type.String({ ...options, format: 'listen-address' });
}

/** A key that says where to connect: like `ListenAddress`, but never `off`, and never port 0. */
export function ConnectAddress(options: TSchemaOptions = {}): TString {
  return Type.String({ ...options, format: 'connect-address' });
}

/** A key that holds an absolute URL. User and password in it are not logged. */
export function Url(options: TSchemaOptions = {}): TString {
  return Type.String({ ...options, format: 'url' });
}

/** The formats that a schema may name, and how a problem describes each. */
export const formats = {
  'listen-address': {
    expected: "host:port, [ipv6]:port or 'off'",
    test: isListenAddress,
  },
  'connect-address': {
    expected: 'host:port or [ipv6]:port, port 1 to 65535',
    test: (text: string) => (parseHostPort(text)?.port ?? 0) > 0,
  },
  url: {
    expected: 'an absolute URL',
    test: (text: string) => URL.canParse(text),
  },
} as const satisfies Record<string, { expected: string; test: (text: string) => boolean }>;
