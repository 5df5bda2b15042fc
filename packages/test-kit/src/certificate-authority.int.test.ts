import { X509Certificate } from 'node:crypto';
import { afterAll, describe, expect, it } from 'vitest';
import { CertificateAuthority } from './certificate-authority.ts';
import { removeTempFolders } from './temp-folder.ts';

afterAll(removeTempFolders);

describe('a certificate authority', () => {
  it('issues what was asked for, below itself or below a parent', async () => {
    const root = await CertificateAuthority.create('/CN=Root');
    const factory = await CertificateAuthority.create('/CN=Factory', root);
    const notAfter = new Date('2020-01-02T03:04:05Z');
    const notBefore = new Date('2019-01-01T00:00:00Z');
    const issued = await factory.issue({ subject: '/O=Plant/CN=pump-7', notBefore, notAfter });
    const [leaf, middle, top] = [issued.cert, factory.cert, root.cert].map(
      (pem) => new X509Certificate(pem),
    );
    if (leaf === undefined || middle === undefined || top === undefined) throw new Error('three');
    expect(leaf.subject).toBe('O=Plant\nCN=pump-7');
    expect(Date.parse(leaf.validTo)).toBe(notAfter.getTime());
    expect(leaf.checkIssued(middle) && leaf.verify(middle.publicKey)).toBe(true);
    expect(middle.ca && middle.verify(top.publicKey)).toBe(true);
    expect(leaf.ca).toBe(false);
  });

  it('signs what was edited, so that only the content is wrong', async () => {
    const root = await CertificateAuthority.create('/CN=Root');
    const issued = await root.issue({ subject: '/CN=pump-7' });
    const forged = root.forge(issued, (part) => {
      part.write('\0', part.indexOf('pump-7') + 4);
      return part;
    });
    const certificate = new X509Certificate(forged.cert);
    expect(certificate.verify(new X509Certificate(root.cert).publicKey)).toBe(true);
    expect(certificate.toLegacyObject().subject.CN).toBe('pump\0' + '7');
  });

  it('lists what it has revoked', async () => {
    const root = await CertificateAuthority.create('/CN=Root');
    const issued = await root.issue({ subject: '/CN=pump-7' });
    const before = await root.writeCrl();
    await root.revoke(issued);
    const after = await root.writeCrl();
    expect(after.length).toBeGreaterThan(before.length);
  });
});
