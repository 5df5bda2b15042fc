import { BanList } from '../src/access/ban-list.ts';
import { Doorkeeper } from '../src/access/doorkeeper.ts';
import { Flapping } from '../src/access/flapping.ts';
import { RefusedAttempts } from '../src/access/refused-attempts.ts';

/** A doorkeeper that objects to nobody. */
export function openDoor(): Doorkeeper {
  const clock = (): number => 0;
  const unlimited = { connectsMax: 0, windowMs: 1, blockMs: 1 };
  return new Doorkeeper({
    bans: new BanList({ revision: 0, bans: [] }, clock),
    flapping: new Flapping({ ...unlimited, isExempt: () => true, onBlocked: () => undefined }),
    credentialRate: undefined,
    refused: new RefusedAttempts({ entriesMax: 1, keepMs: 1, clock }),
  });
}
