/** The deployment key and all that is derived from it. */
export interface SecretBox {
  /** Seals a verifier (AES-256-GCM). `context` binds it to its object, so that it opens nowhere else. */
  seal(plaintext: string, context: string): string;
  /** @throws OperationalError `sealing_key_mismatch` */
  open(sealed: string, context: string): string;
  /** Keyed digest of a request, hex; tells a retry from a reuse without storing what was sent. */
  fingerprint(text: string): string;
  /** A key for one purpose, 32 bytes. */
  derive(purpose: 'operator-token' | 'machine-secret'): Uint8Array;
}

/** Creates and verifies secrets; expensive work runs off the event loop in a bounded pool that sheds load. */
export interface SecretHasher {
  /** argon2id, for secrets chosen by people. Answers the verifier, unsealed. @throws OperationalError `hash_pool_full` */
  hashPassword(password: string): Promise<string>;
  /** A new secret of 128 random bits or more with its verifier (keyed SHA-256), unsealed. */
  generateSecret(): { readonly secret: string; readonly verifier: string };
  /** Whether `secret` is what `verifier` was made from, for every format that we accept. @throws OperationalError `hash_pool_full` */
  verify(verifier: string, secret: Uint8Array): Promise<boolean>;
}
