import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { aCredential } from '../test/given.ts';
import type { NewCommit } from './commit.ts';
import { addedTexts, evolveCredential, type NewCredential } from './credential.ts';
import { decide } from './domain.ts';
import { credentialOfText, textOfCredential } from './known-text.ts';
import { MemoryState } from './memory-state.ts';
import { decodeCommit, encodeCommit, RECORD_VERSION } from './upcast.ts';

const added = (data: NewCredential) => ({ type: 'CredentialAdded', data }) as const;
const commitOf = (...data: NewCredential[]): NewCommit => ({
  commitId: 'c',
  at: 1,
  actor: { kind: 'system', id: 's' },
  events: [{ type: 'CredentialRemoved', data: { id: 'x' } }, ...data.map(added)],
});
const context = { at: 5, revision: 7 };

describe('a credential whose text is known', () => {
  it('is stored and folded as one whose text is not', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'grapheme' }),
        fc.dictionary(fc.string(), fc.string({ unit: 'binary' })),
        (name, attributes) => {
          const credential = aCredential({ name, attributes });
          const read = credentialOfText(JSON.stringify(credential));
          expect(read).toEqual(JSON.parse(JSON.stringify(credential)));
          const record = encodeCommit(commitOf(read, aCredential(), read));
          const { events, ...head } = commitOf(credential, aCredential(), credential);
          expect(record).toBe(JSON.stringify({ v: RECORD_VERSION, ...head, events }));
          expect(decodeCommit(record, 3).events).toEqual(events);
          const next = evolveCredential(undefined, added(credential), context);
          const texts = addedTexts(context);
          expect(texts.head + texts.restOf(added(read))).toBe(JSON.stringify(next));
          expect(texts.head + texts.restOf(added(aCredential({ name })))).toBe(
            JSON.stringify(evolveCredential(undefined, added(aCredential({ name })), context)),
          );
        },
      ),
    );
  });

  it('is another one when it is stored in another way, and then has another text', () => {
    const chain = { scope: 'global', authenticator: 'password_based:built_in_database' } as const;
    const sent = aCredential({ store: 'emqx', chain, passwordRequired: false });
    const read = credentialOfText(textOfCredential(sent));
    const decided = decide(new MemoryState(), { type: 'AddCredential', data: read }, 1);
    const [event] = decided.ok ? decided.events : [];
    expect(event?.type === 'CredentialAdded' && event.data.chain).toBeUndefined();
    const events = event === undefined ? [] : [event];
    expect(encodeCommit({ ...commitOf(), events })).not.toContain('chain');
  });
});
