import { count, type LogThrottle } from '@sallyport/telemetry';
import type { MqttConfig } from '../config.ts';
import { RateLimit } from '../listeners/rate-limit.ts';
import { blockListOf, familyOf } from '../listeners/start-listener.ts';
import type { BanList } from './ban-list.ts';
import { Doorkeeper } from './doorkeeper.ts';
import { Flapping } from './flapping.ts';
import { RefusedAttempts } from './refused-attempts.ts';

/** Credentials whose rate is remembered. */
const CREDENTIALS_MAX = 65_536;

const monotonic = (): number => performance.now();

/** The doorkeeper of a node as it is configured, and what it keeps of those whom it sent away. */
export function createDoorkeeper(
  config: MqttConfig,
  parts: {
    readonly bans: BanList;
    readonly logger: Pick<LogThrottle, 'warn'>;
    readonly clock: () => number;
  },
): { readonly door: Doorkeeper; readonly refused: RefusedAttempts } {
  const { bans, logger, clock } = parts;
  const refused = new RefusedAttempts({
    entriesMax: config.refusedAttemptsMax,
    keepMs: config.refusedAttemptsKeepSeconds * 1000,
    clock,
  });
  const perSecond = config.connectsPerCredentialPerSecond;
  const credentialRate =
    perSecond === 0
      ? undefined
      : new RateLimit({
          perSecond,
          burst: config.connectsPerCredentialBurst,
          keysMax: CREDENTIALS_MAX,
          clock: monotonic,
        });
  const flapping = flappingOf(config, logger);
  return { door: new Doorkeeper({ bans, flapping, credentialRate, refused }), refused };
}

function flappingOf({ flapping }: MqttConfig, logger: Pick<LogThrottle, 'warn'>): Flapping {
  const { connectsMax, windowSeconds, blockSeconds, exempt } = flapping;
  const exempted = blockListOf(exempt);
  return new Flapping({
    connectsMax,
    windowMs: windowSeconds * 1000,
    blockMs: blockSeconds * 1000,
    isExempt: (address) => exempt.length > 0 && exempted.check(address, familyOf(address)),
    onBlocked: ({ clientId, address }) => {
      count('sallyport.flapping.blocks', {});
      const fields = { clientId, address, blockSeconds };
      logger.warn('flapping', fields, 'a client connects again and again, and is blocked');
    },
  });
}
