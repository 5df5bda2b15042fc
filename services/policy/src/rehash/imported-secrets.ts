/** Whoever keeps secrets that were imported as hashes in our own form once they are known. */
export interface ImportedSecrets {
  /**
   * A password has opened an imported hash. Returns at once and never throws: a login waits for nothing of it, and what is dropped
   * comes again with the next login.
   */
  proven(secret: { readonly id: string; readonly secretId: string }, password: Uint8Array): void;
}
