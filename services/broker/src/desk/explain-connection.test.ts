import { compilePolicy, type PolicySpec, type RuleSpec } from '@sallyport/rules';
import { describe, expect, it } from 'vitest';
import { LiveSession } from '../access/live-sessions.ts';
import { ClientRights } from '../hooks/client-rights.ts';
import { explainConnection, parseExplainQuestion } from './explain-connection.ts';

const policy: PolicySpec = {
  policyId: 'p',
  superuser: false,
  authorities: [
    {
      name: 'credential',
      noMatch: 'deny',
      rules: [
        {
          ruleId: 'own',
          effect: 'allow',
          actions: ['publish', 'subscribe', 'receive'],
          matcher: { kind: 'filter', filter: 'line/${client_attrs.site}/#' },
        },
      ],
    },
  ],
  noMatch: 'deny',
  denyAction: 'ignore',
  applyMode: 'pinned',
  publishPrefix: 'line/',
};

function setUp(more: readonly RuleSpec[] = []) {
  const facts = { clientId: 'c', listener: 'tcp:default', peer: '192.0.2.1:5' };
  const session = new LiveSession(
    {
      principal: { credentialId: 'k', store: 'native', secretId: 's', facts },
      resolved: { policyId: 'p', tags: ['credential:k'], attributes: { site: 'north' } },
      policy: compilePolicy({
        ...policy,
        authorities: policy.authorities.map((one) => ({ ...one, rules: [...one.rules, ...more] })),
      }),
      revision: 41,
    },
    () => undefined,
  );
  const connected = {
    client: {
      clientId: 'c',
      version: 5 as const,
      origin: { listener: 'tcp:default', peer: '192.0.2.1:5' },
      disconnect: () => Promise.resolve(),
      dismiss: () => Promise.resolve(),
    },
    keepAliveSeconds: 60,
    connectedAt: 1000,
    rights: new ClientRights(session, { info: () => undefined }),
  };
  const explained = (action: string, topic: string) =>
    explainConnection(connected, parseExplainQuestion({ action, topic, qos: 0, retain: false }));
  return { session, connected, explained };
}

describe('explainConnection', () => {
  it('tells the verdict of the session with all that it was made from', () => {
    expect(setUp().explained('subscribe', 'line/north/#')).toEqual({
      explanation: {
        allowed: true,
        ruleId: 'own',
        checkDeliveries: false,
        opinions: [{ authority: 'credential', verdict: 'allow', ruleId: 'own' }],
      },
      revision: 41,
      applyMode: 'pinned',
      credentialId: 'k',
      secretId: 's',
      facts: {
        clientId: 'c',
        listener: 'tcp:default',
        peer: '192.0.2.1:5',
        attributes: { site: 'north' },
      },
      tags: ['credential:k'],
      connectedAt: 1000,
    });
  });

  it('judges the topic that a publish would have, and says which one that is', () => {
    const { explained } = setUp();
    expect(explained('publish', 'north/a')?.explanation).toMatchObject({
      allowed: true,
      ruleId: 'own',
      publishedTopic: 'line/north/a',
    });
    expect(explained('publish', 'south/a')?.explanation).toMatchObject({ allowed: false });
    // What is delivered has no prefix put before it.
    expect(explained('receive', 'line/north/a')?.explanation).toMatchObject({ allowed: true });
    const long = `north/${'x'.repeat(1024 - 'north/'.length)}`;
    expect(explained('publish', long)?.explanation).toMatchObject({
      allowed: false,
      ruleId: 'publish_prefix',
    });
  });

  it('judges UNSUBSCRIBE, and tells shared filters from others', () => {
    const { connected } = setUp([
      {
        ruleId: 'keep',
        effect: 'deny',
        actions: ['unsubscribe'],
        matcher: { kind: 'filter', filter: 'line/#' },
        when: { shared: true },
      },
    ]);
    const verdictOf = (more: object) => {
      const question = { action: 'unsubscribe', topic: 'line/a', qos: 0, retain: false, ...more };
      return explainConnection(connected, parseExplainQuestion(question))?.explanation;
    };
    expect(verdictOf({})).toMatchObject({ allowed: true });
    expect(verdictOf({ shared: true })).toMatchObject({ allowed: false, ruleId: 'keep' });
    expect(() => verdictOf({ shared: 1 })).toThrow('is not valid');
  });

  it('says the same as the session does, before and after its rights are gone', () => {
    const { session, explained } = setUp();
    for (const topic of ['line/north/a', 'line/south/a', '$SYS/a']) {
      const verdict = session.mayReceive(topic);
      expect(explained('receive', topic)?.explanation).toMatchObject(verdict);
    }
    session.revoke('test');
    expect(explained('receive', 'line/north/a')?.explanation).toEqual({
      allowed: false,
      ruleId: 'revoked',
      opinions: [],
    });
  });

  it('knows nothing of rights that are not ours', () => {
    const { connected } = setUp();
    const rights = {
      publishedTopic: (topic: string) => topic,
      mayPublish: () => true,
      mayReceive: () => true,
      maySubscribe: () => true,
      mayUnsubscribe: () => true,
      deniedPublish: 'acknowledge' as const,
    };
    const question = parseExplainQuestion({
      action: 'publish',
      topic: 'a',
      qos: 0,
      retain: false,
    });
    expect(explainConnection({ ...connected, rights }, question)).toBeUndefined();
  });
});
