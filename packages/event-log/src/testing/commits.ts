import { encodeCommit, type NewCommit } from '@sallyport/domain';

/** A commit of one harmless event. */
export function commitOf(commitId: string, more: Partial<NewCommit> = {}): NewCommit {
  return {
    commitId,
    at: 1_700_000_000_000,
    actor: { kind: 'system', id: 'contract' },
    events: [
      {
        type: 'AclRulesReplaced',
        data: { target: { kind: 'client', name: commitId }, rules: [] },
      },
    ],
    ...more,
  };
}

export function commitsOf(prefix: string, count: number): NewCommit[] {
  return Array.from({ length: count }, (_, index) => commitOf(`${prefix}-${index}`));
}

/** A commit whose stored text has exactly this many bytes, most of them two to a character. */
export function commitOfBytes(commitId: string, bytes: number): NewCommit {
  const overhead = Buffer.byteLength(encodeCommit(commitOf(commitId, { reason: '' })));
  const wide = 'ö'.repeat(Math.floor((bytes - overhead) / 2));
  const reason = wide + 'x'.repeat(bytes - overhead - Buffer.byteLength(wide));
  return commitOf(commitId, { reason });
}
