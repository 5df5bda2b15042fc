import { CertificateAuthority, type Issued, removeTempFolders } from '@sallyport/test-kit';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { type AnswerBody, type Client, World } from '../../testing/world.ts';

let world: World;
let admin: Client;
let authority: CertificateAuthority;
let server: Issued;
let other: Issued;

beforeAll(async () => {
  authority = await CertificateAuthority.create('/CN=Servers');
  const subject = { subject: '/CN=localhost', use: 'server' } as const;
  [server, other] = await Promise.all([authority.issue(subject), authority.issue(subject)]);
  world = await World.open();
  admin = await world.login();
});
afterAll(async () => {
  await world[Symbol.asyncDispose]();
  removeTempFolders();
});
beforeEach(() => admin.delete('/api/v1/certificates/ssl:default'));

const send = (path: string, certificates: unknown, to = admin) =>
  to.post(`/api/v1/config/${path}`, { version: 1, certificates });
const counts = ({ body }: { readonly body: AnswerBody }) => {
  const { create, update, delete: deleted } = body as unknown as Record<string, number>;
  return [create, update, deleted];
};
const entry = () => ({
  listener: 'ssl:default',
  clientCertificate: 'required',
  authorities: `${authority.cert}\n\n`,
  serverCertificate: server.cert,
});
const whole = () => ({ ...entry(), serverKey: server.key });

describe('certificates of a configuration file', () => {
  it('need a key where none is stored, and the right one', async () => {
    const missing = await send('apply', [entry()]);
    expect([missing.status, missing.body.errors]).toEqual([
      422,
      [
        {
          pointer: '/certificates/0/serverKey',
          detail: 'is needed with serverCertificate, because none is stored',
        },
      ],
    ]);
    const wrong = await send('diff', [{ ...entry(), serverKey: other.key }]);
    expect([wrong.status, wrong.body.errors[0].pointer]).toEqual([
      422,
      '/certificates/0/serverKey',
    ]);
  });

  it('come back without the key, which stays when it is not written, and when it is the same', async () => {
    expect(counts(await send('apply', [whole()]))).toEqual([1, 0, 0]);
    const { text } = await admin.get('/api/v1/config/export');
    expect(text).not.toContain('PRIVATE KEY');
    const { certificates } = parse(text) as { certificates: unknown };
    expect(certificates).toEqual([entry()]);
    for (const same of [certificates, [whole()]]) {
      expect(counts(await send('diff?prune=true', same))).toEqual([0, 0, 0]);
    }
    const optional = await send('apply', [{ ...entry(), clientCertificate: 'optional' }]);
    expect(counts(optional)).toEqual([0, 1, 0]);
    expect((await admin.get('/api/v1/certificates/ssl:default')).body.serverKeyStored).toBe(true);
  });

  it('tell that a key changes, and not what it is', async () => {
    await send('apply', [whole()]);
    const changed = { ...entry(), serverCertificate: other.cert, serverKey: other.key };
    const plan = await send('diff', [changed]);
    expect(plan.text).not.toContain('PRIVATE KEY');
    expect(plan.text).toContain('{"pointer":"/serverKey","before":"(secret)","after":"(secret)"}');
    expect((await send('apply', [{ ...changed, serverKey: undefined }])).status).toBe(422);
    expect(counts(await send('apply', [changed]))).toEqual([0, 1, 0]);
    expect((await world.everythingSaid()).join('')).not.toContain('PRIVATE KEY');
  });

  it('are taken away by an empty section, and then the nodes have their own again', async () => {
    await send('apply', [whole()]);
    expect(counts(await send('apply', []))).toEqual([0, 0, 0]);
    expect(counts(await send('apply?prune=true', []))).toEqual([0, 0, 1]);
    expect((await admin.get('/api/v1/certificates')).body.items).toEqual([]);
  });
});
