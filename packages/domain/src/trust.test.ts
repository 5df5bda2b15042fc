import { describe, expect, it } from 'vitest';
import { MemoryState } from './memory-state.ts';
import {
  AUTHORITIES_BYTES_MAX,
  decideTrust,
  REVOCATION_LISTS_BYTES_MAX,
  SERVER_CERTIFICATE_BYTES_MAX,
  SERVER_KEY_BYTES_MAX,
  type TrustCommand,
  type TrustFields,
} from './trust.ts';

const listener = 'ssl:default';
const none: TrustFields = { clientCertificate: 'none' };
const replace = (fields: TrustFields, more: { readonly ifRevision?: number } = {}) =>
  ({ type: 'ReplaceTrust', data: { listener, fields, ...more } }) satisfies TrustCommand;

function problemsOf(fields: TrustFields): readonly string[] {
  const decided = decideTrust(new MemoryState(), replace(fields));
  return decided.ok ? [] : (decided.rejection.problems ?? []).map(({ pointer }) => pointer);
}

/** A state in which the commands were run one after the other, at revisions 1, 2 … */
function after(...commands: readonly TrustCommand[]): MemoryState {
  const state = new MemoryState();
  for (const [index, command] of commands.entries()) {
    const decided = decideTrust(state, command);
    if (!decided.ok) throw new Error(decided.rejection.code);
    state.apply({ revision: index + 1, at: index, events: decided.events });
  }
  return state;
}

describe('the trust of a listener', () => {
  it('refuses a mode that nobody could satisfy, and lists of authorities that are not given', () => {
    expect(problemsOf({ clientCertificate: 'required' })).toEqual(['/authorities']);
    expect(problemsOf({ clientCertificate: 'optional' })).toEqual(['/authorities']);
    expect(problemsOf({ ...none, revocationLists: 'x' })).toEqual(['/revocationLists']);
    expect(problemsOf({ ...none, authorities: '' })).toEqual(['/authorities']);
  });

  it.each([
    ['authorities', AUTHORITIES_BYTES_MAX],
    ['revocationLists', REVOCATION_LISTS_BYTES_MAX],
    ['serverCertificate', SERVER_CERTIFICATE_BYTES_MAX],
  ])('takes %s of the largest size, and no byte more', (name, bytesMax) => {
    const of = (bytes: number): TrustFields => {
      const text = 'x'.repeat(bytes);
      if (name === 'serverCertificate') return { ...none, server: { certificate: text, key: 'k' } };
      return { ...none, authorities: 'a', [name]: text };
    };
    expect(problemsOf(of(bytesMax))).toEqual([]);
    expect(problemsOf(of(bytesMax + 1))).toEqual([`/${name}`]);
  });

  it('takes the sealed form of the longest key, and no byte more', () => {
    const of = (bytes: number): TrustFields => ({
      ...none,
      server: { certificate: 'c', key: 'x'.repeat(bytes) },
    });
    // Sealing writes base64, and what it needs itself.
    const most = Math.ceil(SERVER_KEY_BYTES_MAX / 3) * 4 + 128;
    expect(problemsOf(of(most))).toEqual([]);
    expect(problemsOf(of(most + 1))).toEqual(['/serverKey']);
  });

  it('is replaced whole, and goes back to the configuration when it is removed', () => {
    const first: TrustFields = { clientCertificate: 'required', authorities: 'a' };
    expect(after(replace(first)).trust(listener)).toEqual({
      listener,
      ...first,
      updatedAt: 0,
      updatedRevision: 1,
    });
    const state = after(replace(first), replace(none));
    expect(state.trust(listener)).toEqual({ listener, ...none, updatedAt: 1, updatedRevision: 2 });
    expect(state.trust('wss:default')).toBeUndefined();
    const removed = after(replace(none), { type: 'RemoveTrust', data: { listener } });
    expect(removed.trust(listener)).toBeUndefined();
  });

  it('is changed only as the caller knew it', () => {
    const state = after(replace(none));
    for (const ifRevision of [0, 2]) {
      expect(decideTrust(state, replace(none, { ifRevision }))).toMatchObject({
        rejection: { code: 'precondition_failed' },
      });
    }
    expect(decideTrust(state, replace(none, { ifRevision: 1 })).ok).toBe(true);
    expect(decideTrust(new MemoryState(), replace(none, { ifRevision: 0 })).ok).toBe(true);
    const remove = { type: 'RemoveTrust', data: { listener } } as const;
    expect(decideTrust(new MemoryState(), remove)).toMatchObject({
      rejection: { code: 'trust_not_found' },
    });
  });
});
