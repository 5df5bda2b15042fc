import { compilePolicy } from '@sallyport/rules';
import type { LogThrottle } from '@sallyport/telemetry';
import { parseTopicFilter } from '@sallyport/topic';
import { describe, expect, it } from 'vitest';
import { LiveSession } from '../access/live-sessions.ts';
import { ClientRights } from './client-rights.ts';

function rights() {
  const rule = {
    ruleId: 'acl:client:pump/r1',
    effect: 'deny',
    actions: ['publish', 'subscribe', 'receive'],
    matcher: { kind: 'filter', filter: 'secret/#' },
  } as const;
  const policy = compilePolicy({
    policyId: 'p',
    superuser: false,
    authorities: [{ name: 'acl', rules: [rule], noMatch: 'abstain' }],
    noMatch: 'allow',
    denyAction: 'ignore',
  });
  const facts = { clientId: 'pump', listener: 'tcp:default' };
  const principal = { credentialId: 'c', store: 'native', facts } as const;
  const resolved = { policyId: 'p', tags: [] };
  const session = new LiveSession({ principal, resolved, policy, revision: 41 }, () => undefined);
  const told: object[] = [];
  const logger: Pick<LogThrottle, 'info'> = {
    info: (reason, fields, message) => told.push({ reason, message, ...fields }),
  };
  return { session, told, asked: new ClientRights(session, logger) };
}

const filterOf = (text: string) => {
  const parsed = parseTopicFilter(text);
  if (!parsed.ok) throw new Error(parsed.problem);
  return parsed.value;
};

describe('ClientRights', () => {
  it('tells the log which rule of which revision denied a publish and a subscribe', () => {
    const { told, asked } = rights();
    expect(asked.mayPublish('secret/x', 1, true)).toBe(false);
    expect(asked.maySubscribe(filterOf('secret/+'), 2, false)).toBe(false);
    const common = { clientId: 'pump', ruleId: 'acl:client:pump/r1', revision: 41 };
    expect(told).toEqual([
      {
        ...common,
        reason: 'publish',
        message: 'publish denied',
        topic: 'secret/x',
        qos: 1,
        retain: true,
      },
      {
        ...common,
        reason: 'subscribe',
        message: 'subscribe denied',
        filter: 'secret/+',
        qos: 2,
      },
    ]);
  });

  it('names the newer revision once a change has been looked at', () => {
    const { session, told, asked } = rights();
    const resolved = { policyId: 'p', tags: [] };
    const denyAll = compilePolicy({
      policyId: 'none',
      superuser: false,
      authorities: [],
      noMatch: 'deny',
      denyAction: 'ignore',
    });
    session.adopt(resolved, denyAll, 42);
    expect(asked.mayPublish('a', 0, false)).toBe(false);
    expect(told).toMatchObject([{ ruleId: 'default', revision: 42 }]);
  });

  it('says nothing of what is allowed', () => {
    const { told, asked } = rights();
    expect(asked.mayPublish('open', 0, false)).toBe(true);
    expect(asked.maySubscribe(filterOf('open'), 0, false)).toBe(true);
    expect(told).toEqual([]);
  });
});
