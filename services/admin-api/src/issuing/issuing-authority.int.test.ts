import { execFileSync } from 'node:child_process';
import { generateKeyPairSync, type KeyObject, X509Certificate } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isOperational } from '@sallyport/errors';
import {
  CertificateAuthority,
  findProgram,
  makeSigningRequest,
  removeTempFolders,
  tempFolder,
} from '@sallyport/test-kit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BACKDATED_MS, IssuingAuthority } from './issuing-authority.ts';
import { loadIssuingAuthority } from './load-issuing-authority.ts';
import { readSigningRequest, type SigningRequest } from './signing-request.ts';

const NAME = 'agent-7';
const DAY_MS = 86_400_000;
const pemOf = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' }).toString();

let folder: string;
let plant: CertificateAuthority;
let request: SigningRequest;

beforeAll(async () => {
  folder = tempFolder('issuing');
  plant = await CertificateAuthority.create('/O=Plant/CN=Plant');
  request = await requestOf(pemOf(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey));
});
afterAll(removeTempFolders);

async function requestOf(keyPem: string): Promise<SigningRequest> {
  const csr = await makeSigningRequest({ subject: `/O=Evil/CN=${NAME}`, keyPem });
  const read = readSigningRequest(csr, NAME);
  if (!read.ok) throw new Error(read.problem);
  return read.request;
}

const openssl = (...args: readonly string[]): string =>
  execFileSync(findProgram('openssl'), args, { cwd: folder, encoding: 'utf8', stdio: 'pipe' });

/** An authority whose key and certificate `openssl req` makes. */
function selfSigned(key: KeyObject, ...more: readonly string[]) {
  writeFileSync(join(folder, 'own.key'), pemOf(key));
  const what = ['-new', '-x509', '-days', '30', '-subj', '/CN=Own', '-key', 'own.key'];
  return { certificatePem: openssl('req', ...what, ...more), keyPem: pemOf(key) };
}

function opened(parts: { certificatePem: string; keyPem: string }, validityDays = 365) {
  const found = IssuingAuthority.open({ ...parts, validityDays });
  if (!found.ok) throw new Error(found.problem);
  return found.authority;
}

const ofPlant = (validityDays?: number) =>
  opened({ certificatePem: plant.cert, keyPem: plant.key }, validityDays);

function issued(authority = ofPlant(), at = Date.now()): X509Certificate {
  const made = authority.issue(request, at);
  if (!made.ok) throw new Error(made.problem);
  return made.certificate;
}

/** As the program openssl shows it, and checks it against an authority. */
function shown(certificate: X509Certificate, authority: string): string {
  writeFileSync(join(folder, 'made.pem'), certificate.toString());
  writeFileSync(join(folder, 'authority.pem'), authority);
  const strict = ['-x509_strict', '-purpose', 'sslclient', '-CAfile', 'authority.pem'];
  openssl('verify', ...strict, 'made.pem');
  return openssl('x509', '-in', 'made.pem', '-noout', '-text');
}

describe('an issuing authority', () => {
  const ec = () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  const other = () => pemOf(ec());

  it.each<[string, 'certificate' | 'key', () => { certificatePem: string; keyPem: string }]>([
    ['no certificate', 'certificate', () => ({ certificatePem: 'x', keyPem: plant.key })],
    ['two', 'certificate', () => ({ certificatePem: plant.cert.repeat(2), keyPem: plant.key })],
    ['no key', 'key', () => ({ certificatePem: plant.cert, keyPem: plant.cert })],
    ['the key of another', 'key', () => ({ certificatePem: plant.cert, keyPem: other() })],
    ['no authority', 'certificate', () => selfSigned(ec(), '-addext', 'basicConstraints=CA:FALSE')],
    [
      'an authority that may not sign',
      'certificate',
      () => selfSigned(ec(), '-addext', 'keyUsage=digitalSignature'),
    ],
    [
      'a weak key',
      'key',
      () => selfSigned(generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey),
    ],
  ])('is refused when it has %s', (_, file, parts) => {
    const found = IssuingAuthority.open({ ...parts(), validityDays: 1 });
    expect(found).toMatchObject({ ok: false, file });
  });

  it('is refused with a key that needs a pass phrase', () => {
    const encrypted = generateKeyPairSync('ec', { namedCurve: 'P-256' })
      .privateKey.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'x' })
      .toString();
    const found = IssuingAuthority.open({
      ...{ certificatePem: plant.cert, keyPem: encrypted, validityDays: 1 },
    });
    expect(found).toMatchObject({ ok: false, file: 'key' });
  });

  it('makes certificates for TLS clients, with one name, and nothing else that was asked for', () => {
    const made = issued();
    expect(made.subject).toBe(`CN=${NAME}`);
    expect([made.ca, made.subjectAltName]).toEqual([false, undefined]);
    expect(made.keyUsage).toEqual(['1.3.6.1.5.5.7.3.2']);
    const authority = new X509Certificate(plant.cert);
    expect([made.checkIssued(authority), made.verify(authority.publicKey)]).toEqual([true, true]);
    const text = shown(made, plant.cert);
    expect(text).toMatch(/Version: 3/);
    expect(text).toMatch(/X509v3 Basic Constraints: critical\s+CA:FALSE/);
    expect(text).toMatch(/X509v3 Key Usage: critical\s+Digital Signature\n/);
    expect(text).toMatch(/X509v3 Extended Key Usage:\s+TLS Web Client Authentication\n/);
    const identifiers = /([0-9A-F:]{59})/g;
    const [subjectKey, authorityKey] = text.match(identifiers) ?? [];
    writeFileSync(join(folder, 'plant.pem'), plant.cert);
    const [plantKey] =
      openssl('x509', '-in', 'plant.pem', '-noout', '-text').match(identifiers) ?? [];
    expect([authorityKey, subjectKey === authorityKey]).toEqual([plantKey, false]);
  });

  it('numbers them at random, with 128 bits and more, and positive', () => {
    const authority = ofPlant();
    const serials = Array.from({ length: 50 }, () => issued(authority).serialNumber);
    expect(new Set(serials).size).toBe(50);
    for (const one of serials) expect(one).toMatch(/^01[0-9A-F]{32}$/);
  });

  it('makes them for so many days, from a moment ago, and never beyond its own end', () => {
    const at = Math.floor(Date.now() / 1000) * 1000;
    const made = issued(ofPlant(7), at);
    // The authority itself was made a moment ago.
    const begins = Date.parse(new X509Certificate(plant.cert).validFrom);
    expect(Date.parse(made.validFrom)).toBe(Math.max(at - BACKDATED_MS, begins));
    expect(Date.parse(made.validTo)).toBe(at + 7 * DAY_MS);
    expect(Date.parse(issued(ofPlant(7), at + DAY_MS).validFrom)).toBe(at + DAY_MS - BACKDATED_MS);
    const authority = ofPlant(365);
    const ends = Date.parse(new X509Certificate(plant.cert).validTo);
    expect(issued(authority).validTo).toBe(new X509Certificate(plant.cert).validTo);
    expect(authority.endsAt).toBe(ends + 1000);
    expect(authority.issue(request, ends + 999)).toMatchObject({ ok: true });
    const late = authority.issue(request, ends + 1000);
    expect(late).toEqual({ ok: false, problem: 'the issuing authority has ended' });
    const early = authority.issue(request, begins - 1);
    expect(early).toEqual({ ok: false, problem: 'the issuing authority is not valid yet' });
  });

  it('can tell the time beyond 2049', () => {
    const parts = selfSigned(ec(), '-days', '14600');
    const made = issued(opened(parts, 3650), Date.UTC(2045, 0, 1));
    expect(made.validTo).toBe('Dec 30 00:00:00 2054 GMT');
  });

  it.each<[string, () => KeyObject]>([
    ['RSA', () => generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey],
    ['EC P-256', ec],
    ['EC P-384', () => generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey],
    ['EC P-521', () => generateKeyPairSync('ec', { namedCurve: 'P-521' }).privateKey],
    ['Ed25519', () => generateKeyPairSync('ed25519').privateKey],
  ])('of a key of %s makes certificates for keys of every kind', async (_, key) => {
    const parts = selfSigned(key(), '-addext', 'keyUsage=critical,keyCertSign');
    const authority = opened(parts);
    const keys = [
      generateKeyPairSync('rsa', { modulusLength: 2048 }),
      generateKeyPairSync('ec', { namedCurve: 'P-521' }),
      generateKeyPairSync('ed25519'),
    ];
    for (const { privateKey } of keys) {
      const made = authority.issue(await requestOf(pemOf(privateKey)), Date.now());
      if (!made.ok) throw new Error(made.problem);
      const { certificate } = made;
      expect(certificate.checkPrivateKey(privateKey)).toBe(true);
      expect(shown(certificate, parts.certificatePem)).toContain('TLS Web Client');
    }
  });

  it('of a name in several parts and kinds of text is found by it', async () => {
    const middle = await CertificateAuthority.create('/C=DE/O=Werk ü/OU=a/CN=Middle', plant);
    const authority = opened({ certificatePem: middle.cert, keyPem: middle.key });
    const made = issued(authority);
    expect(shown(made, `${plant.cert}${middle.cert}`)).toContain('CN = Middle');
  });
});

describe('loadIssuingAuthority', () => {
  const config = { certificateValidityDays: 365 };
  const failure = (more: object) => {
    try {
      return loadIssuingAuthority({ ...config, ...more });
    } catch (error) {
      return error;
    }
  };
  const file = (name: string, text: string): string => {
    const path = join(folder, name);
    writeFileSync(path, text);
    return path;
  };

  it('is none where nothing is said', () => {
    expect(failure({})).toBeUndefined();
  });

  it('names the key of the configuration that is wrong, and nothing of what is in the files', () => {
    const caCertificateFile = file('load.pem', plant.cert);
    const caKeyFile = file('load.key', plant.key);
    const secret = plant.key.split('\n')[1] ?? '';
    for (const [more, named] of [
      [
        { caCertificateFile: join(folder, 'no-such'), caKeyFile },
        'caCertificateFile cannot be read (ENOENT)',
      ],
      [{ caCertificateFile, caKeyFile: folder }, 'caKeyFile cannot be read (EISDIR)'],
      [{ caCertificateFile: caKeyFile, caKeyFile }, 'caCertificateFile must name a file'],
      [{ caCertificateFile, caKeyFile: caCertificateFile }, 'caKeyFile must name a file'],
      [
        { caCertificateFile, caKeyFile: file('x.key', `${plant.key.slice(0, 90)}`) },
        'caKeyFile must name',
      ],
    ] as const) {
      const error = failure(more);
      expect(isOperational(error, 'config_invalid')).toBe(true);
      expect(String(error)).toContain(`registration.${named}`);
      expect(String(error)).not.toContain(secret);
    }
    const authority = failure({ caCertificateFile, caKeyFile });
    expect(authority).toBeInstanceOf(IssuingAuthority);
    // Whatever is made of it as a text.
    expect(JSON.stringify(authority)).toBe('{}');
  });
});
