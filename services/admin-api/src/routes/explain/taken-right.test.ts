import type { DomainEvent } from '@sallyport/domain';
import { MemoryEventLog } from '@sallyport/event-log';
import { describe, expect, it } from 'vitest';
import { mayBeTaken, PAST_ANSWERS_MAX, takenRight } from './taken-right.ts';

const added: DomainEvent = {
  type: 'CredentialAdded',
  data: {
    id: 'c1',
    store: 'native',
    kind: 'password',
    name: 'one',
    match: { username: 'u' },
    enabled: true,
    superuser: false,
    passwordRequired: false,
    attributes: {},
    access: { kind: 'patterns', publish: ['a'], subscribe: [] },
    secrets: [],
  },
};
const changed = (changes: object): DomainEvent => ({
  type: 'CredentialChanged',
  data: { id: 'c1', changes },
});
const closed = changed({ access: { kind: 'patterns', publish: [], subscribe: [] } });

async function logOf(...events: DomainEvent[]): Promise<MemoryEventLog> {
  const log = new MemoryEventLog();
  const actor = { kind: 'system', id: 'test' } as const;
  const commits = events.map((event, at) => ({ commitId: `c${at}`, at, actor, events: [event] }));
  await log.append(commits, 0);
  return log;
}

const ask = (log: MemoryEventLog, revision: number, topic = 'a') =>
  takenRight(log, {
    credentialId: 'c1',
    facts: { clientId: 'c', username: 'u', listener: 'tcp:default' },
    action: 'publish',
    topic,
    terms: { qos: 0, retain: false },
    revision,
    at: 1,
  });

describe('mayBeTaken', () => {
  it('only of what no rule allows: not of a deny rule, not of what is built in', () => {
    expect(mayBeTaken('publish', { allowed: false, ruleId: 'default' })).toBe(true);
    expect(mayBeTaken('publish', { allowed: true, ruleId: 'default' })).toBe(false);
    expect(mayBeTaken('publish', { allowed: false, ruleId: 'guard' })).toBe(false);
    expect(mayBeTaken('unsubscribe', { allowed: false, ruleId: 'default' })).toBe(false);
  });
});

describe('takenRight', () => {
  it('is none where there was none, and none where the rules still give it', async () => {
    const log = await logOf(added, changed({ name: 'two' }), closed);
    expect(await ask(log, 3, 'b')).toBeUndefined();
    expect(await ask(log, 2)).toBeUndefined();
    expect(await ask(await logOf(), 0)).toBeUndefined();
  });

  it('is the last one that there was, taken by the commit after which it was not', async () => {
    const opened = changed({ access: { kind: 'unrestricted' } });
    const log = await logOf(added, closed, opened, changed({ name: 'two' }), closed, closed);
    expect(await ask(log, 2)).toMatchObject({
      ruleId: 'credential:c1/publish/0',
      revision: 2,
      origin: { type: 'credential', row: { pattern: 'a' }, revision: 1 },
    });
    expect(await ask(log, 6)).toMatchObject({ ruleId: 'credential/unrestricted', revision: 5 });
  });

  it('is looked for in so many states, and in none before', async () => {
    const later = (count: number) =>
      Array.from({ length: count }, (_, index) => changed({ name: `${index}` }));
    const last = await logOf(added, closed, ...later(PAST_ANSWERS_MAX - 2));
    expect(await ask(last, PAST_ANSWERS_MAX)).toMatchObject({ revision: 2 });
    const past = await logOf(added, closed, ...later(PAST_ANSWERS_MAX - 1));
    expect(await ask(past, PAST_ANSWERS_MAX + 1)).toBeUndefined();
  });
});
