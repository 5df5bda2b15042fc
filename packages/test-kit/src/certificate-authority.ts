import { execFile } from 'node:child_process';
import { generateKeyPairSync, randomUUID, sign, X509Certificate } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { findProgram } from './server-process.ts';
import { tempFolder } from './temp-folder.ts';

const run = promisify(execFile);

const DAY_MS = 86_400_000;

const CONFIG = `
[ca]
default_ca = own
[own]
dir = .
database = ./index.txt
new_certs_dir = .
serial = ./serial
crlnumber = ./crlnumber
certificate = ./ca.pem
private_key = ./ca.key
default_md = sha256
default_days = 30
policy = any
unique_subject = no
rand_serial = yes
[any]
commonName = optional
[req]
distinguished_name = none
[none]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[client]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost, IP:127.0.0.1
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
`;

export interface IssueOptions {
  /** As openssl writes it: `/O=Plant/CN=pump-7`. */
  readonly subject: string;
  readonly use?: 'client' | 'server' | 'authority';
  /** A day ago when left out. */
  readonly notBefore?: Date;
  /** In 30 days when left out. */
  readonly notAfter?: Date;
  /** What kind of key is made. */
  readonly key?: 'P-256' | 'RSA-1024';
  /** PEM of a key that is there already. */
  readonly keyPem?: string;
}

/** A certificate, its key, and the files that hold them. */
export interface Issued {
  readonly cert: string;
  readonly key: string;
  readonly certFile: string;
  readonly keyFile: string;
}

function newKey(kind: IssueOptions['key']): string {
  const privateKeyEncoding = { type: 'pkcs8', format: 'pem' } as const;
  const publicKeyEncoding = { type: 'spki', format: 'pem' } as const;
  const { privateKey } =
    kind === 'RSA-1024'
      ? generateKeyPairSync('rsa', { modulusLength: 1024, privateKeyEncoding, publicKeyEncoding })
      : generateKeyPairSync('ec', { namedCurve: 'P-256', privateKeyEncoding, publicKeyEncoding });
  return privateKey;
}

/** As `openssl ca` wants it: 20260131235959Z */
function timeOf(date: Date): string {
  return `${date.toISOString().slice(0, 19).replaceAll(/[-:T]/g, '')}Z`;
}

/** Where a DER value ends, and where its content begins. */
function measure(der: Buffer, at: number): { readonly content: number; readonly end: number } {
  const first = der.readUInt8(at + 1);
  if (first < 0x80) return { content: at + 2, end: at + 2 + first };
  const bytes = first & 0x7f;
  const content = at + 2 + bytes;
  return { content, end: content + der.readUIntBE(at + 2, bytes) };
}

function encode(tag: number, ...parts: readonly Buffer[]): Buffer {
  const content = Buffer.concat(parts);
  const size = Buffer.alloc(4);
  size.writeUInt32BE(content.length);
  const short = size.subarray(size.findIndex((byte) => byte !== 0));
  const length =
    content.length < 0x80 ? short : Buffer.concat([Buffer.from([0x80 | short.length]), short]);
  return Buffer.concat([Buffer.from([tag]), length, content]);
}

const SEQUENCE = 0x30;
const BIT_STRING = 0x03;

/**
 * A certificate authority of files in a temporary folder, by the program `openssl`: issues certificates that are good, expired,
 * of the wrong use, revoked, or such as no authority would issue.
 */
export class CertificateAuthority {
  readonly cert: string;
  readonly key: string;
  /** PEM of the authority's own certificate. */
  readonly certFile: string;
  /** PEM of its revocation list, once there is one. */
  readonly crlFile: string;
  readonly #folder: string;
  /** One after the other: openssl keeps a list of what it has issued. */
  #last: Promise<unknown> = Promise.resolve();

  private constructor(folder: string, cert: string, key: string) {
    this.#folder = folder;
    this.cert = cert;
    this.key = key;
    this.certFile = join(folder, 'ca.pem');
    this.crlFile = join(folder, 'crl.pem');
  }

  /** Self-signed, or signed by `parent`. */
  static async create(
    subject: string,
    parent?: CertificateAuthority,
  ): Promise<CertificateAuthority> {
    if (parent !== undefined) {
      return CertificateAuthority.of(await parent.issue({ subject, use: 'authority' }));
    }
    const folder = tempFolder('self-signed');
    writeFileSync(join(folder, 'openssl.cnf'), CONFIG);
    return CertificateAuthority.of(await selfSigned(folder, subject, 'authority'));
  }

  /** One that signs with this certificate, even if it may not. */
  static of({ cert, key }: Pick<Issued, 'cert' | 'key'>): CertificateAuthority {
    const folder = tempFolder('authority');
    writeFileSync(join(folder, 'openssl.cnf'), CONFIG);
    writeFileSync(join(folder, 'index.txt'), '');
    writeFileSync(join(folder, 'crlnumber'), '01\n');
    writeFileSync(join(folder, 'ca.pem'), cert);
    writeFileSync(join(folder, 'ca.key'), key);
    return new CertificateAuthority(folder, cert, key);
  }

  /** A certificate for a client that vouches for itself. */
  static async selfSigned(subject: string): Promise<Issued> {
    const folder = tempFolder('self-signed');
    writeFileSync(join(folder, 'openssl.cnf'), CONFIG);
    const { cert, key } = await selfSigned(folder, subject, 'client');
    return save(folder, cert, key);
  }

  async issue(options: IssueOptions): Promise<Issued> {
    const { subject, use = 'client', keyPem, key: kind } = options;
    const notBefore = options.notBefore ?? new Date(Date.now() - DAY_MS);
    const notAfter = options.notAfter ?? new Date(Date.now() + 30 * DAY_MS);
    const key = keyPem ?? newKey(kind);
    const folder = newFolder(this.#folder);
    const [keyFile, request, certFile] = ['key.pem', 'request.pem', 'cert.pem'].map((name) =>
      join(folder, name),
    ) as [string, string, string]; // Three names.
    writeFileSync(keyFile, key);
    await this.#openssl([
      'req',
      '-new',
      '-utf8',
      '-key',
      keyFile,
      '-subj',
      subject,
      '-out',
      request,
    ]);
    const dates = ['-startdate', timeOf(notBefore), '-enddate', timeOf(notAfter)];
    await this.#openssl([
      ...['ca', '-batch', '-notext', '-utf8', '-preserveDN', '-extensions', use, ...dates],
      ...['-in', request, '-out', certFile],
    ]);
    return { cert: await readFile(certFile, 'utf8'), key, certFile, keyFile };
  }

  /** Revokes it in the next list. */
  async revoke({ certFile }: Issued): Promise<void> {
    await this.#openssl(['ca', '-revoke', certFile]);
  }

  /** Writes `crlFile` and answers its PEM. `seconds`: until it is out of date. */
  async writeCrl(seconds = 30 * 86_400): Promise<string> {
    await this.#openssl(['ca', '-gencrl', '-crlsec', String(seconds), '-out', this.crlFile]);
    return readFile(this.crlFile, 'utf8');
  }

  /** A certificate that openssl would not make: what `edit` makes of the signed part (DER), signed again by this authority. */
  forge({ cert, key }: Issued, edit: (signedPart: Buffer) => Buffer): Issued {
    const der = new X509Certificate(cert).raw;
    const outer = measure(der, 0);
    const signedEnd = measure(der, outer.content).end;
    const signedPart = edit(Buffer.from(der.subarray(outer.content, signedEnd)));
    const algorithm = der.subarray(signedEnd, measure(der, signedEnd).end);
    const signature = encode(BIT_STRING, Buffer.from([0]), sign('sha256', signedPart, this.key));
    const forged = encode(SEQUENCE, signedPart, algorithm, signature).toString('base64');
    const lines = (forged.match(/.{1,64}/g) ?? []).join('\n');
    const pem = `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`;
    return save(newFolder(this.#folder), pem, key);
  }

  #openssl(args: readonly string[]): Promise<unknown> {
    const done = this.#last.then(() => openssl(this.#folder, args));
    this.#last = done.catch(() => undefined);
    return done;
  }
}

function newFolder(parent: string): string {
  const folder = join(parent, randomUUID());
  mkdirSync(folder);
  return folder;
}

function save(folder: string, cert: string, key: string): Issued {
  const [certFile, keyFile] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
  writeFileSync(certFile, cert);
  writeFileSync(keyFile, key);
  return { cert, key, certFile, keyFile };
}

/**
 * PEM of a signing request, as the program `openssl req` makes it. `more`: arguments of it, such as `-sha1`, or `-addext` and what
 * is to be added.
 */
export async function makeSigningRequest(options: {
  readonly subject: string;
  readonly keyPem: string;
  readonly more?: readonly string[];
}): Promise<string> {
  const folder = tempFolder('signing-request');
  const keyFile = join(folder, 'key.pem');
  const csrFile = join(folder, 'request.pem');
  writeFileSync(join(folder, 'openssl.cnf'), CONFIG);
  writeFileSync(keyFile, options.keyPem);
  const { subject, more = [] } = options;
  const what = ['req', '-new', '-utf8', '-key', keyFile, '-subj', subject, ...more];
  await openssl(folder, [...what, '-out', csrFile]);
  return readFile(csrFile, 'utf8');
}

async function openssl(folder: string, args: readonly string[]): Promise<void> {
  const [command = '', ...rest] = args;
  const config = join(folder, 'openssl.cnf');
  await run(findProgram('openssl'), [command, '-config', config, ...rest], { cwd: folder });
}

async function selfSigned(
  folder: string,
  subject: string,
  use: 'authority' | 'client',
): Promise<{ cert: string; key: string }> {
  const key = newKey('P-256');
  const [keyFile, certFile] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
  writeFileSync(keyFile, key);
  const what = ['req', '-new', '-x509', '-utf8', '-days', '30', '-extensions', use];
  await openssl(folder, [...what, '-key', keyFile, '-subj', subject, '-out', certFile]);
  return { cert: await readFile(certFile, 'utf8'), key };
}
