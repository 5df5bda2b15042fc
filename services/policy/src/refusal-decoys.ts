import { type Credential, LIVE_SECRETS_MAX } from '@sallyport/domain';
import { type SecretBox, type SecretHasher, sealingContext } from '@sallyport/secrets';

/** Of no credential, because none has an empty id. */
const DECOY_ID = '';

/**
 * Credentials that are nobody's, with from no secret to as many as one can have, each sealed, and of 32 random bytes that nobody has seen:
 * to be judged, and to be opened, by those refusals that have fewer of their own.
 */
export class RefusalDecoys {
  readonly #bySecrets: readonly Credential[];

  constructor(box: Pick<SecretBox, 'seal'>, hasher: Pick<SecretHasher, 'generateSecret'>) {
    const context = sealingContext({ kind: 'credential', id: DECOY_ID });
    const secrets = Array.from({ length: LIVE_SECRETS_MAX }, (_, index) => ({
      secretId: `${index}`,
      verifier: box.seal(hasher.generateSecret().verifier, context),
      createdAt: 0,
    }));
    const never = { createdAt: 0, createdRevision: 0, updatedAt: 0, updatedRevision: 0 };
    this.#bySecrets = Array.from({ length: LIVE_SECRETS_MAX + 1 }, (_, count) => ({
      ...never,
      id: DECOY_ID,
      store: 'native',
      kind: 'password',
      name: '',
      match: {},
      enabled: true,
      superuser: false,
      passwordRequired: true,
      attributes: {},
      access: { kind: 'acl' },
      secrets: secrets.slice(0, count),
    }));
  }

  /** One with the secrets that are missing of as many as a credential can have; undefined where none are. */
  missing(secrets: number): Credential | undefined {
    return secrets < LIVE_SECRETS_MAX ? this.#bySecrets[LIVE_SECRETS_MAX - secrets] : undefined;
  }
}
