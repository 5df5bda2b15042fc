import { setTimeout as delay } from 'node:timers/promises';
import type { RawMqttClient, ServerProcess } from '@sallyport/test-kit';

/** To be loaded into a broker by `NODE_OPTIONS`. */
export const METER = new URL('load/stall-meter.js', import.meta.url).href;

/** Longest turn of the event loop that is right. @source threats.md I6 */
export const STALL_MS_MAX = 50;

const PINGREQ = Buffer.from([0xc0, 0]);
const LOOK_EVERY_MS = 250;

/** What load/stall-meter.ts prints. */
export class Meter {
  readonly #turns: number[] = [];

  heard(line: string): void {
    const turn = /^{"longestTurnMs":([\d.]+)}$/.exec(line)?.[1];
    if (turn !== undefined) this.#turns.push(Number(turn));
  }

  /** The longest turn of the event loop since this was last asked, in milliseconds of processor time. */
  async longestTurn({ pid = 0 }: ServerProcess): Promise<number> {
    process.kill(pid, 'SIGUSR2');
    for (;;) {
      const turn = this.#turns.shift();
      if (turn !== undefined) return turn;
      await delay(LOOK_EVERY_MS);
    }
  }
}

/** Milliseconds from a PINGREQ to its PINGRESP, until `done`; the next one follows a moment later. */
export async function longestPing(
  client: RawMqttClient,
  done: () => boolean,
  timeoutMs: number,
): Promise<number> {
  let longest = 0;
  while (!done()) {
    const sent = performance.now();
    client.send(PINGREQ);
    await client.expect('pingresp', timeoutMs);
    longest = Math.max(longest, performance.now() - sent);
    await delay(1);
  }
  return longest;
}
