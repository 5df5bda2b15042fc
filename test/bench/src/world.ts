import { randomBytes, randomUUID } from 'node:crypto';
import type { DomainEvent, NewCommit, NewCredential } from '@sallyport/domain';
import type { EventLog } from '@sallyport/event-log';
import { SecretBox, SecretHasher, sealingContext } from '@sallyport/secrets';

export const box = new SecretBox(randomBytes(32));
export const hasher = new SecretHasher(box);

/** The secret of every credential of the benchmarks: a machine secret, cheap to check. */
export const SECRET = 'a-machine-secret-with-many-bits';
const verifier = hasher.machineVerifier(SECRET);

export function credential(index: number): NewCredential {
  const id = `00000000-0000-4000-8000-${index.toString(16).padStart(12, '0')}`;
  return {
    id,
    store: 'native',
    kind: 'password',
    name: `Device ${index}`,
    match: { username: `device-${index}` },
    enabled: true,
    superuser: false,
    passwordRequired: true,
    attributes: {},
    access: { kind: 'acl' },
    secrets: [
      {
        secretId: 's1',
        verifier: box.seal(verifier, sealingContext({ kind: 'credential', id })),
        createdAt: 0,
      },
    ],
  };
}

export const commitOf = (...events: DomainEvent[]): NewCommit => ({
  commitId: randomUUID(),
  at: 1_700_000_000_000,
  actor: { kind: 'system', id: 'bench' },
  events,
});

/** A commit of the size of most: one rule for one client. */
export const ruleCommit = (index: number): NewCommit =>
  commitOf({
    type: 'AclRulesReplaced',
    data: {
      target: { kind: 'client', name: `client-${index % 1000}` },
      rules: [{ ruleId: 'r', effect: 'allow', action: 'all', topicFilter: 'plant/+/#' }],
    },
  });

/** Credentials `from` to `to`, 100 in each commit. */
export async function addCredentials(log: EventLog, from: number, to: number): Promise<void> {
  const perCommit = 100;
  const perAppend = 50;
  for (let start = from; start < to; start += perCommit * perAppend) {
    const commits: NewCommit[] = [];
    for (let one = start; one < Math.min(to, start + perCommit * perAppend); one += perCommit) {
      const events: DomainEvent[] = [];
      for (let index = one; index < Math.min(to, one + perCommit); index++) {
        events.push({ type: 'CredentialAdded', data: credential(index) });
      }
      commits.push(commitOf(...events));
    }
    await log.append(commits, await log.head());
  }
}
