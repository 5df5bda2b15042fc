import { createMemorySessionStore } from '@sallyport/session-store';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { Gate, settle } from '../../test-support/settle.ts';
import type { TestRights } from '../../test-support/test-hooks.ts';
import { START, TestNode } from '../../test-support/test-node.ts';
import type { ProtocolVersion, Will } from '../codec/packet.ts';
import { reasonCode } from '../codec/reason-code.ts';

const versions: ProtocolVersion[] = [3, 4, 5];

const published = (node: TestNode): string[] => node.kernel.published.map(({ topic }) => topic);

const will = (changes: Partial<Will> = {}): Will => ({
  topic: 'gone',
  payload: Buffer.from('w'),
  qos: 0,
  retain: false,
  ...changes,
});

/** A node that gives everybody a prefix; `rights` are those of whoever came last. */
function prefixing(prefix = 'p/', options: ConstructorParameters<typeof TestNode>[0] = {}) {
  const node = new TestNode(options);
  const given: TestRights[] = [];
  node.hooks.grant = (rights) => {
    rights.prefix = prefix;
    given.push(rights);
  };
  return {
    node,
    get rights(): TestRights {
      const last = given.at(-1);
      if (last === undefined) throw new Error('nobody has come');
      return last;
    },
  };
}

describe('what is published', () => {
  test.each(versions)('MQTT %s: has the prefix, at every QoS', async (version) => {
    const { node } = prefixing();
    const client = await node.connect('c', { version, answers: 'all' });
    for (const qos of [0, 1, 2] as const) client.publish({ topic: `t/${qos}`, qos });
    await settle();
    expect(published(node)).toEqual(['p/t/0', 'p/t/1', 'p/t/2']);
  });

  test('is text put together: no slash is added or taken', async () => {
    const { node } = prefixing('topicA');
    const client = await node.connect('c');
    client.publish({ topic: 'some/values' });
    client.publish({ topic: '/x' });
    await settle();
    expect(published(node)).toEqual(['topicAsome/values', 'topicA/x']);
  });

  test('is judged under its final topic, and that topic only', async () => {
    const fixture = prefixing();
    const client = await fixture.node.connect('c', { version: 5 });
    fixture.rights.noPublish.add('p/no').add('yes').add('$SYS/x');
    client.publish({ topic: 'no', qos: 1 });
    expect(await client.expect('puback')).toMatchObject({ code: reasonCode.notAuthorized });
    for (const topic of ['yes', '$SYS/x']) {
      client.publish({ topic, qos: 1 });
      expect(await client.expect('puback')).toMatchObject({ code: 0 });
    }
    expect(published(fixture.node)).toEqual(['p/yes', 'p/$SYS/x']);
  });

  test('is retained under its final topic, and taken away under it', async () => {
    const { node } = prefixing();
    const client = await node.connect('c', { version: 5 });
    const retained = async () =>
      (await node.store.retainedMessages(['#'], START)).map(({ topic }) => topic);
    client.publish({ topic: 'r', payload: 'x', qos: 1, retain: true });
    await client.expect('puback');
    expect(await retained()).toEqual(['p/r']);
    client.publish({ topic: 'r', qos: 1, retain: true });
    await client.expect('puback');
    expect(await retained()).toEqual([]);
  });

  test('counts as a replacement by its final topic, when there is no room for another retained message', async () => {
    const { node } = prefixing('p/', { limits: { retainedMessagesMax: 1 } });
    const client = await node.connect('c', { version: 5 });
    client.publish({ topic: 'r', payload: '1', qos: 1, retain: true });
    expect(await client.expect('puback')).toMatchObject({ code: 0 });
    client.publish({ topic: 'r', payload: '2', qos: 1, retain: true });
    expect(await client.expect('puback')).toMatchObject({ code: 0 });
    client.publish({ topic: 'p/r', payload: '3', qos: 1, retain: true });
    expect(await client.expect('puback')).toMatchObject({ code: reasonCode.quotaExceeded });
  });

  test('MQTT-5.0 §3.3.2.3.5 keeps its Response Topic as it is', async () => {
    const { node } = prefixing();
    const client = await node.connect('c', { version: 5 });
    client.publish({ topic: 't', properties: { responseTopic: 'answers' } });
    await settle();
    expect(node.kernel.published[0]).toMatchObject({
      topic: 'p/t',
      properties: { responseTopic: 'answers' },
    });
  });

  test('comes once with QoS 2, though the prefix changes between two sendings', async () => {
    const fixture = prefixing();
    const client = await fixture.node.connect('c', { version: 5 });
    client.publish({ topic: 't', qos: 2, packetId: 5 });
    await client.expect('pubrec');
    fixture.rights.prefix = 'q/';
    client.publish({ topic: 't', qos: 2, packetId: 5, dup: true });
    expect(await client.expect('pubrec')).toMatchObject({ code: 0 });
    client.ack('pubrel', 5);
    await client.expect('pubcomp');
    expect(published(fixture.node)).toEqual(['p/t']);
  });
});

describe('subscriptions and deliveries', () => {
  test('are not touched: who has a prefix hears the final topic, and not the one it names', async () => {
    const { node } = prefixing();
    const client = await node.connect('c', { answers: 'all' });
    await client.subscribe(['x', 'p/x'], 1);
    client.publish({ topic: 'x', payload: 'm', qos: 1 });
    await settle();
    expect(client.publishes.map(({ topic }) => topic)).toEqual(['p/x']);
  });
});

describe('topic aliases', () => {
  test('MQTT-5.0 §3.3.2.3.4 stand for the topic without the prefix, which is put before it once', async () => {
    const fixture = prefixing();
    const client = await fixture.node.connect('c', { version: 5 });
    const properties = { topicAlias: 1 };
    client.publish({ topic: 't', properties });
    client.publish({ topic: '', properties });
    client.publish({ topic: '', qos: 1, properties });
    await client.expect('puback');
    fixture.rights.prefix = 'q/';
    client.publish({ topic: '', properties });
    fixture.rights.prefix = '';
    client.publish({ topic: '', properties });
    await settle();
    expect(published(fixture.node)).toEqual(['p/t', 'p/t', 'p/t', 'q/t', 't']);
  });

  test('are set by a message that is denied', async () => {
    const fixture = prefixing();
    const client = await fixture.node.connect('c', { version: 5 });
    fixture.rights.noPublish.add('p/t');
    const properties = { topicAlias: 1 };
    client.publish({ topic: 't', qos: 1, properties });
    expect(await client.expect('puback')).toMatchObject({ code: reasonCode.notAuthorized });
    fixture.rights.prefix = 'q/';
    client.publish({ topic: '', qos: 1, properties });
    expect(await client.expect('puback')).toMatchObject({ code: 0 });
    expect(published(fixture.node)).toEqual(['q/t']);
  });
});

describe('a change of the prefix', () => {
  test.each(versions)('MQTT %s: is there for the next PUBLISH', async (version) => {
    const fixture = prefixing('');
    const client = await fixture.node.connect('c', { version });
    for (const prefix of ['', 'p/', 'q', '']) {
      fixture.rights.prefix = prefix;
      client.publish({ topic: 't', qos: 1 });
      await client.expect('puback');
    }
    expect(published(fixture.node)).toEqual(['t', 'p/t', 'qt', 't']);
  });

  test('is there for a PUBLISH that had to wait, and the prefix is put before it once', async () => {
    const fixture = prefixing();
    const { node } = fixture;
    const client = await node.connect('c', { version: 5 });
    const gate = new Gate();
    node.kernel.beforePublish = () => gate.pass();
    client.publish({ topic: 'one', qos: 1 });
    client.publish({ topic: 'two', properties: { topicAlias: 1 } });
    client.publish({
      topic: '',
      qos: 1,
      retain: true,
      payload: 'x',
      properties: { topicAlias: 1 },
    });
    await settle();
    expect(published(node)).toEqual(['p/one']);
    fixture.rights.prefix = 'q/';
    fixture.rights.noPublish.add('p/two');
    gate.open();
    await settle();
    expect(published(node)).toEqual(['p/one', 'q/two', 'q/two']);
  });
});

describe('a topic that there is not, with its prefix', () => {
  const longest = (fixture: { readonly rights: TestRights }) => (fixture.rights.topicLengthMax = 4);

  test('MQTT-5.0 §3.4.2.1 is answered with Topic Name invalid, and the connection stays', async () => {
    const fixture = prefixing();
    const client = await fixture.node.connect('c', { version: 5 });
    longest(fixture);
    client.publish({ topic: 'abc', qos: 1 });
    expect(await client.expect('puback')).toMatchObject({ code: reasonCode.topicNameInvalid });
    client.publish({ topic: 'abc', qos: 2 });
    expect(await client.expect('pubrec')).toMatchObject({ code: reasonCode.topicNameInvalid });
    client.publish({ topic: 'abc' });
    client.publish({ topic: 'ab', qos: 1 });
    expect(await client.expect('puback')).toMatchObject({ code: 0 });
    expect(published(fixture.node)).toEqual(['p/ab']);
    expect(fixture.node.observer.of('publish_denied')).toBe(3);
  });

  test.each([3, 4] as const)(
    'MQTT %s: is acknowledged and dropped where that is what happens to what is denied',
    async (version) => {
      const fixture = prefixing();
      const client = await fixture.node.connect('c', { version, answers: 'all' });
      longest(fixture);
      client.publish({ topic: 'abc' });
      client.publish({ topic: 'abc', qos: 1 });
      expect(await client.expect('puback')).toMatchObject({ packetId: 1 });
      client.publish({ topic: 'abc', qos: 2 });
      expect(await client.expect('pubrec')).toMatchObject({ packetId: 2 });
      await client.expect('pubcomp');
      expect(published(fixture.node)).toEqual([]);
      expect(client.ended).toBe(false);
    },
  );

  test.each([
    [3, 0],
    [4, 0],
    [4, 1],
    [4, 2],
  ] as const)(
    'MQTT %s QoS %s: ends the connection where denied publishes do',
    async (version, qos) => {
      const fixture = prefixing();
      const client = await fixture.node.connect('c', { version });
      longest(fixture);
      fixture.rights.deniedPublish = 'disconnect';
      client.publish({ topic: 'abc', qos });
      await client.closed;
      expect(client.unread()).toEqual([]);
      expect(published(fixture.node)).toEqual([]);
    },
  );

  test('rights that cannot tell let nothing through', async () => {
    const fixture = prefixing();
    const client = await fixture.node.connect('c', { version: 5 });
    fixture.rights.publishedTopic = () => {
      throw new Error('broken');
    };
    client.publish({ topic: 'a' });
    client.publish({ topic: 'a', qos: 1 });
    expect(await client.expect('puback')).toMatchObject({ code: reasonCode.topicNameInvalid });
    expect(published(fixture.node)).toEqual([]);
    expect(fixture.node.observer.problems).toHaveLength(2);
  });
});

describe('wills', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  });

  afterEach(() => {
    vi.useRealTimers();
  });

  async function pass(node: TestNode, ms: number): Promise<void> {
    node.elapsedMs += ms;
    await vi.advanceTimersByTimeAsync(ms);
    await settle();
  }

  test.each(versions)('MQTT %s: have the prefix of the moment, once', async (version) => {
    const fixture = prefixing();
    const client = await fixture.node.connect('c', { version, will: will({ retain: true }) });
    fixture.rights.prefix = 'q/';
    client.drop();
    await settle();
    expect(published(fixture.node)).toEqual(['q/gone']);
    expect(await fixture.node.store.retainedMessages(['q/gone'], START)).toHaveLength(1);
  });

  test('are judged under their final topic', async () => {
    const fixture = prefixing();
    const client = await fixture.node.connect('c', { will: will() });
    fixture.rights.noPublish.add('p/gone');
    client.drop();
    await settle();
    const other = await fixture.node.connect('d', { will: will() });
    fixture.rights.noPublish.add('gone');
    other.drop();
    await settle();
    expect(published(fixture.node)).toEqual(['p/gone']);
  });

  test('under a topic that there is not are not published', async () => {
    const fixture = prefixing();
    const client = await fixture.node.connect('c', { will: will() });
    fixture.rights.topicLengthMax = 5;
    client.drop();
    await settle();
    expect(published(fixture.node)).toEqual([]);
    expect(fixture.node.observer.problems).toEqual([]);
  });

  const delayed = {
    version: 5,
    cleanStart: false,
    properties: { sessionExpiryInterval: 60 },
    will: will({ properties: { willDelayInterval: 2 } }),
  } as const;

  test('MQTT-5.0 §3.1.3.2.2 with a delay have the prefix that the stored principal has when they are due, once', async () => {
    const { node } = prefixing('before/');
    await node.engine.start();
    const client = await node.connect('c', delayed);
    client.drop();
    await pass(node, 1000);
    expect(published(node)).toEqual([]);
    node.hooks.storedPrefix = 'after/';
    await pass(node, 2000);
    expect(published(node)).toEqual(['after/gone']);
    expect(node.hooks.storedAsked).toEqual([{ clientId: 'c', topic: 'gone' }]);
    await node.engine[Symbol.asyncDispose]();
  });

  test('of a node that has died have the prefix of the stored principal too', async () => {
    const store = createMemorySessionStore();
    const died = prefixing('before/', { store, nodeId: 'same' });
    await died.node.connect('c', { ...delayed, will: will({ qos: 1 }) });
    // It is started again without having ended anything.
    const { node } = prefixing('other/', { store, nodeId: 'same' });
    node.hooks.storedPrefix = 'after/';
    await node.engine.start();
    await pass(node, 1000);
    expect(published(node)).toEqual(['after/gone']);
    await node.engine[Symbol.asyncDispose]();
  });

  test('that the stored principal may not publish are not', async () => {
    const { node } = prefixing();
    await node.engine.start();
    const client = await node.connect('c', delayed);
    client.drop();
    node.hooks.storedRights = () => Promise.resolve(false);
    await pass(node, 3000);
    expect(published(node)).toEqual([]);
    await node.engine[Symbol.asyncDispose]();
  });
});
