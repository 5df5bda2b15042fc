import { SCRAM_MESSAGE_BYTES_MAX } from '@sallyport/policy-client';

/** What a message cannot be; both are refusals. */
export type MessageProblem = 'malformed' | 'channel_binding';

export type Parsed<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly reason: MessageProblem };

const refuse = (reason: MessageProblem): { ok: false; reason: MessageProblem } => ({
  ok: false,
  reason,
});

const MALFORMED = refuse('malformed');

/** Headers that we take: nobody else is acted for, and no channel is bound. RFC 5802 §7, `gs2-header` */
const HEADERS = ['n,,', 'y,,'] as const;

export interface ClientFirst {
  readonly header: (typeof HEADERS)[number];
  /** client-first-message-bare, as it came: it is part of what is signed. */
  readonly bare: string;
  /** Unescaped, not prepared. */
  readonly username: string;
  readonly nonce: string;
}

export interface ClientFinal {
  /** Base64, as it came. */
  readonly channelBinding: string;
  readonly nonce: string;
  /** client-final-message-without-proof, as it came. */
  readonly withoutProof: string;
  readonly proof: Buffer;
}

/** client-first-message of RFC 5802 §7. O(bytes), of which there are few. */
export function parseClientFirst(message: Uint8Array): Parsed<ClientFirst> {
  const text = textOf(message);
  if (text === undefined) return MALFORMED;
  if (text.startsWith('p=')) return refuse('channel_binding');
  const header = HEADERS.find((one) => text.startsWith(one));
  if (header === undefined) return MALFORMED;
  const bare = text.slice(header.length);
  const [name, nonceText, ...extensions] = bare.split(',');
  // `m=` would stand before the name: an extension that must be understood, and we understand none.
  const username = usernameOf(valueOf(name, 'n'));
  const nonce = nonceOf(valueOf(nonceText, 'r'));
  if (username === undefined || nonce === undefined || !extensions.every(isExtension)) {
    return MALFORMED;
  }
  return { ok: true, value: { header, bare, username, nonce } };
}

/** client-final-message of RFC 5802 §7; the proof must have `proofBytes`. */
export function parseClientFinal(message: Uint8Array, proofBytes: number): Parsed<ClientFinal> {
  const text = textOf(message);
  if (text === undefined) return MALFORMED;
  const [bindingText, nonceText, ...rest] = text.split(',');
  const proofText = rest.pop();
  const channelBinding = valueOf(bindingText, 'c');
  const nonce = nonceOf(valueOf(nonceText, 'r'));
  const proof = bytesOf(valueOf(proofText, 'p'), proofBytes);
  if (channelBinding === undefined || nonce === undefined || proof === undefined) return MALFORMED;
  if (!rest.every(isExtension)) return MALFORMED;
  const withoutProof = text.slice(0, text.lastIndexOf(','));
  return { ok: true, value: { channelBinding, nonce, withoutProof, proof } };
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function textOf(message: Uint8Array): string | undefined {
  if (message.length > SCRAM_MESSAGE_BYTES_MAX) return undefined;
  try {
    const text = decoder.decode(message);
    return text.includes('\0') ? undefined : text;
  } catch {
    return undefined; // Not UTF-8: the one thing that the decoder throws for.
  }
}

function valueOf(part: string | undefined, attribute: string): string | undefined {
  return part?.startsWith(`${attribute}=`) === true ? part.slice(2) : undefined;
}

/** `saslname`: a comma is `=2C`, an equals sign `=3D`, and nothing else is escaped. */
function usernameOf(value: string | undefined): string | undefined {
  if (value === undefined || !/^(?:[^=]|=2C|=3D)+$/u.test(value)) return undefined;
  return value.replaceAll('=2C', ',').replaceAll('=3D', '=');
}

function nonceOf(value: string | undefined): string | undefined {
  return value !== undefined && /^[\x21-\x2b\x2d-\x7e]+$/.test(value) ? value : undefined;
}

/** What RFC 5802 gives no meaning to is optional and passed over; its own attributes have their places. */
const isExtension = (part: string): boolean => /^[bdfghjkloqtuwxyzA-Z]=[^]+$/.test(part);

function bytesOf(base64: string | undefined, length: number): Buffer | undefined {
  if (base64 === undefined) return undefined;
  const bytes = Buffer.from(base64, 'base64');
  // Buffer reads base64 leniently; only the one way to write these bytes is taken.
  return bytes.length === length && bytes.toString('base64') === base64 ? bytes : undefined;
}
