import { AUTHORITIES_BYTES_MAX } from '@sallyport/domain';
import { CertificateAuthority, type Issued, removeTempFolders } from '@sallyport/test-kit';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Client, World } from '../../testing/world.ts';
import { materialProblems } from './material.ts';

const URL = '/api/v1/certificates/ssl:default';

let world: World;
let admin: Client;
let servers: CertificateAuthority;
let clients: CertificateAuthority;
let server: Issued;

beforeAll(async () => {
  servers = await CertificateAuthority.create('/CN=Servers');
  clients = await CertificateAuthority.create('/CN=Clients');
  server = await servers.issue({ subject: '/CN=localhost', use: 'server' });
  world = await World.open();
  admin = await world.login();
});
afterAll(async () => {
  await world[Symbol.asyncDispose]();
  removeTempFolders();
});
beforeEach(() => admin.delete(URL));

const none = { clientCertificate: 'none' };
const own = () => ({ ...none, serverCertificate: server.cert, serverKey: server.key });

/** Of a refused request; empty for one that was taken. */
async function problemOf(body: object): Promise<string> {
  const { status, body: answer } = await admin.put(URL, body);
  if (status !== 422) return '';
  return answer.errors.map((one) => `${one.pointer} ${one.detail}`).join('; ');
}

describe('the certificates of a listener', () => {
  it('refuses what a listener could not use, and says where and why', async () => {
    const other = await servers.issue({ subject: '/CN=localhost', use: 'server' });
    const expired = await servers.issue({
      subject: '/CN=localhost',
      use: 'server',
      notBefore: new Date('2001-01-01'),
      notAfter: new Date('2002-01-01'),
    });
    const leaf = await clients.issue({ subject: '/CN=pump-7' });
    const strange = await servers.writeCrl();
    const listed = await clients.writeCrl();
    const weak = await servers.issue({ subject: '/CN=localhost', use: 'server', key: 'RSA-1024' });
    const cases: readonly [body: object, problem: RegExp][] = [
      [{ clientCertificate: 'required' }, /^\/authorities is needed because/],
      [{ ...none, authorities: 'no PEM' }, /^\/authorities must hold at least one CERTIFICATE/],
      [{ ...none, authorities: server.key }, /^\/authorities must hold nothing but CERTIFICATE/],
      [{ ...none, authorities: leaf.cert }, /^\/authorities certificate 1 may not sign others/],
      [
        { ...none, authorities: `${clients.cert}${leaf.cert}` },
        /^\/authorities certificate 2 may not sign/,
      ],
      [
        { ...none, authorities: clients.cert, revocationLists: clients.cert },
        /^\/revocationLists must hold nothing but X509 CRL/,
      ],
      [
        { ...none, authorities: clients.cert, revocationLists: strange + listed },
        /^\/revocationLists list 1 is of none of the authorities/,
      ],
      [{ ...none, serverCertificate: server.cert }, /^\/serverKey is needed/],
      [{ ...none, serverKey: server.key }, /^\/serverKey is given, but serverCertificate is not/],
      [{ ...own(), serverKey: other.key }, /^\/serverKey is not the key of the server certificate/],
      [{ ...own(), serverKey: 'no key' }, /^\/serverKey must be one private key in PEM/],
      [
        { ...own(), serverCertificate: `${server.cert}${clients.cert}` },
        /^\/serverCertificate certificate 1 was not issued by the one that follows it/,
      ],
      [
        { ...none, serverCertificate: expired.cert, serverKey: expired.key },
        /^\/serverCertificate certificate 1 has expired/,
      ],
      [
        { ...none, serverCertificate: weak.cert, serverKey: weak.key },
        /^\/serverCertificate certificate 1 has less than 2048 bits/,
      ],
    ];
    for (const [body, problem] of cases) {
      expect(await problemOf(body), String(problem)).toMatch(problem);
    }
    const long = await admin.put(URL, {
      ...none,
      authorities: 'x'.repeat(AUTHORITIES_BYTES_MAX + 1),
    });
    expect(long.status).toBe(400);
    expect((await admin.get(URL)).body.code).toBe('trust_not_found');
  });

  it('hold revocation lists that are in force, of one authority or of several', async () => {
    const others = await CertificateAuthority.create('/O=Plant 7/CN=Others');
    const authorities = clients.cert + others.cert;
    const revocationLists = (await clients.writeCrl(60)) + (await others.writeCrl());
    const before = Date.now();
    expect(materialProblems({ authorities, revocationLists }, before)).toEqual([]);
    expect(materialProblems({ authorities, revocationLists }, before + 61_000)).toEqual([
      { pointer: '/revocationLists', detail: 'list 1 has expired' },
    ]);
    expect(materialProblems({ revocationLists }, before)).toEqual([]);
  });

  it('tell which authorities let nobody in for want of a revocation list, and from when', async () => {
    const others = await CertificateAuthority.create('/O=Plant 7/CN=Others');
    const authorities = clients.cert + others.cert;
    const revocations = async (lists: object) => {
      const body = { clientCertificate: 'required', authorities, ...lists };
      const answer = await admin.put(URL, body);
      expect(answer.status).toBe(200);
      const { certificates } = answer.body as unknown as {
        readonly certificates: { readonly authorities: readonly Record<string, unknown>[] };
      };
      return certificates.authorities.map((one) => [
        one['subject'],
        one['revocationList'],
        one['revocationListValidTo'],
      ]);
    };
    const [theirs, named] = ['CN=Clients', 'O=Plant 7\nCN=Others'];
    expect(await revocations({})).toEqual([
      [theirs, undefined, undefined],
      [named, undefined, undefined],
    ]);
    const crl = await others.writeCrl(60);
    expect(await revocations({ revocationLists: crl })).toEqual([
      [theirs, 'missing', undefined],
      [named, 'present', expect.stringMatching(/^20\d\d-.*Z$/)],
    ]);
    // Of two lists of one authority the later one counts.
    const both = crl + (await others.writeCrl(3600)) + (await clients.writeCrl());
    const [first, second] = await revocations({ revocationLists: both });
    expect(first).toEqual([theirs, 'present', expect.anything()]);
    expect(Date.parse(String(second?.[2]))).toBeGreaterThan(Date.now() + 3_000_000);
  });

  it('are there for TLS listeners only', async () => {
    for (const name of ['tcp:default', 'ssl:other', '__proto__']) {
      const answer = await admin.put(`/api/v1/certificates/${name}`, none);
      expect([answer.status, answer.body.code]).toEqual([404, 'trust_not_found']);
    }
  });

  it('are set, read back without the key, and taken away', async () => {
    const body = { clientCertificate: 'required', authorities: clients.cert };
    const put = await admin.put(URL, { ...own(), ...body });
    expect(put.status).toBe(200);
    expect(put.headers.etag).toBe(`"${put.body.revision}"`);
    const read = await admin.get(URL);
    expect(read.body).toMatchObject({
      listener: 'ssl:default',
      ...body,
      serverCertificate: server.cert,
      serverKeyStored: true,
      certificates: {
        authorities: [{ subject: 'CN=Clients' }],
        server: [{ issuer: 'CN=Servers' }],
      },
    });
    const list = await admin.get('/api/v1/certificates');
    expect(list.body.items).toHaveLength(1);
    const secret = server.key.split('\n')[1] ?? '';
    expect(secret.length).toBeGreaterThan(20);
    for (const answer of [put, read, list]) {
      expect(JSON.stringify(answer.body)).not.toContain(secret);
    }
    const commits = await world.log.read(0, 1000);
    expect(JSON.stringify(commits)).not.toContain(secret);
    expect((await admin.delete(URL)).status).toBe(204);
    expect((await admin.get(URL)).status).toBe(404);
  });

  it('keep the stored key for a certificate that it belongs to, and for no other', async () => {
    await admin.put(URL, own());
    const kept = await admin.put(URL, { ...none, serverCertificate: server.cert });
    expect([kept.status, kept.body.serverKeyStored]).toEqual([200, true]);
    const other = await servers.issue({ subject: '/CN=localhost', use: 'server' });
    expect(await problemOf({ ...none, serverCertificate: other.cert })).toMatch(/serverKey is not/);
    const without = await admin.put(URL, none);
    expect(without.body.serverKeyStored).toBe(false);
  });

  it('are changed only as the caller knew them', async () => {
    const put = await admin.put(URL, none, { 'if-none-match': '*' });
    expect(put.status).toBe(200);
    expect((await admin.put(URL, none, { 'if-none-match': '*' })).status).toBe(412);
    expect((await admin.put(URL, none, { 'if-match': '"1"' })).status).toBe(412);
    expect((await admin.delete(URL, { 'if-match': '"1"' })).status).toBe(412);
    const etag = String(put.headers.etag);
    expect((await admin.put(URL, own(), { 'if-match': etag })).status).toBe(200);
  });
});
