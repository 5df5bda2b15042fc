import type { OpenedSession } from '@sallyport/session-store';
import type { MqttKernel } from './hooks.ts';

/** How long a newcomer waits for the node that had the client. A node that is gone never answers. */
export const RELEASE_TIMEOUT_MS = 1000;

const TAKEOVER_TOPIC = 'takeover';
const RELEASED_TOPIC = 'released';

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
}

/**
 * One client id, one connection, on all nodes: the newcomer tells the others, and waits for the one that had the client until its
 * last write is done. Of two at the same time the higher epoch stays.
 */
export class Takeovers {
  readonly #options: TakeoverOptions;
  readonly #waiting = new Map<string, { readonly epoch: number; readonly release: () => void }>();

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
    }
  }

  async #giveUp(takeover: Takeover): Promise<void> {
    const { nodeId, kernel, disconnect } = this.#options;
    const { clientId, epoch, from, over = false } = takeover;
    await disconnect(clientId, epoch, over);
    if (from === nodeId) kernel.signal(RELEASED_TOPIC, () => JSON.stringify({ clientId, epoch }));
  }

  close(): void {
    for (const { release } of this.#waiting.values()) release();
  }
}
