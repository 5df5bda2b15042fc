import { constants, createPrivateKey, randomBytes, X509Certificate } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { createSecureContext, type SecureContextOptions } from 'node:tls';
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

/** What holds on a listener in place of its files and their mode; what is left out stays the files'. Texts are PEM. */
export interface TrustOverride {
  readonly clientCertificate: ClientCertificateMode;
  readonly authorities?: string;
  readonly revocationLists?: string;
  readonly server?: { readonly certificate: string; readonly key: string };
}

/** Whoever makes handshakes with the credentials. */
export interface TlsUser {
  /** There is a new context, or another mode. */
  renewed(): void;
  setTicketKeys(keys: Buffer): void;
}

export interface LoadedCertificate {
  /** Milliseconds since 1970. */
  readonly validTo: number;
}

interface Material {
  readonly cert: string;
  readonly key: string;
  readonly authorities: readonly string[];
  readonly revocationLists: readonly string[];
  readonly mode: ClientCertificateMode;
}

interface Loaded {
  readonly mode: ClientCertificateMode;
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

/** @throws RangeError when there is none */
function someBlocks(pem: string, label: string, where: string): readonly string[] {
  const blocks = blocksOf(pem, label);
  if (blocks.length === 0) throw new RangeError(`${where} has no ${label}`);
  return blocks;
}

function checkPair({ cert, key }: Material): LoadedCertificate {
  const [block] = blocksOf(cert, 'CERTIFICATE');
  if (block === undefined) throw new RangeError('the server certificate has no CERTIFICATE');
  const leaf = new X509Certificate(block);
  if (!leaf.checkPrivateKey(createPrivateKey(key))) {
    throw new RangeError('the server certificate and its key do not belong together');
  }
  return { validTo: Date.parse(leaf.validTo) };
}

async function readFiles(options: TlsCredentialsOptions): Promise<Material> {
  const { certFile, keyFile, caFile, crlFile, clientCertificate } = options;
  const blocksIn = async (path: string | undefined, label: string) =>
    path === undefined ? [] : someBlocks(await readPem(path), label, path);
  return {
    cert: await readPem(certFile),
    key: await readPem(keyFile),
    authorities: await blocksIn(caFile, 'CERTIFICATE'),
    revocationLists: await blocksIn(crlFile, 'X509 CRL'),
    mode: clientCertificate,
  };
}

/** Authorities and their revocation lists go together: lists of other authorities would say nothing, or refuse everybody. */
function overridden(files: Material, override: TrustOverride | undefined): Material {
  if (override === undefined) return files;
  const { clientCertificate, authorities, revocationLists, server } = override;
  return {
    ...files,
    ...(server !== undefined && { cert: server.certificate, key: server.key }),
    ...(authorities !== undefined && {
      authorities: someBlocks(authorities, 'CERTIFICATE', 'authorities'),
      revocationLists:
        revocationLists === undefined
          ? []
          : someBlocks(revocationLists, 'X509 CRL', 'revocationLists'),
    }),
    mode: clientCertificate,
  };
}

function prepare(material: Material): Loaded {
  const { cert, key, authorities: ca, revocationLists: crl, mode } = material;
  const certificate = checkPair(material);
  // A ticket brings back a verdict on a certificate, but neither its chain nor what was revoked since.
  const resumption = mode === 'none' ? 0 : constants.SSL_OP_NO_TICKET;
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
  const authorities = ca.map((block) => new X509Certificate(block));
  return { mode, context, authorities, certificate };
}

/** The driver's text names files and what is wrong with them, and never quotes a key. */
function unusable(cause: unknown): OperationalError {
  const text = cause instanceof Error ? cause.message : String(cause);
  return new OperationalError('config_invalid', `the TLS certificates cannot be used: ${text}`, {
    cause,
  });
}

/**
 * Certificate, key, client authorities and revocation lists of a listener: those of the node's files, and what the log says in
 * their place. The files are looked at while somebody is attached: what changed holds for handshakes from then on, open
 * connections go on.
 */
export class TlsCredentials {
  readonly #options: TlsCredentialsOptions;
  readonly #users = new Set<TlsUser>();
  #files: Material;
  #override: TrustOverride | undefined;
  #usable = true;
  #loaded: Loaded;
  /** Of the files that are loaded, and of those that were there at the last look. */
  #used: string;
  #seen: string;
  #reloading: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  #ticketKeyAt = performance.now();

  private constructor(options: TlsCredentialsOptions, files: Material, state: string) {
    this.#options = options;
    this.#files = files;
    this.#loaded = prepare(files);
    this.#used = state;
    this.#seen = state;
  }

  /** @throws OperationalError `config_invalid` when a file cannot be read or used */
  static async open(options: TlsCredentialsOptions): Promise<TlsCredentials> {
    const state = await stateOf(options);
    try {
      const credentials = new TlsCredentials(options, await readFiles(options), state);
      options.onLoaded?.(credentials.#loaded.certificate);
      return credentials;
    } catch (cause) {
      throw unusable(cause);
    }
  }

  get clientCertificate(): ClientCertificateMode {
    return this.#loaded.mode;
  }

  /** Those that may sign client certificates. */
  get authorities(): readonly X509Certificate[] {
    return this.#loaded.authorities;
  }

  /** For handshakes from now on; whoever is attached is told when there is another. */
  get context(): SecureContextOptions {
    return this.#loaded.context;
  }

  attach(user: TlsUser): void {
    this.#users.add(user);
    if (this.#timer !== undefined) return;
    this.#timer = setInterval(() => void this.#look(), this.#options.reloadMs);
    this.#timer.unref();
  }

  detach(user: TlsUser): void {
    this.#users.delete(user);
    if (this.#users.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /**
   * What holds in place of the files from now on; undefined: the files alone.
   * @throws OperationalError `config_invalid` when it cannot be used; then no handshake succeeds until something can be used, because
   * what was there before is what somebody did not want any more
   */
  override(override: TrustOverride | undefined): void {
    this.#override = override;
    try {
      this.#adopt(prepare(overridden(this.#files, override)));
    } catch (cause) {
      this.#usable = false;
      throw unusable(cause);
    }
  }

  /** False while the last override cannot be used: no handshake may begin. */
  get usable(): boolean {
    return this.#usable;
  }

  /** Old tickets end with the old context. */
  #adopt(loaded: Loaded): void {
    this.#loaded = loaded;
    this.#usable = true;
    for (const user of this.#users) user.renewed();
    this.#options.onLoaded?.(loaded.certificate);
  }

  /** Reads the files now. What cannot be used goes to `onProblem`, and the old ones stay. */
  reload(): Promise<void> {
    this.#reloading = this.#reloading.then(() => this.#reload());
    return this.#reloading;
  }

  async #reload(): Promise<void> {
    const state = await stateOf(this.#options);
    try {
      const files = await readFiles(this.#options);
      this.#adopt(prepare(overridden(files, this.#override)));
      this.#files = files;
    } catch (cause) {
      this.#options.onProblem?.(unusable(cause));
      return;
    }
    this.#used = state;
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
    for (const user of this.#users) user.setTicketKeys(randomBytes(TICKET_KEY_BYTES));
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
