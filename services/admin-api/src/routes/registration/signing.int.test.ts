import { createHash, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { CertificateAuthority, makeSigningRequest, removeTempFolders } from '@sallyport/test-kit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { IssuingAuthority } from '../../issuing/issuing-authority.ts';
import { SIGNING_REQUEST_LENGTH_MAX } from '../../issuing/signing-request.ts';
import { type Answered, type AnswerBody, type Client, World } from '../../testing/world.ts';

const BASE = '/api/v1/registration';
const PASSWORD = 'canary-password';

let plant: CertificateAuthority;
let issuer: IssuingAuthority;
let world: World;
let admin: Client;
/** On the same log, and without an authority. */
let without: World;

beforeAll(async () => {
  plant = await CertificateAuthority.create('/CN=Plant');
  const parts = { certificatePem: plant.cert, keyPem: plant.key, validityDays: 7 };
  const opened = IssuingAuthority.open(parts);
  if (!opened.ok) throw new Error(opened.problem);
  issuer = opened.authority;
  world = await World.open({ issuer });
  world.now = Date.now();
  admin = await world.login();
  without = await World.open({ replicaOf: world });
  without.now = world.now;
  await admin.post(`${BASE}/open`, { openDuration: 600_000 });
});
afterAll(async () => {
  const said = [...(await world.everythingSaid()), ...(await without.everythingSaid())].join('\n');
  expect(said).not.toContain('canary-password');
  for (const line of plant.key.split('\n').slice(1, -2)) expect(said).not.toContain(line);
  await without[Symbol.asyncDispose]();
  await world[Symbol.asyncDispose]();
  removeTempFolders();
});

const newKey = () => generateKeyPairSync('ec', { namedCurve: 'P-256' });
const signingRequest = (name: string, { privateKey } = newKey()) =>
  makeSigningRequest({
    subject: `/O=Plant/CN=${name}`,
    keyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    more: ['-addext', 'basicConstraints=CA:TRUE', '-addext', 'subjectAltName=DNS:admin'],
  });

let source = 0;
const register = (username: string, csr?: unknown, at = world): Promise<Answered> =>
  at.request({
    ...{ method: 'POST', url: `${BASE}/register`, remoteAddress: `192.0.2.${++source % 250}` },
    payload: { username, password: PASSWORD, ...(csr === undefined ? {} : { csr }) },
  });
const certificateOf = ({ body }: Answered) => (body as { certificate?: string }).certificate;

interface Request extends AnswerBody {
  readonly username: string;
  readonly signingRequest?: { readonly key: string; readonly keyFingerprint: string };
}

async function waiting(username: string): Promise<Request> {
  const { items } = (await admin.get(`${BASE}?pageSize=200`)).body;
  const found = (items as readonly Request[]).find((one) => one.username === username);
  if (found === undefined) throw new Error(`${username} does not wait`);
  return found;
}
const grant = async (username: string, by = admin) =>
  by.post(`${BASE}/requests/${(await waiting(username)).id}/grant`);

describe('a signing request', () => {
  it('is refused where nobody signs it, which is said', async () => {
    const answer = await register('nobody', await signingRequest('nobody'), without);
    const detail = 'cannot be signed: no issuing authority is configured';
    expect([answer.status, answer.body.code, answer.body.errors]).toEqual([
      400,
      'registration_invalid',
      [{ pointer: '/csr', detail }],
    ]);
  });

  it('is refused when it is none, of another name, of nobody or changed, and nothing waits', async () => {
    const csr = await signingRequest('bad-1');
    const middle = Math.floor(csr.length / 2);
    const flipped = csr.charAt(middle) === 'A' ? 'B' : 'A';
    const cases: readonly [unknown, RegExp][] = [
      ['-----BEGIN CERTIFICATE REQUEST-----', /PEM/],
      [7, /string/],
      [csr.padEnd(SIGNING_REQUEST_LENGTH_MAX + 1), /at most 4096/],
      [await signingRequest('bad-2'), /user name as its Common Name/],
      [csr.slice(0, middle) + flipped + csr.slice(middle + 1), /own key|PEM|Name|a key of/],
    ];
    for (const [sent, why] of cases) {
      const { status, body } = await register('bad-1', sent);
      expect([status, body.errors[0].pointer]).toEqual([400, '/csr']);
      expect(body.errors[0].detail).toMatch(why);
    }
    await expect(waiting('bad-1')).rejects.toThrow();
  });

  it('is not looked at while the window is locked', async () => {
    const locked = await World.open();
    const answer = await register('agent-1', 'x', locked);
    expect(answer.status).toBe(423);
    await locked[Symbol.asyncDispose]();
  });

  it('is shown by its key, and answered with a certificate once it is granted', async () => {
    const key = newKey();
    const csr = await signingRequest('agent-2', key);
    expect((await register('agent-2', csr)).status).toBe(202);
    const spki = key.publicKey.export({ type: 'spki', format: 'der' });
    expect((await waiting('agent-2')).signingRequest).toEqual({
      key: 'EC P-256',
      keyFingerprint: createHash('sha256').update(spki).digest('hex'),
    });
    const granted = await grant('agent-2');
    expect([granted.status, granted.body]).toMatchObject([
      201,
      {
        match: { username: 'agent-2' },
        grants: [
          { method: 'password', required: false },
          { method: 'certificate', required: false },
        ],
      },
    ]);
    const answer = await register('agent-2', csr);
    expect(answer.status).toBe(201);
    const certificate = new X509Certificate(certificateOf(answer) ?? '');
    expect([certificate.subject, certificate.ca, certificate.subjectAltName]).toEqual([
      'CN=agent-2',
      false,
      undefined,
    ]);
    expect(certificate.verify(new X509Certificate(plant.cert).publicKey)).toBe(true);
    expect(certificate.checkPrivateKey(key.privateKey)).toBe(true);
    // Also from a replica that signs nothing, to who does not send it again.
    expect(certificateOf(await register('agent-2', undefined, without))).toBe(
      certificate.toString(),
    );
  });

  it('of another key takes the place of the first, until it is granted', async () => {
    const keys = [newKey(), newKey(), newKey()] as const;
    const [first, second, third] = [
      await signingRequest('agent-3', keys[0]),
      await signingRequest('agent-3', keys[1]),
      await signingRequest('agent-3', keys[2]),
    ];
    await register('agent-3', first);
    expect((await register('agent-3', second)).status).toBe(202);
    await grant('agent-3');
    const certificate = certificateOf(await register('agent-3', second)) ?? '';
    expect(new X509Certificate(certificate).checkPrivateKey(keys[1].privateKey)).toBe(true);
    for (const other of [first, third]) {
      const { status, body } = await register('agent-3', other);
      expect([status, body.code, body.errors[0].pointer]).toEqual([
        409,
        'registration_conflict',
        '/csr',
      ]);
    }
  });

  it('is not granted by who cannot sign it, and still waits', async () => {
    await register('agent-4', await signingRequest('agent-4'));
    const refused = await grant('agent-4', await without.login());
    expect([refused.status, refused.body.code, refused.body.errors[0]]).toEqual([
      409,
      'registration_unsigned',
      { pointer: '/csr', detail: 'cannot be signed: no issuing authority is configured' },
    ]);
    expect((await grant('agent-4')).status).toBe(201);
  });

  it('is not granted once the authority has ended, which is said', async () => {
    const ends = Date.parse(new X509Certificate(plant.cert).validTo);
    const then = await World.open({ issuer });
    then.now = ends + 1000;
    const by = await then.login();
    await by.post(`${BASE}/open`);
    expect((await register('late', await signingRequest('late'), then)).status).toBe(202);
    const { items } = (await by.get(BASE)).body;
    const { status, body } = await by.post(`${BASE}/requests/${items[0]?.id}/grant`);
    expect([status, body.code, body.errors[0].detail]).toEqual([
      409,
      'registration_unsigned',
      'cannot be signed: the issuing authority has ended',
    ]);
    await then[Symbol.asyncDispose]();
  });

  it('makes nothing of a request without one', async () => {
    await register('agent-5');
    expect((await waiting('agent-5')).signingRequest).toBeUndefined();
    const granted = await grant('agent-5');
    expect((granted.body as { grants?: unknown }).grants).toEqual([]);
    expect(certificateOf(await register('agent-5'))).toBeUndefined();
    // The password alone was granted: a certificate would have to be asked for anew.
    const late = await register('agent-5', await signingRequest('agent-5'));
    expect([late.status, certificateOf(late)]).toEqual([201, undefined]);
  });
});
