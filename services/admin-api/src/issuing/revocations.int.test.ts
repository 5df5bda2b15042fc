import { randomBytes } from 'node:crypto';
import {
  type IssuedCertificate,
  REVOCATION_LISTS_BYTES_MAX,
  type TlsListener,
  type Trust,
} from '@sallyport/domain';
import { CertificateAuthority, removeTempFolders } from '@sallyport/test-kit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { AdminReadModel } from '../ports.ts';
import { IssuingAuthority } from './issuing-authority.ts';
import { pemOfList, planRevocation, revocationListOf } from './revocations.ts';

const AT = Date.now();

let plant: CertificateAuthority;
let issuer: IssuingAuthority;

beforeAll(async () => {
  plant = await CertificateAuthority.create('/CN=Plant');
  const parts = { certificatePem: plant.cert, keyPem: plant.key, validityDays: 1 };
  const opened = IssuingAuthority.open(parts);
  if (!opened.ok) throw new Error(opened.problem);
  issuer = opened.authority;
});
afterAll(removeTempFolders);

const issued = (): IssuedCertificate => ({
  ...{ fingerprint: 'ab', subject: 'u', authority: issuer.fingerprint, credentialId: 'c' },
  ...{ notBefore: 0, notAfter: AT, by: 'x', certificate: '', issuedAt: 0, issuedRevision: 1 },
  serial: `01${randomBytes(16).toString('hex')}`,
  updatedRevision: 1,
});

/** As much of a read model as is looked at: this many are revoked, and the listeners are these. */
function modelOf(revoked: number, trust: Partial<Record<TlsListener, Trust>>) {
  const all = Array.from({ length: revoked }, issued);
  return {
    revision: 7,
    lists: {
      revokedCertificates: (_authority: string, _at: number, most: number) => all.slice(0, most),
    },
    reads: { trust: (listener: TlsListener) => trust[listener] },
  } as unknown as Pick<AdminReadModel, 'revision' | 'lists' | 'reads'>; // Nothing else of it is asked.
}

const trustOf = (listener: TlsListener, more: Partial<Trust> = {}): Trust => ({
  ...{ listener, clientCertificate: 'optional', authorities: plant.cert },
  ...{ updatedAt: 0, updatedRevision: 3 },
  ...more,
});

const plan = (revoked: number, ...listeners: readonly Trust[]) => {
  const trust = Object.fromEntries(listeners.map((one) => [one.listener, one]));
  return planRevocation(modelOf(revoked, trust), issuer, { certificate: issued(), at: AT });
};

/** The most on a list that a listener takes, ours being one of them. */
function mostListed(): number {
  const bytes = (entries: number) =>
    pemOfList(revocationListOf(modelOf(entries, {}), issuer, { at: AT })).length;
  let most = 0;
  for (let step = 2048; step >= 1; step /= 2) {
    if (bytes(most + step) <= REVOCATION_LISTS_BYTES_MAX) most += step;
  }
  return most;
}

describe('the lists of listeners', () => {
  it('are as long as they may be, and left alone where one more would be too much', () => {
    const most = mostListed();
    expect(most).toBeGreaterThan(1500);
    const { lists, listeners } = plan(most - 1, trustOf('ssl:default'));
    expect(listeners).toEqual([{ listener: 'ssl:default' }]);
    expect(lists).toMatchObject([{ listener: 'ssl:default', ifRevision: 3 }]);
    expect(lists[0]?.revocationLists.length).toBeLessThanOrEqual(REVOCATION_LISTS_BYTES_MAX);
    expect(plan(most, trustOf('ssl:default'))).toEqual({
      lists: [],
      listeners: [{ listener: 'ssl:default', unlisted: 'too_large' }],
    });
  });

  it('fit into one commit together, and the others are left alone', () => {
    const [ssl, wss] = [trustOf('ssl:default'), trustOf('wss:default')];
    expect(plan(100, ssl, wss).listeners).toEqual([
      { listener: 'ssl:default' },
      { listener: 'wss:default' },
    ]);
    const server = { certificate: 'x'.repeat(24 * 1024), key: 'x'.repeat(16 * 1024) };
    const large = plan(mostListed() - 1, { ...ssl, server }, { ...wss, server });
    expect(large.listeners).toEqual([
      { listener: 'ssl:default' },
      { listener: 'wss:default', unlisted: 'too_large' },
    ]);
    expect(large.lists).toHaveLength(1);
  });

  it('are not touched where no authority signs, or another one does', () => {
    const certificate = { ...issued(), authority: 'of another' };
    const model = modelOf(0, { 'ssl:default': trustOf('ssl:default') });
    const refused = {
      lists: [],
      listeners: [{ listener: 'ssl:default', unlisted: 'no_authority' }],
    };
    expect(planRevocation(model, issuer, { certificate, at: AT })).toEqual(refused);
    expect(planRevocation(model, undefined, { certificate: issued(), at: AT })).toEqual(refused);
  });
});
