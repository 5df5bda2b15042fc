/** Bytes of a SHA-256 digest. */
const DIGEST_BYTES = 32;
const BASE64 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';

/**
 * A SHA-256 fingerprint as people write it, as 64 lower-case hex digits: hex with or without colons in any case, or base64 of
 * 43 or 44 characters as OpenSSH writes it; `SHA256:` before it is optional. Undefined for anything else.
 */
export function parseFingerprint(text: string): string | undefined {
  const digest = /^sha256:/i.test(text) ? text.slice('SHA256:'.length) : text;
  if (/^[0-9a-f]{64}$/i.test(digest)) return digest.toLowerCase();
  if (/^[0-9a-f]{2}(:[0-9a-f]{2}){31}$/i.test(digest)) {
    return digest.replaceAll(':', '').toLowerCase();
  }
  return /^[A-Za-z0-9+/]{43}=?$/.test(digest) ? hexOfBase64(digest) : undefined;
}

/** The form in which fingerprints are kept and told: `SHA256:AA:BB…`, from 64 hex digits. */
export function fingerprintText(hex: string): string {
  return `SHA256:${hex.toUpperCase().match(/../g)?.join(':') ?? ''}`;
}

function hexOfBase64(text: string): string | undefined {
  let hex = '';
  let bits = 0;
  let pending = 0;
  for (const character of text.replace('=', '')) {
    bits = (bits << 6) | BASE64.indexOf(character);
    pending += 6;
    if (pending < 8) continue;
    pending -= 8;
    hex += ((bits >> pending) & 0xff).toString(16).padStart(2, '0');
    bits &= (1 << pending) - 1;
  }
  // Bits that belong to no byte must be zero: two texts never stand for one digest.
  return bits === 0 && hex.length === DIGEST_BYTES * 2 ? hex : undefined;
}
