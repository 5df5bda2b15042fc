import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto';

export interface ScramClientOptions {
  readonly mechanism: 'SCRAM-SHA-256' | 'SCRAM-SHA-512';
  readonly username: string;
  readonly password: string;
  /** Random unless a test repeats an example. */
  readonly nonce?: string;
  /** The header of GS2; `n,,` says that the client knows no channel binding, `y,,` that it does and thinks we do not. */
  readonly header?: string;
}

/**
 * The client's side of SCRAM, written from RFC 5802 alone and sharing nothing with the server that it tests. It sends names and
 * passwords as they are; every part may be made wrong by whoever holds it.
 */
export class ScramClient {
  readonly #options: ScramClientOptions;
  readonly #digest: 'sha256' | 'sha512';
  readonly nonce: string;
  readonly header: string;
  #serverSignature: string | undefined;

  constructor(options: ScramClientOptions) {
    this.#options = options;
    this.#digest = options.mechanism === 'SCRAM-SHA-256' ? 'sha256' : 'sha512';
    this.nonce = options.nonce ?? randomBytes(18).toString('base64url');
    this.header = options.header ?? 'n,,';
  }

  get #bare(): string {
    const name = this.#options.username.replaceAll('=', '=3D').replaceAll(',', '=2C');
    return `n=${name},r=${this.nonce}`;
  }

  /** client-first-message */
  first(): Buffer {
    return Buffer.from(this.header + this.#bare);
  }

  /** What a server-first-message says. @throws Error when it is none, or not for this client's nonce */
  read(serverFirst: Uint8Array): { nonce: string; salt: Buffer; iterations: number } {
    const text = Buffer.from(serverFirst).toString();
    const [, nonce, salt, iterations] = /^r=([^,]+),s=([^,]+),i=([0-9]+)$/.exec(text) ?? [];
    if (nonce === undefined || salt === undefined) throw new Error(`no server-first: ${text}`);
    if (!nonce.startsWith(this.nonce) || nonce === this.nonce) throw new Error(`nonce: ${text}`);
    return { nonce, salt: Buffer.from(salt, 'base64'), iterations: Number(iterations) };
  }

  /** client-final-message; `withoutProof` replaces what is signed and sent before the proof. */
  final(serverFirst: Uint8Array, withoutProof?: string): Buffer {
    const { nonce, salt, iterations } = this.read(serverFirst);
    const { password } = this.#options;
    const length = this.#digest === 'sha256' ? 32 : 64;
    const salted = pbkdf2Sync(password, salt, iterations, length, this.#digest);
    const unproven = withoutProof ?? `c=${Buffer.from(this.header).toString('base64')},r=${nonce}`;
    const authMessage = `${this.#bare},${Buffer.from(serverFirst).toString()},${unproven}`;
    const clientKey = this.#hmac(salted, 'Client Key');
    const storedKey = createHash(this.#digest).update(clientKey).digest();
    const signature = this.#hmac(storedKey, authMessage);
    const proof = Buffer.from(clientKey.map((byte, index) => byte ^ (signature[index] ?? 0)));
    this.#serverSignature = this.#hmac(this.#hmac(salted, 'Server Key'), authMessage).toString(
      'base64',
    );
    return Buffer.from(`${unproven},p=${proof.toString('base64')}`);
  }

  /** Whether the server-final-message proves that the server knows the password, for the last `final`. */
  verifies(serverFinal: Uint8Array): boolean {
    return Buffer.from(serverFinal).toString() === `v=${this.#serverSignature ?? ''}`;
  }

  #hmac(key: Buffer, text: string): Buffer {
    return createHmac(this.#digest, key).update(text).digest();
  }
}
