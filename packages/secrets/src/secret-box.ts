import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  createSecretKey,
  hkdfSync,
  type KeyObject,
} from 'node:crypto';
import { OperationalError } from '@sallyport/errors';
import { RandomPool } from './random-pool.ts';

export const DEPLOYMENT_KEY_BYTES = 32;

const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const FORMAT = 's1';

/** What others may have a key of their own for. */
export type KeyPurpose =
  | 'operator-token'
  | 'machine-secret'
  | 'scram-salt'
  | 'scram-exchange'
  | 'registration-salt'
  | 'refusal-work';

type Purpose = KeyPurpose | 'sealing' | 'fingerprint';

/** The context under which the verifiers of an object are sealed. */
export function sealingContext(object: {
  readonly kind: 'credential' | 'operator' | 'api_key' | 'trust' | 'registration';
  readonly id: string;
}): string {
  return `${object.kind}:${object.id}`;
}

/** What seals and opens verifiers, and nothing else that the deployment key is for. May be sent to another thread. */
export interface SealingKey {
  readonly key: KeyObject;
  readonly keyId: string;
}

/** Seals verifiers, also on a thread that has no need of the deployment key. */
export class Sealer {
  readonly #key: KeyObject;
  readonly #prefix: string;
  readonly #nonces = new RandomPool();

  constructor({ key, keyId }: SealingKey) {
    this.#key = key;
    this.#prefix = `${FORMAT}.${keyId}.`;
  }

  /** Seals a verifier with AES-256-GCM. `context` names its object; it opens under no other. */
  seal(plaintext: string, context: string): string {
    const nonce = this.#nonces.take(NONCE_BYTES);
    const cipher = createCipheriv('aes-256-gcm', this.#key, nonce);
    cipher.setAAD(Buffer.from(context));
    const body = cipher.update(plaintext, 'utf8');
    const sealed = Buffer.concat([nonce, body, cipher.final(), cipher.getAuthTag()]);
    return this.#prefix + sealed.toString('base64');
  }
}

/** The deployment key, and all that is derived from it. Whoever holds it can read every sealed verifier. */
export class SecretBox {
  readonly #deploymentKey: Buffer;
  readonly #sealingKey: KeyObject;
  readonly #fingerprintKey: Uint8Array;
  readonly #sealer: Sealer;
  /** Names the key without telling it; part of everything sealed under it. */
  readonly keyId: string;

  /** `deploymentKey` is 32 random bytes. @throws OperationalError `config_invalid` for any other length */
  constructor(deploymentKey: Uint8Array) {
    if (deploymentKey.length !== DEPLOYMENT_KEY_BYTES) {
      throw new OperationalError(
        'config_invalid',
        `secrets.key must be ${DEPLOYMENT_KEY_BYTES} bytes, it has ${deploymentKey.length}`,
      );
    }
    this.#deploymentKey = Buffer.from(deploymentKey);
    const sealingKey = this.#derive('sealing');
    // Prepared once: made from bytes at each seal it costs a third of sealing.
    this.#sealingKey = createSecretKey(sealingKey);
    this.#fingerprintKey = this.#derive('fingerprint');
    this.keyId = createHash('sha256').update(sealingKey).digest('hex').slice(0, 8);
    this.#sealer = new Sealer(this.sealingKey);
  }

  /** Reads the base64 text of a configuration. @throws OperationalError `config_invalid` */
  static fromBase64(text: string): SecretBox {
    return new SecretBox(Buffer.from(text, 'base64'));
  }

  #derive(purpose: Purpose): Uint8Array {
    return new Uint8Array(hkdfSync('sha256', this.#deploymentKey, '', `sallyport/${purpose}`, 32));
  }

  /** For a `Sealer` on another thread. */
  get sealingKey(): SealingKey {
    return { key: this.#sealingKey, keyId: this.keyId };
  }

  /** As `Sealer` does. */
  seal(plaintext: string, context: string): string {
    return this.#sealer.seal(plaintext, context);
  }

  /** @throws OperationalError `sealing_key_mismatch` for another key, another context, or bytes that were changed */
  open(sealed: string, context: string): string {
    const [format, keyId, encoded] = sealed.split('.');
    if (format !== FORMAT || keyId !== this.keyId || encoded === undefined) {
      throw new OperationalError(
        'sealing_key_mismatch',
        `a secret is sealed under key ${keyId ?? '?'}, and secrets.key is ${this.keyId}`,
      );
    }
    try {
      const bytes = Buffer.from(encoded, 'base64');
      const nonce = bytes.subarray(0, NONCE_BYTES);
      const tag = bytes.subarray(bytes.length - TAG_BYTES);
      const decipher = createDecipheriv('aes-256-gcm', this.#sealingKey, nonce, {
        authTagLength: TAG_BYTES,
      });
      decipher.setAAD(Buffer.from(context));
      decipher.setAuthTag(tag);
      const body = bytes.subarray(NONCE_BYTES, bytes.length - TAG_BYTES);
      return Buffer.concat([decipher.update(body), decipher.final()]).toString('utf8');
    } catch (cause) {
      throw new OperationalError('sealing_key_mismatch', `a secret of ${context} does not open`, {
        cause,
      });
    }
  }

  /** Keyed digest of a request, hex: tells a retry from a reuse without storing what was sent. */
  fingerprint(text: string): string {
    return createHmac('sha256', this.#fingerprintKey).update(text).digest('hex');
  }

  /** A key for one purpose, 32 bytes. */
  derive(purpose: KeyPurpose): Uint8Array {
    return this.#derive(purpose);
  }
}
