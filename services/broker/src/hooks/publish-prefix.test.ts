import { OperationalError } from '@sallyport/errors';
import { MemoryEventLog } from '@sallyport/event-log';
import {
  type Admitted,
  PolicyCache,
  type PolicyClient,
  type Principal,
  type ResolveAnswer,
} from '@sallyport/policy-client';
import { compilePolicy, type PolicySpec } from '@sallyport/rules';
import type { SessionRecord } from '@sallyport/session-store';
import { createLogThrottle, silentLogger } from '@sallyport/telemetry';
import { TOPIC_BYTES_MAX } from '@sallyport/topic';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { LiveSession, LiveSessions, VERDICTS_MAX } from '../access/live-sessions.ts';
import { enter } from './authenticate.ts';
import { placesOf } from '../../test-support/session-places.ts';
import { openDoor } from '../../test-support/open-door.ts';
import { BrokerHooks } from './broker-hooks.ts';

const policyOf = (publishPrefix: string | undefined, ...writable: string[]): PolicySpec => ({
  policyId: JSON.stringify([publishPrefix, writable]),
  superuser: false,
  authorities: [
    {
      name: 'credential',
      noMatch: 'deny',
      rules: writable.map((filter, index) => ({
        ruleId: `role:r/${index}`,
        effect: 'allow',
        actions: ['publish'],
        matcher: { kind: 'filter', filter },
      })),
    },
  ],
  noMatch: 'deny',
  denyAction: 'ignore',
  ...(publishPrefix !== undefined && { publishPrefix }),
});

const principal: Principal = {
  credentialId: 'c1',
  store: 'native',
  facts: { clientId: 'c', listener: 'tcp:default' },
};

const admitted = (spec: PolicySpec): Admitted => ({
  principal,
  resolved: { policyId: spec.policyId, tags: [] },
  policy: compilePolicy(spec),
  revision: 0,
});

const live = (spec: PolicySpec): LiveSession => new LiveSession(admitted(spec), () => undefined);

describe('a live session', () => {
  it('publishes under what its client names when there is no prefix', () => {
    for (const prefix of [undefined, '']) {
      expect(live(policyOf(prefix, '#')).publishedTopic('a')).toBe('a');
    }
  });

  it('puts the prefix before every topic, again and again the same', () => {
    const session = live(policyOf('p/', '#'));
    for (let round = 0; round < 2; round++) {
      for (let index = 0; index <= VERDICTS_MAX; index++) {
        expect(session.publishedTopic(`t/${index}`)).toBe(`p/t/${index}`);
      }
    }
  });

  it('has the prefix of its new policy at once', () => {
    const session = live(policyOf('p/', '#'));
    expect(session.publishedTopic('a')).toBe('p/a');
    for (const [prefix, expected] of [
      ['q', 'qa'],
      [undefined, 'a'],
      ['p/', 'p/a'],
    ] as const) {
      const { resolved, policy } = admitted(policyOf(prefix, '#'));
      session.adopt(resolved, policy, 1);
      expect(session.publishedTopic('a')).toBe(expected);
    }
  });

  it('has no topic where the prefix makes it too long, asked once or twice', () => {
    const session = live(policyOf('p/', '#'));
    for (let round = 0; round < 2; round++) {
      expect(session.publishedTopic('x'.repeat(TOPIC_BYTES_MAX - 1))).toBeUndefined();
      expect(session.publishedTopic('x'.repeat(TOPIC_BYTES_MAX - 2))).toHaveLength(TOPIC_BYTES_MAX);
    }
  });

  it('is guarded by the final topic: a $ that is not leading any more is a level like others', () => {
    const prefixed = live(policyOf('p/', '#'));
    expect(prefixed.mayPublish(prefixed.publishedTopic('$SYS/x') ?? '', 0, false).allowed).toBe(
      true,
    );
    const plain = live(policyOf(undefined, '#'));
    expect(plain.mayPublish(plain.publishedTopic('$SYS/x') ?? '', 0, false)).toMatchObject({
      allowed: false,
      ruleId: 'guard',
    });
  });
});

describe('the will of a CONNECT', () => {
  const outcome = (spec: PolicySpec, willTopic: string) => {
    const sessions = new LiveSessions();
    const { answer, reason } = enter(
      { sessions, door: openDoor(), uses: { note: () => undefined } },
      { willTopic },
      admitted(spec),
      'policy',
      () => undefined,
    );
    return [answer.verdict, reason, sessions.size];
  };

  it('is judged under its final topic', () => {
    expect(outcome(policyOf('p/', 'gone'), 'gone')).toEqual(['not_authorized', 'will: default', 0]);
    expect(outcome(policyOf('p/', 'p/gone'), 'gone')).toEqual(['accept', undefined, 1]);
    expect(outcome(policyOf('p/', '#'), '$SYS/x')).toEqual(['accept', undefined, 1]);
  });

  it('is refused when there is no such topic', () => {
    const longest = 'x'.repeat(TOPIC_BYTES_MAX - 2);
    expect(outcome(policyOf('p/', '#'), longest)[0]).toBe('accept');
    expect(outcome(policyOf('p/', '#'), `${longest}x`)).toEqual([
      'not_authorized',
      'will topic: too long with its prefix',
      0,
    ]);
  });
});

describe('the will of somebody who is not connected', () => {
  afterEach(() => {
    vi.useRealTimers();
  });

  const record = { clientId: 'c', principal } as unknown as SessionRecord; // As much of it as is looked at.

  function hooksOf(resolve: () => Promise<ResolveAnswer>): BrokerHooks {
    const client = { resolve } as unknown as PolicyClient; // Nothing else is asked.
    const log = new MemoryEventLog();
    return new BrokerHooks({
      policy: client,
      cache: new PolicyCache({ client, log, revision: 0, clock: () => 0 }),
      sessions: new LiveSessions(),
      door: openDoor(),
      uses: { note: () => undefined },
      places: placesOf(),
      staleness: () => undefined,
      announced: () => 0,
      logger: createLogThrottle({ logger: silentLogger() }),
      deniedPublish: () => undefined,
      publishRates: { of: () => undefined },
    });
  }

  const answering = (spec: PolicySpec | undefined) =>
    hooksOf(async () => ({
      revision: 0,
      results: [spec && { policyId: spec.policyId, tags: [] }],
      policies: spec === undefined ? [] : [spec],
    }));

  it('goes out under the prefix that the principal has now, judged with it', async () => {
    const topicOf = (spec: PolicySpec | undefined, topic = 'gone') =>
      answering(spec).storedWillTopic(record, { topic, qos: 0, retain: false });
    expect(await topicOf(policyOf('p/', 'p/#'))).toBe('p/gone');
    expect(await topicOf(policyOf(undefined, 'gone'))).toBe('gone');
    expect(await topicOf(policyOf('p/', 'gone'))).toBeUndefined();
    expect(await topicOf(undefined)).toBeUndefined();
    expect(await topicOf(policyOf(undefined, '#'), '$SYS/x')).toBeUndefined();
    expect(await topicOf(policyOf('p/', '#'), 'x'.repeat(TOPIC_BYTES_MAX))).toBeUndefined();
  });

  it('does not go out when nobody can tell its rights', async () => {
    vi.useFakeTimers();
    let asked = 0;
    const hooks = hooksOf(async () => {
      asked++;
      throw new OperationalError('policy_not_ready', 'away');
    });
    const topic = hooks.storedWillTopic(record, { topic: 'gone', qos: 0, retain: false });
    await vi.advanceTimersByTimeAsync(10_000);
    expect(await topic).toBeUndefined();
    expect(asked).toBe(5);
  });
});
