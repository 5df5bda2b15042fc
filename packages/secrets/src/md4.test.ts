import { expect, it } from 'vitest';
import { md4, pbkdf2Md4 } from './md4.ts';

const text = (value: string): Buffer => Buffer.from(value);

it.each([
  // RFC 1320 §A.5
  ['', '31d6cfe0d16ae931b73c59d7e0c089c0'],
  ['a', 'bde52cb31de33e46245e05fbdbd6fb24'],
  ['abc', 'a448017aaf21d8525fc10ae87aa6729d'],
  ['message digest', 'd9130a8164549fe818874806e1c7014b'],
  ['abcdefghijklmnopqrstuvwxyz', 'd79e1c308aa5bbcdeea8ed63df412da9'],
  [
    'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789',
    '043f8582f241db351ce627e153e7f0e4',
  ],
  [
    '12345678901234567890123456789012345678901234567890123456789012345678901234567890',
    'e33b4ddc9c38f2199c3e7b164fcc0536',
  ],
])('RFC 1320: the digest of %j', (message, digest) => {
  expect(md4(text(message)).toString('hex')).toBe(digest);
});

it.each([
  // By `openssl kdf -provider legacy`, OpenSSL 3.
  ['password', 'salt', 1, '1857f69412150bca4542581d0f9e7fd1'],
  ['password', 'salt', 2, '772c04936c276847314479e43a575a386a672cbe'],
  [
    ...(['password', 'salt', 4096] as const),
    '3fe119f73e5297311b6597423ccb31677de28fd38cdffb435eadbdd9741fb4b86d8ddc7e5ad091d6',
  ],
  ['k'.repeat(80), '', 3, '47ea51246e65c1553d27ba0ae7508fb2'],
])('PBKDF2 of %j with %j, %i times', async (password, salt, iterations, key) => {
  const options = { iterations, keyBytes: key.length / 2 };
  const found = await pbkdf2Md4(text(password), text(salt), options);
  expect(found.toString('hex')).toBe(key);
});

it('lets others run meanwhile', async () => {
  let turns = 0;
  const counting = setInterval(() => turns++, 0);
  await pbkdf2Md4(text('password'), text('salt'), { iterations: 20_000, keyBytes: 16 });
  clearInterval(counting);
  expect(turns).toBeGreaterThan(2);
});
