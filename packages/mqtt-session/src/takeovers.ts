import type { OpenedSession } from '@sallyport/session-store';
import type { MqttKernel } from './hooks.ts';

/** How long a newcomer waits for the node that had the client. A node that is gone never answers. */
export const RELEASE_TIMEOUT_MS = 1000;

/** The same where that node has to give a whole queue to others; less than a client has for its CONNECT. */
export const END_TIMEOUT_MS = 5000;

const TAKEOVER_TOPIC = 'takeover';
const RELEASED_TOPIC = 'released';
const END_TOPIC = 'end';
const ENDED_TOPIC = 'ended';

/** A session is to end on the node that its client is connected to, or has. */
interface Ending {
  readonly clientId: string;
  /** The broker that is to end it. */
  readonly at: string;
  /** Names the question, over all nodes. */
  readonly id: string;
}

interface Takeover {
  readonly clientId: string;
  readonly epoch: number;
  /** Whether the session that was there has ended, and does not go on with the newcomer. */
  readonly over?: boolean;
  /** The node that must answer when it has let go. */
  readonly from?: string;
}

export interface TakeoverOptions {
  readonly nodeId: string;
  readonly kernel: MqttKernel;
  /**
   * Ends the connection of the client if its epoch is lower; resolves when the last write for it is done.
   * @param over its session has ended
   */
  readonly disconnect: (clientId: string, epoch: number, over: boolean) => Promise<void>;
  /** Ends the connection of the client and its session; resolves when the last write for it is done. */
  readonly end: (clientId: string) => Promise<void>;
}

/**
 * One client id, one connection, on all nodes: the newcomer tells the others, and waits for the one that had the client until its
 * last write is done. Of two at the same time the higher epoch stays.
 */
export class Takeovers {
  readonly #options: TakeoverOptions;
  readonly #waiting = new Map<string, { readonly epoch: number; readonly release: () => void }>();
  /** By the ids of the questions. */
  readonly #ending = new Map<string, (ended: boolean) => void>();
  #questions = 0;

  constructor(options: TakeoverOptions) {
    this.#options = options;
  }

  /** One claim of a client id at a time. Undefined when nobody has to be waited for. */
  claim(clientId: string, opened: OpenedSession): Promise<void> | undefined {
    const { nodeId, kernel } = this.#options;
    const { epoch, present, previousNodeId } = opened;
    const from = previousNodeId === nodeId ? undefined : previousNodeId;
    const told = (): string => {
      const takeover: Takeover = {
        clientId,
        epoch,
        ...(!present && { over: true }),
        ...(from !== undefined && { from }),
      };
      return JSON.stringify(takeover);
    };
    if (from !== undefined) return this.#release(clientId, epoch, told);
    kernel.signal(TAKEOVER_TOPIC, told);
    return undefined;
  }

  async #release(clientId: string, epoch: number, told: () => string): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, RELEASE_TIMEOUT_MS);
      const release = (): void => {
        clearTimeout(timer);
        resolve();
      };
      this.#waiting.set(clientId, { epoch, release });
      this.#options.kernel.signal(TAKEOVER_TOPIC, told);
    });
    this.#waiting.delete(clientId);
  }

  /** Has another node end a session and hand on what waits in it. False when it did not say in time that it has. */
  async endElsewhere(clientId: string, at: string): Promise<boolean> {
    const { kernel } = this.#options;
    const id = `${kernel.brokerId} ${++this.#questions}`;
    const ended = await new Promise<boolean>((resolve) => {
      const timer = setTimeout(() => resolve(false), END_TIMEOUT_MS);
      this.#ending.set(id, (answer) => {
        clearTimeout(timer);
        resolve(answer);
      });
      kernel.signal(END_TOPIC, () => JSON.stringify({ clientId, at, id } satisfies Ending));
    });
    this.#ending.delete(id);
    return ended;
  }

  /** A later newcomer has the client id: an earlier one need not wait any more. */
  overtaken(clientId: string, epoch: number): void {
    const waiting = this.#waiting.get(clientId);
    if (waiting !== undefined && waiting.epoch < epoch) waiting.release();
  }

  signalled(topic: string, payload: string): void {
    if (topic === RELEASED_TOPIC) {
      const { clientId, epoch } = JSON.parse(payload) as Takeover; // Written below, by another node.
      const waiting = this.#waiting.get(clientId);
      if (waiting?.epoch === epoch) waiting.release();
    } else if (topic === TAKEOVER_TOPIC) {
      void this.#giveUp(JSON.parse(payload) as Takeover); // Written above.
    } else if (topic === END_TOPIC) {
      void this.#end(JSON.parse(payload) as Ending); // Written above.
    } else if (topic === ENDED_TOPIC) this.#ending.get(payload)?.(true);
  }

  async #end({ clientId, at, id }: Ending): Promise<void> {
    const { kernel, end } = this.#options;
    if (at !== kernel.brokerId) return;
    await end(clientId);
    kernel.signal(ENDED_TOPIC, () => id);
  }

  async #giveUp(takeover: Takeover): Promise<void> {
    const { nodeId, kernel, disconnect } = this.#options;
    const { clientId, epoch, from, over = false } = takeover;
    await disconnect(clientId, epoch, over);
    if (from === nodeId) kernel.signal(RELEASED_TOPIC, () => JSON.stringify({ clientId, epoch }));
  }

  close(): void {
    for (const { release } of this.#waiting.values()) release();
    for (const answer of this.#ending.values()) answer(false);
  }
}
