import { constants, createPrivateKey, randomBytes, X509Certificate } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { createSecureContext, type SecureContextOptions, type Server } from 'node:tls';
import { OperationalError } from '@sallyport/errors';

/** Of each file. */
const FILE_BYTES_MAX = 1024 * 1024;
/** How long a session ticket can be used at most: its key is replaced then. */
const TICKET_KEY_LIFETIME_MS = 3_600_000;
const TICKET_KEY_BYTES = 48;
/** Below it no key, signature or curve has 112 bits of strength: RSA 2048, SHA-256. Holds for client certificates too. */
const SECURITY_LEVEL = '@SECLEVEL=2';

/** Forward secret and authenticated only; 1.3 first, then what costs small devices least. */
const CIPHERS = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_CHACHA20_POLY1305_SHA256',
  'TLS_AES_256_GCM_SHA384',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  SECURITY_LEVEL,
].join(':');

const CURVES = 'X25519:P-256:P-384';

export type ClientCertificateMode = 'none' | 'optional' | 'required';

export interface TlsCredentialsOptions {
  /** PEM: our certificate and its intermediates. */
  readonly certFile: string;
  readonly keyFile: string;
  /** PEM: authorities of client certificates, roots included. */
  readonly caFile?: string | undefined;
  /** PEM: a revocation list of each authority. */
  readonly crlFile?: string | undefined;
  readonly clientCertificate: ClientCertificateMode;
  /** How often the files are looked at. */
  readonly reloadMs: number;
  /** Changed files that cannot be used; the old ones stay. */
  readonly onProblem?: ((problem: OperationalError) => void) | undefined;
  /** After the start, and after each reload. */
  readonly onLoaded?: ((loaded: LoadedCertificate) => void) | undefined;
}

export interface LoadedCertificate {
  /** Milliseconds since 1970. */
  readonly validTo: number;
}

interface Loaded {
  readonly context: SecureContextOptions;
  readonly authorities: readonly X509Certificate[];
  readonly certificate: LoadedCertificate;
}

/** PEM blocks with this label. */
function blocksOf(pem: string, label: string): readonly string[] {
  return pem.match(new RegExp(`-----BEGIN ${label}-----[^-]*-----END ${label}-----`, 'g')) ?? [];
}

async function readPem(path: string): Promise<string> {
  const { size } = await stat(path);
  if (size > FILE_BYTES_MAX) throw new RangeError(`${path} has more than ${FILE_BYTES_MAX} bytes`);
  return readFile(path, 'utf8');
}

/** @throws RangeError when the file holds none */
async function readBlocks(path: string, label: string): Promise<readonly string[]> {
  const blocks = blocksOf(await readPem(path), label);
  if (blocks.length === 0) throw new RangeError(`${path} has no ${label}`);
  return blocks;
}

function checkPair(cert: string, key: string, path: string): LoadedCertificate {
  const [block] = blocksOf(cert, 'CERTIFICATE');
  if (block === undefined) throw new RangeError(`${path} has no CERTIFICATE`);
  const leaf = new X509Certificate(block);
  if (!leaf.checkPrivateKey(createPrivateKey(key))) {
    throw new RangeError(`${path} and its key do not belong together`);
  }
  return { validTo: Date.parse(leaf.validTo) };
}

async function load(options: TlsCredentialsOptions): Promise<Loaded> {
  const { certFile, keyFile, caFile, crlFile, clientCertificate } = options;
  const [cert, key] = [await readPem(certFile), await readPem(keyFile)];
  const certificate = checkPair(cert, key, certFile);
  const ca = caFile === undefined ? [] : await readBlocks(caFile, 'CERTIFICATE');
  const crl = crlFile === undefined ? [] : await readBlocks(crlFile, 'X509 CRL');
  // A ticket brings back a verdict on a certificate, but neither its chain nor what was revoked since.
  const resumption = clientCertificate === 'none' ? 0 : constants.SSL_OP_NO_TICKET;
  const context: SecureContextOptions = {
    cert,
    key,
    // One by one: of a text the library leaves out what comes after the first list, or after a block that it cannot read.
    ...(ca.length > 0 && { ca: [...ca] }),
    ...(crl.length > 0 && { crl: [...crl] }),
    minVersion: 'TLSv1.2',
    ciphers: CIPHERS,
    honorCipherOrder: true,
    ecdhCurve: CURVES,
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION | resumption,
  };
  createSecureContext(context); // Throws for whatever the library cannot use.
  return { context, authorities: ca.map((block) => new X509Certificate(block)), certificate };
}

/** The driver's text names files and what is wrong with them, and never quotes a key. */
function unusable(cause: unknown): OperationalError {
  const text = cause instanceof Error ? cause.message : String(cause);
  return new OperationalError('config_invalid', `the TLS files cannot be used: ${text}`, { cause });
}

/**
 * Certificate, key, client authorities and revocation lists of a node, for all its TLS servers. The files are looked at while a
 * server is attached: what changed holds for handshakes from then on, open connections go on.
 */
export class TlsCredentials {
  readonly #options: TlsCredentialsOptions;
  readonly #servers = new Set<Server>();
  #loaded: Loaded;
  /** Of the files that are loaded, and of those that were there at the last look. */
  #used: string;
  #seen: string;
  #reloading: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  #ticketKeyAt = performance.now();

  private constructor(options: TlsCredentialsOptions, loaded: Loaded, state: string) {
    this.#options = options;
    this.#loaded = loaded;
    this.#used = state;
    this.#seen = state;
  }

  /** @throws OperationalError `config_invalid` when a file cannot be read or used */
  static async open(options: TlsCredentialsOptions): Promise<TlsCredentials> {
    const state = await stateOf(options);
    const loaded = await load(options).catch((cause: unknown) => {
      throw unusable(cause);
    });
    options.onLoaded?.(loaded.certificate);
    return new TlsCredentials(options, loaded, state);
  }

  get clientCertificate(): ClientCertificateMode {
    return this.#options.clientCertificate;
  }

  /** Those that may sign client certificates. */
  get authorities(): readonly X509Certificate[] {
    return this.#loaded.authorities;
  }

  /** For the constructor of a server that is attached then. */
  get context(): SecureContextOptions {
    return this.#loaded.context;
  }

  /** From now on handshakes of `server` use what is in the files. */
  attach(server: Server): void {
    this.#servers.add(server);
    if (this.#timer !== undefined) return;
    this.#timer = setInterval(() => void this.#look(), this.#options.reloadMs);
    this.#timer.unref();
  }

  detach(server: Server): void {
    this.#servers.delete(server);
    if (this.#servers.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** Reads the files now. What cannot be used goes to `onProblem`, and the old ones stay. */
  reload(): Promise<void> {
    this.#reloading = this.#reloading.then(() => this.#reload());
    return this.#reloading;
  }

  async #reload(): Promise<void> {
    const state = await stateOf(this.#options);
    try {
      this.#loaded = await load(this.#options);
    } catch (cause) {
      this.#options.onProblem?.(unusable(cause));
      return;
    }
    this.#used = state;
    // Old tickets end with the old context.
    for (const server of this.#servers) server.setSecureContext(this.#loaded.context);
    this.#options.onLoaded?.(this.#loaded.certificate);
  }

  async #look(): Promise<void> {
    this.#rotateTicketKey();
    const state = await stateOf(this.#options);
    // Files that are being written, one after the other, are left until they are still.
    const still = state === this.#seen;
    this.#seen = state;
    if (still && state !== this.#used) await this.reload();
  }

  #rotateTicketKey(): void {
    const now = performance.now();
    if (now - this.#ticketKeyAt < TICKET_KEY_LIFETIME_MS) return;
    this.#ticketKeyAt = now;
    for (const server of this.#servers) server.setTicketKeys(randomBytes(TICKET_KEY_BYTES));
  }
}

/** Changes whenever one of the files does. A file that is not there is a state as well. */
async function stateOf(options: TlsCredentialsOptions): Promise<string> {
  const { certFile, keyFile, caFile, crlFile } = options;
  const parts = [certFile, keyFile, caFile, crlFile].map(async (path) => {
    if (path === undefined) return '';
    const { ino, size, mtimeMs, ctimeMs } = await stat(path).catch(() => ({
      ino: 0,
      size: -1,
      mtimeMs: 0,
      ctimeMs: 0,
    }));
    return [ino, size, mtimeMs, ctimeMs].join('-');
  });
  return (await Promise.all(parts)).join(' ');
}
