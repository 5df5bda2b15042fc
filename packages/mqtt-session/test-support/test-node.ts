import { createMemorySessionStore, type SessionStore } from '@sallyport/session-store';
import type { ProtocolVersion } from '../src/codec/packet.ts';
import { Engine } from '../src/engine.ts';
import type { MqttClient, Origin } from '../src/hooks.ts';
import { defaultLimits, type MqttLimits } from '../src/limits.ts';
import { type Answers, type ConnectOptions, TestClient } from './test-client.ts';
import { TestHooks, TestObserver } from './test-hooks.ts';
import { type TestBus, TestKernel } from './test-kernel.ts';

export interface TestNodeOptions {
  readonly nodeId?: string;
  readonly limits?: Partial<MqttLimits>;
  readonly store?: SessionStore;
  readonly bus?: TestBus;
  readonly clock?: () => number;
}

/** 2026 begins; any time would do. */
export const START = Date.UTC(2026, 0, 1);

/** One engine with everything around it that a node has. */
export class TestNode implements AsyncDisposable {
  readonly engine: Engine;
  readonly kernel: TestKernel;
  readonly store: SessionStore;
  readonly hooks = new TestHooks();
  readonly observer = new TestObserver();
  /** Milliseconds that have passed on the engine's clock; the sweeps of connections have their own. */
  elapsedMs = 0;

  constructor(options: TestNodeOptions = {}) {
    const { nodeId = 'node-1', limits, bus } = options;
    this.store = options.store ?? createMemorySessionStore();
    const brokerId = `broker of ${nodeId}`;
    this.kernel = new TestKernel({ brokerId, store: this.store, ...(bus && { bus }) });
    this.engine = new Engine({
      nodeId,
      limits: { ...defaultLimits, ...limits },
      store: this.store,
      kernel: this.kernel,
      hooks: this.hooks,
      observer: this.observer,
      clock: options.clock ?? (() => START + this.elapsedMs),
    });
    this.kernel.connect(this.engine);
  }

  /** With its timers; most tests need none. */
  static async start(options: TestNodeOptions = {}): Promise<TestNode> {
    const node = new TestNode(options);
    await node.engine.start();
    return node;
  }

  /** A connection on which nothing has been sent. */
  open(
    version: ProtocolVersion = 4,
    options: { answers?: Answers; highWaterMark?: number; origin?: Origin } = {},
  ): TestClient & { readonly server: MqttClient } {
    const client = new TestClient(version, options);
    const { origin = { listener: 'tcp:test', peer: '192.0.2.1:1' } } = options;
    const server = this.engine.accept(client.socket, origin);
    return Object.assign(client, { server });
  }

  /** A connected client. @throws Error when it is refused */
  async connect(
    clientId: string,
    options: ConnectOptions & { version?: ProtocolVersion; answers?: Answers } = {},
  ): Promise<TestClient & { readonly server: MqttClient; readonly present: boolean }> {
    const { version, answers, ...connect } = options;
    const client = this.open(version, answers === undefined ? {} : { answers });
    const { code, sessionPresent } = await client.connect({ clientId, ...connect });
    if (code !== 0) throw new Error(`${clientId} was refused with ${code}`);
    return Object.assign(client, { present: sessionPresent });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.engine[Symbol.asyncDispose]();
  }
}
