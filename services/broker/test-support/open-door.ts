import type { BanRule } from '@sallyport/domain';
import { BanList } from '../src/access/ban-list.ts';
import { Doorkeeper } from '../src/access/doorkeeper.ts';
import { Flapping, type FlappingOptions } from '../src/access/flapping.ts';
import { Guessing, type GuessingOptions } from '../src/access/guessing.ts';
import { RefusedAttempts } from '../src/access/refused-attempts.ts';
import type { RateLimit } from '../src/listeners/rate-limit.ts';

export interface DoorLimits {
  readonly clock?: () => number;
  readonly bans?: BanList;
  readonly flapping?: Partial<FlappingOptions>;
  readonly credentialFlapping?: Partial<FlappingOptions>;
  readonly guessing?: Partial<GuessingOptions>;
  readonly credentialRate?: RateLimit;
  readonly refused?: RefusedAttempts;
}

/** A doorkeeper that objects to nobody, but for what is given. */
export function openDoor({
  clock = () => 0,
  bans = new BanList({ revision: 0, bans: [] }, clock),
  refused = new RefusedAttempts({ entriesMax: 1, keepMs: 1, clock }),
  credentialRate,
  ...limits
}: DoorLimits = {}): Doorkeeper {
  const isExempt = (): boolean => false;
  const onBlocked = (): undefined => undefined;
  const unlimited = { connectsMax: 0, windowMs: 1, blockMs: 1, isExempt, onBlocked, clock };
  return new Doorkeeper({
    bans,
    flapping: new Flapping({ ...unlimited, ...limits.flapping }),
    credentialFlapping: new Flapping({ ...unlimited, ...limits.credentialFlapping }),
    guessing: new Guessing({
      failuresMax: 0,
      sourceFailuresMax: 0,
      delayMs: 1,
      delayMsMax: 1,
      forgetMs: 1,
      isExempt,
      onDelayed: () => undefined,
      clock,
      ...limits.guessing,
    }),
    credentialRate,
    refused,
  });
}

/** A list of just these. */
export const banListOf = (bans: readonly BanRule[], clock: () => number): BanList =>
  new BanList({ revision: 0, bans }, clock);
