import { X509Certificate } from 'node:crypto';
import { CertificateAuthority, removeTempFolders } from '@sallyport/test-kit';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { chainOf, identityOf, readClientCertificate } from './client-certificate.ts';

let root: CertificateAuthority;
let factory: CertificateAuthority;
/** Of another key, but with the name of the root. */
let likeRoot: CertificateAuthority;
let leaf: X509Certificate;

const of = ({ cert }: { readonly cert: string }): X509Certificate => new X509Certificate(cert);

function names(
  sent: readonly { readonly cert: string }[],
  authorities: readonly { readonly cert: string }[] = [root],
  certificate = leaf,
): readonly string[] | undefined {
  const chain = chainOf(certificate, sent.map(of), authorities.map(of));
  return chain?.map(({ subject }) => subject.replace(/[^]*CN=/, ''));
}

beforeAll(async () => {
  root = await CertificateAuthority.create('/O=Plant/CN=Plant Root');
  factory = await CertificateAuthority.create('/O=Plant/CN=Plant Factory', root);
  likeRoot = await CertificateAuthority.create('/O=Plant/CN=Plant Root');
  leaf = of(await factory.issue({ subject: '/CN=pump-7' }));
});
afterAll(removeTempFolders);

describe('the chain of a client certificate', () => {
  test('goes over what was sent, or over what we have, to a root of ours', () => {
    const expected = ['pump-7', 'Plant Factory', 'Plant Root'];
    expect(names([factory])).toEqual(expected);
    expect(names([factory, root])).toEqual(expected);
    expect(names([], [factory, root])).toEqual(expected);
    expect(names([], [root, likeRoot, factory])).toEqual(expected);
  });

  test('is none without a root of ours, or with a gap', () => {
    expect(names([factory], [likeRoot])).toBeUndefined();
    expect(names([factory], [])).toBeUndefined();
    expect(names([factory, root], [])).toBeUndefined();
    expect(names([])).toBeUndefined();
    expect(names([], [factory])).toBeUndefined();
  });

  test('does not go over names that only look right, whatever their place', async () => {
    // Signed by the one that is called like our root; and below it one with the name and the key of our factory.
    const boss = await CertificateAuthority.create('/CN=Administrators', likeRoot);
    const likeFactory = await boss.issue({
      subject: '/O=Plant/CN=Plant Factory',
      use: 'authority',
      keyPem: factory.key,
    });
    const expected = ['pump-7', 'Plant Factory', 'Plant Root'];
    for (const sent of [
      [likeFactory, boss, likeRoot, factory],
      [likeFactory, boss, factory],
      [factory, likeFactory, boss, likeRoot],
      [boss, likeRoot, factory, likeFactory],
    ]) {
      expect(names(sent)).toEqual(expected);
    }
    expect(names([likeFactory, boss, likeRoot])).toBeUndefined();
    expect(names([likeFactory, boss])).toBeUndefined();
  });

  test('does not go over our key under another name', async () => {
    const renamed = await root.issue({ subject: '/CN=X', use: 'authority', keyPem: factory.key });
    expect(names([renamed])).toBeUndefined();
    expect(names([renamed, factory])).toEqual(['pump-7', 'Plant Factory', 'Plant Root']);
  });

  test('ends where two vouch for each other', async () => {
    const one = await CertificateAuthority.create('/CN=One');
    const two = await CertificateAuthority.create('/CN=Two', one);
    const oneByTwo = await two.issue({ subject: '/CN=One', use: 'authority', keyPem: one.key });
    const below = of(await one.issue({ subject: '/CN=pump-7' }));
    expect(names([oneByTwo, two], [root], below)).toBeUndefined();
    expect(names([oneByTwo, two], [one], below)).toEqual(['pump-7', 'One']);
  });

  test('has at most ten certificates', async () => {
    const line = [root];
    for (let number = 1; number <= 9; number++) {
      line.push(await CertificateAuthority.create(`/CN=Level ${number}`, line.at(-1)));
    }
    const [tenth, ninth] = [line.at(-1), line.at(-2)];
    if (tenth === undefined || ninth === undefined) throw new Error('ten');
    const ofTen = of(await ninth.issue({ subject: '/CN=pump-7' }));
    const ofEleven = of(await tenth.issue({ subject: '/CN=pump-7' }));
    expect(names(line, [root], ofTen)).toHaveLength(10);
    expect(names(line, [root], ofEleven)).toBeUndefined();
  });
});

describe('who a certificate says that it is', () => {
  const identity = async (subject: string) => {
    const own = of(await root.issue({ subject }));
    const read = readClientCertificate(own, [of(root)]);
    if (typeof read === 'string') throw new Error(read);
    return { own, identity: identityOf(read) };
  };

  test.each(['/O=Plant', '/CN=a\\+b', '/CN=a#', '/CN=a\\/b'])(
    '%s names nobody',
    async (subject) => {
      const { identity: found } = await identity(subject);
      expect(found).not.toHaveProperty('commonName');
      expect(found.fingerprintSha256).toMatch(/^[0-9a-f]{64}$/);
    },
  );

  test('is fingerprint, name, chain and end', async () => {
    const { own, identity: found } = await identity('/O=Plant/CN=pump-7');
    expect(found).toEqual({
      fingerprintSha256: own.fingerprint256.replaceAll(':', '').toLowerCase(),
      commonName: 'pump-7',
      chainCommonNames: ['pump-7', 'Plant Root'],
      subjectDn: 'CN=pump-7,O=Plant',
      validUntil: Date.parse(own.validTo),
    });
  });
});
