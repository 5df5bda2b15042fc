import { count, type LogThrottle } from '@sallyport/telemetry';
import type { MqttConfig } from '../config.ts';
import { RateLimit } from '../listeners/rate-limit.ts';
import { blockListOf, familyOf } from '../listeners/start-listener.ts';
import type { BanList } from './ban-list.ts';
import { Doorkeeper } from './doorkeeper.ts';
import { Flapping } from './flapping.ts';
import { Guessing } from './guessing.ts';
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
  const door = new Doorkeeper({
    bans,
    flapping: flappingOf(config, 'client', logger),
    credentialFlapping: flappingOf(config, 'credential', logger),
    guessing: guessingOf(config, logger),
    credentialRate,
    refused,
  });
  return { door, refused };
}

/** Whether an address is one of those in the configuration. */
function exemptionOf(exempt: readonly string[]): (address: string) => boolean {
  const exempted = blockListOf(exempt);
  return (address) => exempt.length > 0 && exempted.check(address, familyOf(address));
}

function flappingOf(
  { flapping }: MqttConfig,
  of: 'client' | 'credential',
  logger: Pick<LogThrottle, 'warn'>,
): Flapping {
  const { connectsMax, credentialConnectsMax, windowSeconds, blockSeconds, exempt } = flapping;
  return new Flapping({
    connectsMax: of === 'client' ? connectsMax : credentialConnectsMax,
    windowMs: windowSeconds * 1000,
    blockMs: blockSeconds * 1000,
    isExempt: exemptionOf(exempt),
    onBlocked: ({ name, address }) => {
      count('sallyport.flapping.blocks', { kind: of });
      const who = of === 'client' ? { clientId: name } : { credentialId: name };
      const fields = { ...who, address, blockSeconds };
      logger.warn(`flapping ${of}`, fields, `a ${of} connects again and again, and is blocked`);
    },
  });
}

function guessingOf({ guessing }: MqttConfig, logger: Pick<LogThrottle, 'warn'>): Guessing {
  const { failuresMax, sourceFailuresMax, exempt } = guessing;
  return new Guessing({
    failuresMax,
    sourceFailuresMax,
    delayMs: guessing.delaySeconds * 1000,
    delayMsMax: guessing.delaySecondsMax * 1000,
    forgetMs: guessing.forgetSeconds * 1000,
    isExempt: exemptionOf(exempt),
    onDelayed: ({ of, delayMs, ...fields }) => {
      count('sallyport.guessing.delays', { kind: of });
      const told = { ...fields, delaySeconds: delayMs / 1000 };
      logger.warn(`guessing ${of}`, told, `secrets are guessed: the ${of} must wait`);
    },
  });
}
