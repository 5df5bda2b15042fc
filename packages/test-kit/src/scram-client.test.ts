import { describe, expect, it } from 'vitest';
import { ScramClient } from './scram-client.ts';

describe('ScramClient', () => {
  it('RFC 7677 §3 sends what the example sends, and takes the server for what it is', () => {
    const client = new ScramClient({
      mechanism: 'SCRAM-SHA-256',
      username: 'user',
      password: 'pencil',
      nonce: 'rOprNGfwEbeRWgbNEkqO',
    });
    const serverFirst = Buffer.from(
      'r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096',
    );
    expect(client.first().toString()).toBe('n,,n=user,r=rOprNGfwEbeRWgbNEkqO');
    expect(client.final(serverFirst).toString()).toBe(
      'c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,' +
        'p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=',
    );
    expect(client.verifies(Buffer.from('v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4='))).toBe(
      true,
    );
    expect(client.verifies(Buffer.from('v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5='))).toBe(
      false,
    );
  });

  it('refuses a server that does not repeat its nonce, or adds nothing to it', () => {
    const client = new ScramClient({
      mechanism: 'SCRAM-SHA-512',
      username: 'a=b,c',
      password: 'p',
      nonce: 'n1',
    });
    expect(client.first().toString()).toBe('n,,n=a=3Db=2Cc,r=n1');
    expect(() => client.final(Buffer.from('r=n2x,s=AAAA,i=4096'))).toThrow(/nonce/);
    expect(() => client.final(Buffer.from('r=n1,s=AAAA,i=4096'))).toThrow(/nonce/);
    expect(() => client.final(Buffer.from('e=other-error'))).toThrow(/no server-first/);
  });
});
