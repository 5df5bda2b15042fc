import { isOperational } from '@sallyport/errors';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { aCredential } from '../test/given.ts';
import type { NewCommit } from './commit.ts';
import { decodeCommit, encodeCommit, RECORD_VERSION } from './upcast.ts';

const commit: NewCommit = {
  commitId: 'commit-1',
  at: 1,
  actor: { kind: 'operator', id: 'o1' },
  reason: 'because',
  traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
  fingerprint: 'f',
  events: [{ type: 'CredentialAdded', data: aCredential() }],
};

function codeOf(text: string): boolean {
  try {
    decodeCommit(text, 7);
  } catch (error) {
    return isOperational(error, 'log_unreadable') && error.message.includes('revision 7');
  }
  return false;
}

const record = (changes: object): string =>
  JSON.stringify({ ...(JSON.parse(encodeCommit(commit)) as object), ...changes });

describe('a record that cannot be understood is never guessed at', () => {
  test.each([
    ['no JSON', '{'],
    ['empty', ''],
    ['null', 'null'],
    ['an array', '[]'],
    ['a text', '"x"'],
    ['another version', record({ v: RECORD_VERSION + 1 })],
    ['an older version', record({ v: 0 })],
    ['no version', record({ v: undefined })],
    ['no commit id', record({ commitId: undefined })],
    ['a time that is no number', record({ at: '1' })],
    ['no actor', record({ actor: undefined })],
    ['an actor that is no object', record({ actor: [] })],
    ['no events', record({ events: undefined })],
    ['events that are no list', record({ events: {} })],
    ['an event that is null', record({ events: [null] })],
    ['an event without a type', record({ events: [{ data: {} }] })],
    ['an event without data', record({ events: [{ type: 'CredentialRemoved' }] })],
    ['an unknown event', record({ events: [{ type: 'CredentialBlessed', data: {} }] })],
    [
      'an unknown event behind a known one',
      record({ events: [...commit.events, { type: 'x', data: {} }] }),
    ],
    [
      'an event named like a property of every object',
      record({ events: [{ type: 'toString', data: {} }] }),
    ],
    ['another way to reach live sessions', record({ apply: 'later' })],
    ['none at all', record({ apply: null })],
    ['an event named __proto__', record({ events: [{ type: '__proto__', data: {} }] })],
  ])('%s', (_, text) => {
    expect(codeOf(text)).toBe(true);
  });

  test('every cut of a record is refused', () => {
    const text = encodeCommit(commit);
    for (let length = 0; length < text.length; length++) {
      expect(codeOf(text.slice(0, length)), String(length)).toBe(true);
    }
  });
});

test('what is stored is read again, with the revision that the log gave it', () => {
  expect(decodeCommit(encodeCommit(commit), 7)).toEqual({ ...commit, revision: 7 });
});

test('how a change is to reach live sessions is kept', () => {
  for (const apply of ['pinned', 'live', 'kick'] as const) {
    expect(decodeCommit(encodeCommit({ ...commit, apply }), 7).apply).toBe(apply);
  }
  expect(decodeCommit(encodeCommit(commit), 7)).not.toHaveProperty('apply');
});

test('a revision inside the record does not matter', () => {
  expect(decodeCommit(record({ revision: 99 }), 7).revision).toBe(7);
});

test('any text survives the round trip', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), fc.string(), (name, reason) => {
      const one: NewCommit = {
        ...commit,
        reason,
        events: [
          { type: 'CredentialAdded', data: aCredential({ name, attributes: { [name]: reason } }) },
        ],
      };
      expect(decodeCommit(encodeCommit(one), 1)).toEqual({ ...one, revision: 1 });
    }),
  );
});
