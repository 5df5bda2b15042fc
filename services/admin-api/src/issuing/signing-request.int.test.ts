import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { CertificationRequest } from '@peculiar/asn1-csr';
import { AsnConvert } from '@peculiar/asn1-schema';
import {
  AttributeTypeAndValue,
  AttributeValue,
  Name,
  RelativeDistinguishedName,
} from '@peculiar/asn1-x509';
import { makeSigningRequest, removeTempFolders } from '@sallyport/test-kit';
import { afterAll, describe, expect, it } from 'vitest';
import {
  COMMON_NAME_LENGTH_MAX,
  keyText,
  readSigningRequest,
  RSA_KEY_BITS_MAX,
  SIGNING_REQUEST_LENGTH_MAX,
} from './signing-request.ts';

afterAll(removeTempFolders);

const NAME = 'agent-7';
const pemOf = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' }).toString();
const ec = (namedCurve = 'P-256'): string =>
  pemOf(generateKeyPairSync('ec', { namedCurve }).privateKey);
const rsa = (modulusLength: number, publicExponent = 65_537): string =>
  pemOf(generateKeyPairSync('rsa', { modulusLength, publicExponent }).privateKey);
const ed25519 = (): string => pemOf(generateKeyPairSync('ed25519').privateKey);

const make = (subject: string, keyPem = ec(), more: readonly string[] = []) =>
  makeSigningRequest({ subject, keyPem, more });

function problemOf(csr: string, username = NAME): string | undefined {
  const read = readSigningRequest(csr, username);
  return read.ok ? undefined : read.problem;
}

/** The request with other bytes in place of the first that are `from`. */
function changed(csr: string, from: string | Buffer, to: string | Buffer): string {
  const der = Buffer.from(csr.replaceAll(/-----.*-----|\s/g, ''), 'base64');
  const at = der.indexOf(from);
  expect(at).toBeGreaterThan(0);
  Buffer.from(to).copy(der, at);
  return wrapped(der.toString('base64'));
}

const wrapped = (base64: string): string =>
  `-----BEGIN CERTIFICATE REQUEST-----\n${base64}\n-----END CERTIFICATE REQUEST-----\n`;

/** With one Common Name that openssl may not make, signed as it is to be. */
async function named(name: Partial<AttributeValue>): Promise<string> {
  const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  const csr = await make('/CN=x', pemOf(key));
  const der = Buffer.from(csr.replaceAll(/-----.*-----|\s/g, ''), 'base64');
  const request = AsnConvert.parse(der, CertificationRequest);
  const attribute = new AttributeTypeAndValue({
    type: '2.5.4.3',
    value: new AttributeValue(name),
  });
  const info = request.certificationRequestInfo;
  info.subject = new Name([new RelativeDistinguishedName([attribute])]);
  const signature = sign('sha256', Buffer.from(AsnConvert.serialize(info)), key);
  const { signatureAlgorithm } = request;
  const made = new CertificationRequest({
    certificationRequestInfo: info,
    signatureAlgorithm,
    signature: Uint8Array.from(signature).buffer,
  });
  return wrapped(Buffer.from(AsnConvert.serialize(made)).toString('base64'));
}

describe('a signing request', () => {
  it.each([
    ['nothing', ''],
    ['no PEM', 'agent-7'],
    ['PEM of nothing', wrapped('')],
    ['PEM of something else', '-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----'],
    ['no DER', wrapped('AAAA')],
    ['an empty SEQUENCE', wrapped('MAA=')],
    ['nested without end', wrapped(Buffer.alloc(1500, '3080', 'hex').toString('base64'))],
  ])('is refused when it is %s', (_, text) => {
    expect(problemOf(text)).toBe('is not the PEM of a certificate signing request');
  });

  it('is refused when it is two, or cut off', async () => {
    const csr = await make(`/CN=${NAME}`);
    const base64 = csr.replaceAll(/-----.*-----|\s/g, '');
    for (const text of [csr + csr, `x${csr}`, wrapped(base64.slice(0, -40))]) {
      expect(problemOf(text)).toBe('is not the PEM of a certificate signing request');
    }
  });

  it('is taken up to a length, which spaces count for', async () => {
    const csr = await make(`/CN=${NAME}`);
    expect(problemOf(csr.padEnd(SIGNING_REQUEST_LENGTH_MAX))).toBeUndefined();
    expect(problemOf(csr.padEnd(SIGNING_REQUEST_LENGTH_MAX + 1))).toBe(
      'must be at most 4096 characters',
    );
  });

  it.each([
    ['/O=Plant', 'must have exactly one Common Name'],
    [`/CN=${NAME}/CN=${NAME}`, 'must have exactly one Common Name'],
    [`/CN=${NAME}/O=Plant/CN=other`, 'must have exactly one Common Name'],
    ['/CN=Agent-7', 'must have the user name as its Common Name'],
    ['/CN=agent-7 ', 'must have the user name as its Common Name'],
    ['/CN=agent-8', 'must have the user name as its Common Name'],
    [`/O=${NAME}/CN=other`, 'must have the user name as its Common Name'],
  ])('is refused with the subject %s', async (subject, problem) => {
    expect(problemOf(await make(subject))).toBe(problem);
  });

  it('is refused with an empty Common Name, without any, and with one of another kind of text', async () => {
    expect(problemOf(await named({ utf8String: '' }))).toMatch(/user name as its Common Name/);
    expect(problemOf(await named({ utf8String: '' }), '')).toMatch(/is not empty/);
    expect(problemOf(await make('/CN=x', ec(), ['-subj', '/']))).toMatch(/exactly one/);
    for (const kind of ['teletexString', 'bmpString', 'universalString', 'ia5String'] as const) {
      expect(problemOf(await named({ [kind]: NAME }))).toMatch(/UTF8String or PrintableString/);
    }
    expect(problemOf(await named({ printableString: NAME }))).toBeUndefined();
  });

  it.each(['a/b', 'a+b', 'a#'])('is refused of the user %s', async (username) => {
    const csr = await make(`/CN=${username.replaceAll(/[/+]/g, '\\$&')}`);
    expect(problemOf(csr, username)).toMatch(/no \+, # or \//);
  });

  it('is refused for a name that no certificate holds, one past the longest', async () => {
    const longest = 'ü'.repeat(COMMON_NAME_LENGTH_MAX);
    expect(problemOf(await make(`/CN=${longest}`), longest)).toBeUndefined();
    const longer = `${longest}ü`;
    expect(problemOf(await named({ utf8String: longer }), longer)).toBe(
      'must have a Common Name of at most 64 characters',
    );
  });

  it.each([
    ['RSA of 2047 bits', () => rsa(2047)],
    ['RSA of 1024 bits', () => rsa(1024)],
    ['RSA with the exponent 3', () => rsa(2048, 3)],
    ['another curve', () => ec('secp256k1')],
    ['Ed448', () => pemOf(generateKeyPairSync('ed448').privateKey)],
    [
      'DSA',
      () =>
        pemOf(generateKeyPairSync('dsa', { modulusLength: 2048, divisorLength: 256 }).privateKey),
    ],
  ])('is refused of a key of %s', async (_, key) => {
    expect(problemOf(await make(`/CN=${NAME}`, key()))).toBe(
      `must be of a key of RSA (2048 to ${RSA_KEY_BITS_MAX} bits), EC (P-256, P-384, P-521) or Ed25519`,
    );
  });

  it.each([['-sha1'], ['-sha224'], ['-md5']])(
    'is refused when it is signed with %s',
    async (digest) => {
      expect(problemOf(await make(`/CN=${NAME}`, rsa(2048), [digest]))).toMatch(
        /^must be signed with/,
      );
    },
  );

  it.each([
    ['EC', ec],
    ['RSA', () => rsa(2048)],
    ['Ed25519', ed25519],
  ])('is refused when its name, its key or its signature was changed (%s)', async (_, key) => {
    const csr = await make(`/CN=agent-6`, key());
    expect(problemOf(csr, 'agent-6')).toBeUndefined();
    expect(problemOf(changed(csr, 'agent-6', NAME))).toBe('is not signed by its own key');
    const der = Buffer.from(csr.replaceAll(/-----.*-----|\s/g, ''), 'base64');
    der.writeUInt8(der.readUInt8(der.length - 1) ^ 1, der.length - 1);
    expect(problemOf(wrapped(der.toString('base64')), 'agent-6')).toMatch(
      /^is not (signed|the PEM)/,
    );
  });

  it('is refused when it is signed by another key than its own', async () => {
    const [own, foreign] = [await make(`/CN=${NAME}`), await make(`/CN=${NAME}`)];
    const spki = (csr: string): Buffer => {
      const read = readSigningRequest(csr, NAME);
      if (!read.ok) throw new Error(read.problem);
      return read.request.publicKey.export({ type: 'spki', format: 'der' });
    };
    expect(problemOf(changed(own, spki(own), spki(foreign)))).toBe('is not signed by its own key');
  });

  it.each([
    ['RSA 2048', () => rsa(2048), '-sha256'],
    ['RSA 3072', () => rsa(3072), '-sha512'],
    ['EC P-256', () => ec('P-256'), '-sha256'],
    ['EC P-384', () => ec('P-384'), '-sha384'],
    ['EC P-521', () => ec('P-521'), '-sha512'],
    ['Ed25519', ed25519, '-sha256'],
  ])('of a key of %s is taken', async (text, key, digest) => {
    const extensions = ['-addext', 'basicConstraints=critical,CA:TRUE'];
    const csr = await make(`/O=Plant/CN=${NAME}`, key(), [digest, ...extensions]);
    const read = readSigningRequest(csr, NAME);
    expect(read).toMatchObject({ ok: true, request: { commonName: NAME } });
    expect(read.ok && keyText(read.request.publicKey)).toBe(text);
    expect(csr.length).toBeLessThan(SIGNING_REQUEST_LENGTH_MAX);
    // As Microsoft's tools write it.
    const other = csr.replaceAll('CERTIFICATE REQUEST', 'NEW CERTIFICATE REQUEST');
    expect(problemOf(other.replaceAll('\n', '\r\n'))).toBeUndefined();
  });
});
