import type { SessionRecord } from '@sallyport/session-store';
import type {
  ConnectRequest,
  ConnectVerdict,
  EngineEvent,
  EngineObserver,
  EnhancedAuthentication,
  MqttClient,
  MqttHooks,
  SessionRights,
  StoredWill,
} from '../src/hooks.ts';

/** Rights that allow everything but what the test takes away. */
export class TestRights implements SessionRights {
  readonly clientId: string;
  deniedPublish: SessionRights['deniedPublish'] = 'acknowledge';
  deniedEnds = false;
  /** What is put in front of topics. */
  prefix = '';
  /** Longest topic that there is. */
  topicLengthMax = 1024;
  publishRates: SessionRights['publishRates'];
  readonly noPublish = new Set<string>();
  readonly noReceive = new Set<string>();
  readonly noSubscribe = new Set<string>();
  readonly noUnsubscribe = new Set<string>();
  /** What was asked of filters of `$share`. */
  readonly sharedAsked: string[] = [];

  constructor(clientId: string) {
    this.clientId = clientId;
  }

  publishedTopic(topic: string): string | undefined {
    const published = this.prefix + topic;
    return published.length > this.topicLengthMax ? undefined : published;
  }

  mayPublish(topic: string): boolean {
    return !this.noPublish.has(topic);
  }

  mayReceive(topic: string): boolean {
    return !this.noReceive.has(topic);
  }

  maySubscribe(filter: string, _qos: number, shared: boolean): boolean {
    if (shared) this.sharedAsked.push(`subscribe ${filter}`);
    return !this.noSubscribe.has(filter);
  }

  mayUnsubscribe(filter: string, shared: boolean): boolean {
    if (shared) this.sharedAsked.push(`unsubscribe ${filter}`);
    return !this.noUnsubscribe.has(filter);
  }
}

/** Lets everybody in, and keeps account of who has come and gone. */
export class TestHooks implements MqttHooks {
  readonly accepted: SessionRights[] = [];
  readonly endings: SessionRights[] = [];
  /** Answers instead of a plain yes. */
  decide: ((request: ConnectRequest) => Promise<ConnectVerdict>) | undefined;
  /** Changes the rights of everybody who comes. */
  grant: (rights: TestRights) => void = () => undefined;
  enhanced: MqttHooks['authenticateEnhanced'] = () => undefined;
  storedRights: (record: SessionRecord, topic: string) => Promise<boolean> = () =>
    Promise.resolve(true);
  /** Of those who are not connected; nothing is known of anybody at first. */
  storedMayReceive: (clientId: string, topic: string) => boolean | undefined = () => undefined;
  /** What is put in front of topics of those who are not connected. */
  storedPrefix = '';
  readonly storedAsked: { readonly clientId: string; readonly topic: string }[] = [];

  authenticate(
    _client: MqttClient,
    request: ConnectRequest,
  ): ConnectVerdict | Promise<ConnectVerdict> {
    return this.decide === undefined
      ? this.accept(request.clientId)
      : this.#decided(this.decide(request));
  }

  async #decided(deciding: Promise<ConnectVerdict>): Promise<ConnectVerdict> {
    const verdict = await deciding;
    if (verdict.accepted) this.accepted.push(verdict.rights);
    return verdict;
  }

  /** The verdict that lets somebody in. */
  accept(clientId: string, owner = 'owner'): ConnectVerdict {
    const rights = new TestRights(clientId);
    this.grant(rights);
    this.accepted.push(rights);
    return { accepted: true, rights, owner, principal: { clientId } };
  }

  authenticateEnhanced(
    client: MqttClient,
    request: ConnectRequest,
    method: string,
    current?: SessionRights,
  ): EnhancedAuthentication | undefined {
    return this.enhanced(client, request, method, current);
  }

  ended(_client: MqttClient, rights: SessionRights): void {
    this.endings.push(rights);
  }

  async storedWillTopic(record: SessionRecord, { topic }: StoredWill): Promise<string | undefined> {
    this.storedAsked.push({ clientId: record.clientId, topic });
    return (await this.storedRights(record, topic)) ? this.storedPrefix + topic : undefined;
  }

  /** Accepted verdicts that have not ended. @throws Error when one has ended twice, or was never there */
  get open(): number {
    const open = new Set(this.accepted);
    for (const rights of this.endings) {
      if (!open.delete(rights)) throw new Error('ended twice, or never accepted');
    }
    return open.size;
  }
}

/** Remembers what it is told. */
export class TestObserver implements EngineObserver {
  readonly counts = new Map<EngineEvent, number>();
  readonly errors: Error[] = [];
  readonly problems: Error[] = [];

  count(event: EngineEvent): void {
    this.counts.set(event, this.of(event) + 1);
  }

  of(event: EngineEvent): number {
    return this.counts.get(event) ?? 0;
  }

  clientError(_client: MqttClient, error: Error): void {
    this.errors.push(error);
  }

  problem(error: Error): void {
    this.problems.push(error);
  }
}
