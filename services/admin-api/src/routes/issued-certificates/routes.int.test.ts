import { execFileSync } from 'node:child_process';
import { generateKeyPairSync, type KeyObject, sign, X509Certificate } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { RENEWALS_MAX } from '@sallyport/domain';
import {
  CertificateAuthority,
  findProgram,
  makeSigningRequest,
  removeTempFolders,
  tempFolder,
} from '@sallyport/test-kit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { REGISTRATIONS_PER_MINUTE_MAX } from '../../registration/registration-desk.ts';
import { IssuingAuthority } from '../../issuing/issuing-authority.ts';
import { type Answered, type Client, World } from '../../testing/world.ts';

const BASE = '/api/v1/certificates/issued';
const DAY_MS = 86_400_000;

let folder: string;
let plant: CertificateAuthority;
let world: World;
let admin: Client;
/** On the same log, and without an authority. */
let without: World;

beforeAll(async () => {
  folder = tempFolder('issued');
  plant = await CertificateAuthority.create('/CN=Plant');
  const parts = { certificatePem: plant.cert, keyPem: plant.key, validityDays: 1 };
  const opened = IssuingAuthority.open(parts);
  if (!opened.ok) throw new Error(opened.problem);
  world = await World.open({ issuer: opened.authority });
  world.now = Date.now();
  admin = await world.login();
  without = await World.open({ replicaOf: world });
  without.now = world.now;
});
afterAll(async () => {
  const said = [...(await world.everythingSaid()), ...(await without.everythingSaid())].join('\n');
  for (const line of plant.key.split('\n').slice(1, -2)) expect(said).not.toContain(line);
  await without[Symbol.asyncDispose]();
  await world[Symbol.asyncDispose]();
  removeTempFolders();
});

interface Issued {
  readonly fingerprint: string;
  readonly subject: string;
  readonly serial: string;
  readonly state: string;
  readonly credentialId: string;
  readonly certificate: string;
  readonly renews?: string;
  readonly listeners?: readonly { listener: string; listed: boolean; reason?: string }[];
}

const bodyOf = (answer: Answered, status = 200): Issued => {
  expect(answer.status, answer.text).toBe(status);
  return answer.body as unknown as Issued;
};
const newKey = (): KeyObject => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
const pemOf = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' }).toString();
const requestFor = (name: string, key = newKey()) =>
  makeSigningRequest({ subject: `/CN=${name}`, keyPem: pemOf(key) });

let source = 0;
const stranger = (path: string, payload: object, at = world): Promise<Answered> =>
  at.request({
    ...{ method: 'POST', url: `/api/v1/registration/${path}`, payload },
    remoteAddress: `192.0.2.${++source % 250}`,
  });

/** Asks for a certificate, and is granted one. */
async function granted(username: string, key = newKey()): Promise<Issued> {
  await admin.post('/api/v1/registration/open', { openDuration: 60_000 });
  const asked = { username, password: 'canary-password', csr: await requestFor(username, key) };
  expect((await stranger('register', asked)).status).toBe(202);
  const { items } = (await admin.get(`/api/v1/registration?search=${username}`)).body;
  const id = items[0]?.id ?? '';
  expect((await admin.post(`/api/v1/registration/requests/${id}/grant`, {})).status).toBe(201);
  return found(`search=${username}`);
}

async function found(query: string): Promise<Issued> {
  const { items } = (await admin.get(`${BASE}?${query}`)).body;
  const [first] = items as unknown as readonly Issued[];
  if (first === undefined) throw new Error(`nothing is found by ${query}`);
  return first;
}

const names = async (query: string): Promise<readonly string[]> => {
  const { items } = (await admin.get(`${BASE}?${query}`)).body;
  return (items as unknown as readonly Issued[]).map((one) => one.subject);
};

/** As the program openssl reads the list, and checks it. */
async function listText(): Promise<string> {
  const answer = await admin.get(`${BASE}/revocation-list`);
  expect([answer.status, answer.headers['content-type']]).toEqual([200, 'application/x-pem-file']);
  writeFileSync(join(folder, 'list.pem'), answer.text);
  const run = (...more: string[]) =>
    execFileSync(findProgram('openssl'), ['crl', '-in', 'list.pem', ...more], {
      ...{ cwd: folder, encoding: 'utf8', stdio: 'pipe' },
    });
  run('-CAfile', plant.certFile, '-verify', '-noout');
  return run('-noout', '-text');
}

describe('certificates that were made here', () => {
  it('are refused to whoever may not see or change them, and are not there', async () => {
    const viewer = await world.operator('viewer');
    const url = `${BASE}/${'ab'.repeat(32)}`;
    expect((await world.anonymous().get(BASE)).status).toBe(401);
    expect((await viewer.get(BASE)).status).toBe(200);
    expect((await viewer.post(`${url}/revoke`, {})).status).toBe(403);
    for (const answer of [
      admin.get(url),
      admin.get(`${BASE}/no-fingerprint`),
      admin.post(`${url}/revoke`, {}),
      admin.post(`${url}/renew`, { csr: 'x' }),
    ]) {
      const { status, body } = await answer;
      expect([status, body.code]).toEqual([404, 'certificate_not_found']);
    }
  });

  it('are recorded by the grant that makes them, and found', async () => {
    const first = await granted('agent-b');
    await granted('agent-a');
    const certificate = new X509Certificate(first.certificate);
    expect(first).toMatchObject({
      subject: 'agent-b',
      serial: certificate.serialNumber,
      fingerprint: certificate.fingerprint256.replaceAll(':', '').toLowerCase(),
      authority: new X509Certificate(plant.cert).fingerprint256.replaceAll(':', '').toLowerCase(),
      by: 'operator:admin',
      state: 'valid',
      notBefore: new Date(certificate.validFrom).toISOString(),
    });
    const { body } = await admin.get(`/api/v1/credentials/${first.credentialId}`);
    expect(body.match).toEqual({ username: 'agent-b' });
    const shown = await admin.get(`${BASE}/SHA256:${certificate.fingerprint256}`);
    expect(bodyOf(shown)).toEqual(first);
    expect(await names('sort=subject')).toEqual(['agent-a', 'agent-b']);
    expect(await names('sort=issuedAt,desc&pageSize=1')).toHaveLength(1);
    expect(await names('search=AGENT-A')).toEqual(['agent-a']);
    expect(await names(`credentialId=${first.credentialId}`)).toEqual(['agent-b']);
    expect(await names('state=revoked')).toEqual([]);
    expect(await names('state=valid&sort=notAfter')).toHaveLength(2);
    expect((await admin.get(`${BASE}?sort=serial`)).status).toBe(400);
  });
});

describe('the revocation of a certificate', () => {
  it('is on the list, which is none where nobody signs', async () => {
    const refused = await (await without.login()).get(`${BASE}/revocation-list`);
    expect([refused.status, refused.body.code]).toEqual([409, 'registration_unsigned']);
    expect(await listText()).toContain('No Revoked Certificates');
    const one = await granted('agent-c');
    const revoked = bodyOf(
      await admin.post(`${BASE}/${one.fingerprint}/revoke`, { reason: 'lost' }),
    );
    expect(revoked).toMatchObject({
      state: 'revoked',
      revoked: { by: 'operator:admin', reason: 'lost' },
      listeners: [],
    });
    expect(await listText()).toContain(`Serial Number: ${one.serial}`);
    const again = await admin.post(`${BASE}/${one.fingerprint}/revoke`);
    expect([again.status, again.body.code]).toEqual([409, 'certificate_revoked']);
    const renewed = await admin.post(`${BASE}/${one.fingerprint}/renew`, {
      csr: await requestFor('agent-c'),
    });
    expect([renewed.status, renewed.body.code]).toEqual([409, 'certificate_revoked']);
    expect(await names('state=revoked')).toEqual(['agent-c']);
  });

  it('waits for the nodes, guards what was read, and answers a retry as the first', async () => {
    const one = await granted('agent-d');
    const url = `${BASE}/${one.fingerprint}/revoke`;
    const stale = await admin.post(url, {}, { 'if-match': '"1"' });
    expect([stale.status, stale.body.code]).toEqual([412, 'precondition_failed']);
    const { etag = '' } = (await admin.get(`${BASE}/${one.fingerprint}`)).headers;
    const headers = { 'if-match': String(etag), 'idempotency-key': 'revoke-d' };
    const first = await admin.post(`${url}?wait=enforced`, {}, headers);
    expect([first.status, first.headers['sallyport-enforced']]).toEqual([200, 'true']);
    const again = await admin.post(`${url}?wait=enforced`, {}, headers);
    expect([again.status, again.headers['idempotency-replayed']]).toEqual([200, 'true']);
  });

  it('changes the lists of listeners that trust the authority, and locks nobody out', async () => {
    const other = await CertificateAuthority.create('/CN=Other');
    const listOfOther = await other.writeCrl();
    const put = async (listener: string, authorities: string, revocationLists?: string) => {
      const answer = await admin.put(`/api/v1/certificates/${listener}`, {
        ...{ clientCertificate: 'optional', authorities },
        ...(revocationLists !== undefined && { revocationLists }),
      });
      expect(answer.status, answer.text).toBe(200);
    };
    const listsOf = async (listener: string) =>
      ((await admin.get(`/api/v1/certificates/${listener}`)).body as { revocationLists?: string })
        .revocationLists;
    const revoke = async (name: string, by = admin) => {
      const { fingerprint, serial } = await granted(name);
      const answer = bodyOf(await by.post(`${BASE}/${fingerprint}/revoke`));
      return { serial, listeners: answer.listeners };
    };
    await put('ssl:default', plant.cert);
    await put('wss:default', plant.cert + other.cert);
    const first = await revoke('agent-e');
    expect(first.listeners).toEqual([
      { listener: 'ssl:default', listed: true },
      { listener: 'wss:default', listed: false, reason: 'no_lists_of_others' },
    ]);
    expect(await listsOf('wss:default')).toBeUndefined();
    const before = await listsOf('ssl:default');
    expect(before).toContain('X509 CRL');
    // With lists of the others ours stands behind them, once.
    await put('wss:default', plant.cert + other.cert, listOfOther);
    const second = await revoke('agent-f');
    expect(second.listeners).toMatchObject([{ listed: true }, { listed: true }]);
    const lists = (await listsOf('wss:default')) ?? '';
    expect(lists.match(/BEGIN X509 CRL/g)).toHaveLength(2);
    expect((await listsOf('ssl:default'))?.match(/BEGIN X509 CRL/g)).toHaveLength(1);
    const text = await listText();
    for (const { serial } of [first, second]) expect(text).toContain(`Serial Number: ${serial}`);
    await put('wss:default', other.cert);
    const third = await revoke('agent-g', await without.login());
    expect(third.listeners).toEqual([
      { listener: 'ssl:default', listed: false, reason: 'no_authority' },
      { listener: 'wss:default', listed: false, reason: 'no_authority' },
    ]);
    expect((await revoke('agent-h')).listeners).toMatchObject([
      { listed: true },
      { reason: 'not_trusted' },
    ]);
    // The one that was left out is on the next list.
    expect(await listText()).toContain(`Serial Number: ${third.serial}`);
  });
});

describe('a renewal', () => {
  it('by an administrator is for another key, of the same name, and says whose place it takes', async () => {
    const one = await granted('agent-i');
    const url = `${BASE}/${one.fingerprint}/renew`;
    for (const [csr, detail] of [
      ['x', /PEM/],
      [await requestFor('agent-j'), /user name as its Common Name/],
    ] as const) {
      const { status, body } = await admin.post(url, { csr });
      expect([status, body.errors[0].pointer]).toEqual([400, '/csr']);
      expect(body.errors[0].detail).toMatch(detail);
    }
    const key = newKey();
    const csr = await requestFor('agent-i', key);
    const unsigned = await (await without.login()).post(url, { csr });
    expect([unsigned.status, unsigned.body.code]).toEqual([409, 'registration_unsigned']);
    const renewed = bodyOf(await admin.post(url, { csr }, { 'idempotency-key': 'renew-i' }), 201);
    expect(renewed).toMatchObject({ renews: one.fingerprint, credentialId: one.credentialId });
    expect(new X509Certificate(renewed.certificate).checkPrivateKey(key)).toBe(true);
    const again = bodyOf(await admin.post(url, { csr }, { 'idempotency-key': 'renew-i' }), 201);
    expect(again.certificate).toBe(renewed.certificate);
    expect(await names('search=agent-i')).toHaveLength(2);
    for (let count = 1; count < RENEWALS_MAX; count++) {
      bodyOf(await admin.post(url, { csr }), 201);
    }
    const past = await admin.post(url, { csr });
    expect([past.status, past.body.code]).toEqual([409, 'certificate_not_renewable']);
  });

  it('by a device needs the key of its present certificate, and half of the validity to be over', async () => {
    const key = newKey();
    const one = await granted('agent-k', key);
    const next = newKey();
    const csr = await requestFor('agent-k', next);
    const signed = (by: KeyObject, text = csr) => sign('sha256', Buffer.from(text), by);
    const renew = (more: object = {}) =>
      stranger('renew', {
        ...{ fingerprint: one.fingerprint, csr, signature: signed(key).toString('base64') },
        ...more,
      });
    for (const more of [
      { fingerprint: 'ab'.repeat(32) },
      { fingerprint: 'x' },
      { signature: '' },
      { signature: signed(next).toString('base64') },
      { csr: await requestFor('agent-k') },
    ]) {
      const { status, body } = await renew(more);
      expect([status, body.code], JSON.stringify(more)).toEqual([403, 'certificate_unproven']);
    }
    const asked = Array.from({ length: REGISTRATIONS_PER_MINUTE_MAX + 1 }, () =>
      world.request({
        ...{ method: 'POST', url: '/api/v1/registration/renew', remoteAddress: '198.51.100.1' },
        payload: { fingerprint: 'x', csr: 'x', signature: 'x' },
      }),
    );
    const statuses = (await Promise.all(asked)).map((one) => one.status);
    expect(statuses.filter((one) => one === 429)).toHaveLength(1);
    const early = await renew();
    expect([early.status, early.body.code]).toEqual([409, 'certificate_not_renewable']);
    world.now += DAY_MS / 2;
    admin = await world.login();
    const { certificate } = bodyOf(await renew(), 201);
    const made = new X509Certificate(certificate);
    expect([made.subject, made.checkPrivateKey(next)]).toEqual(['CN=agent-k', true]);
    const recorded = await found('search=agent-k&sort=issuedAt,desc');
    expect(recorded).toMatchObject({
      certificate,
      renews: one.fingerprint,
      by: `credential:${one.credentialId}`,
    });
    await admin.post(`${BASE}/${one.fingerprint}/revoke`);
    const revoked = await renew();
    expect([revoked.status, revoked.body.code]).toEqual([409, 'certificate_revoked']);
    expect(await names('state=valid&search=agent-k')).toEqual(['agent-k']);
  });
});
