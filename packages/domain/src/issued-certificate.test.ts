import { describe, expect, it } from 'vitest';
import { aCredential, commit, given } from '../test/given.ts';
import type { DomainEvent } from './commit.ts';
import {
  type IssuedFields,
  RENEWALS_MAX,
  REVOCATION_REASON_BYTES_MAX,
} from './issued-certificate.ts';

const issued = (fingerprint: string, more: Partial<IssuedFields> = {}): IssuedFields => ({
  ...{ fingerprint, serial: '01', subject: 'u', authority: 'ca', credentialId: 'c1' },
  ...{ notBefore: 0, notAfter: 2000, by: 'operator:admin', certificate: 'PEM' },
  ...more,
});
const made = (fingerprint: string, more: Partial<IssuedFields> = {}): DomainEvent => ({
  type: 'CertificateIssued',
  data: issued(fingerprint, more),
});
const added: DomainEvent = {
  type: 'CredentialAdded',
  data: aCredential({ id: 'c1', match: { username: 'u' } }),
};
const known = given(commit(added), commit(made('a')));

const renew = (byDevice = false, renews = 'a') => {
  const data = { issued: { ...issued('b'), renews }, byDevice };
  return { type: 'RenewCertificate', data } as const;
};
const revoke = (more: object = {}) => {
  const data = { fingerprint: 'a', by: 'operator:admin', lists: [], ...more };
  return { type: 'RevokeCertificate', data } as const;
};
const revoked: DomainEvent = {
  type: 'CertificateRevoked',
  data: { fingerprint: 'a', by: 'operator:admin' },
};
const changed = (changes: object): DomainEvent => ({
  type: 'CredentialChanged',
  data: { id: 'c1', changes },
});
const detailOf = (rejection: { readonly detail?: string }) => rejection.detail;

describe('a renewal', () => {
  it('is refused of what is not there, or revoked', () => {
    known.when(renew(false, 'x')).thenRejected('certificate_not_found');
    given(commit(added), commit(made('a')), commit(revoked))
      .when(renew())
      .thenRejected('certificate_revoked');
  });

  it('is refused when its credential is gone, or goes by another name', () => {
    const gone: DomainEvent = { type: 'CredentialRemoved', data: { id: 'c1' } };
    for (const event of [gone, changed({ match: { username: 'v' } })]) {
      given(commit(added), commit(made('a')), commit(event))
        .when(renew())
        .thenRejected('certificate_not_renewable');
    }
  });

  it('is refused to a device that is disabled, too early or too late, to the millisecond', () => {
    const refusal = (at: number) =>
      detailOf(known.when(renew(true), at).thenRejected('certificate_not_renewable'));
    expect(refusal(999)).toMatch(/first half/);
    known.when(renew(true), 1000).thenAccepted();
    known.when(renew(true), 2000).thenAccepted();
    expect(refusal(2001)).toMatch(/has ended/);
    given(commit(added), commit(made('a')), commit(changed({ enabled: false })))
      .when(renew(true), 1500)
      .thenRejected('certificate_not_renewable');
    known.when(renew(), 1).thenAccepted();
    known.when(renew(), 9999).thenAccepted();
  });

  it('of one certificate is made so often, and not once more', () => {
    const others = Array.from({ length: RENEWALS_MAX }, (_, index) =>
      commit(made(`r${index}`, { renews: 'a' })),
    );
    const past = [commit(added), commit(made('a'))];
    given(...past, ...others.slice(1))
      .when(renew())
      .then(made('b', { renews: 'a' }));
    given(...past, ...others)
      .when(renew())
      .thenRejected('certificate_not_renewable');
  });
});

describe('a revocation', () => {
  it('is refused of what is not there, changed, or revoked', () => {
    known.when(revoke({ fingerprint: 'x' })).thenRejected('certificate_not_found');
    known.when(revoke({ ifRevision: 1 })).thenRejected('precondition_failed');
    given(commit(added), commit(made('a')), commit(revoked))
      .when(revoke())
      .thenRejected('certificate_revoked');
  });

  it('takes a reason up to a length', () => {
    const reason = 'x'.repeat(REVOCATION_REASON_BYTES_MAX);
    known.when(revoke({ reason })).thenAccepted();
    known.when(revoke({ reason: `${reason}x` })).thenRejected('invalid_request');
  });

  it('is told with who did it, and stays when the certificate has ended', () => {
    const after = known.when(revoke({ reason: 'lost', ifRevision: 2 }), 3000).thenGiven();
    expect(after.state.issuedCertificate('a')).toMatchObject({
      issuedRevision: 2,
      revoked: { by: 'operator:admin', reason: 'lost', revision: 3 },
      updatedRevision: 3,
    });
  });

  it('changes the lists of listeners that are still as they were, and nothing else of them', () => {
    const fields = { clientCertificate: 'optional', authorities: 'CA' } as const;
    const trust: DomainEvent = {
      type: 'TrustReplaced',
      data: { listener: 'ssl:default', fields },
    };
    const list = { listener: 'ssl:default', revocationLists: 'CRL', ifRevision: 3 } as const;
    known.when(revoke({ lists: [list] })).thenRejected('precondition_failed');
    const trusted = given(commit(added), commit(made('a')), commit(trust));
    trusted
      .when(revoke({ lists: [{ ...list, ifRevision: 2 }] }))
      .thenRejected('precondition_failed');
    trusted.when(revoke({ lists: [list] })).then(revoked, {
      type: 'TrustReplaced',
      data: { listener: 'ssl:default', fields: { ...fields, revocationLists: 'CRL' } },
    });
  });
});
