export {
  DERIVED_KEY_BYTES_MAX,
  PBKDF2_DIGESTS,
  PBKDF2_MD4_WORK_MAX,
  PBKDF2_WORK_MAX,
  SALT_POSITIONS,
  SIMPLE_DIGESTS,
} from '@sallyport/domain';
export { ARGON2ID } from './argon2id.ts';
export { BCRYPT_PASSWORD_BYTES_MAX } from './chosen-hash.ts';
export { decoyOf, DEFAULT_WORK, type HashWork, workOf } from './hash-work.ts';
export {
  BCRYPT_COST_MAX,
  BCRYPT_COST_MIN,
  BYTE_ENCODINGS,
  importedVerifier,
  type ParsedHash,
  type PasswordHash,
  SALT_BYTES_MAX,
} from './imported-hash.ts';
export { isRegistration, makeRegistration, openRegistration } from './registration.ts';
export {
  checkScramProof,
  deriveScram,
  formatScramVerifier,
  parseScramVerifier,
  SCRAM_ITERATIONS,
  SCRAM_ITERATIONS_MIN,
  SCRAM_SALT_BYTES,
  scramKeyBytes,
  type ScramVerifier,
} from './scram.ts';
export {
  DEPLOYMENT_KEY_BYTES,
  type KeyPurpose,
  Sealer,
  type SealingKey,
  sealingContext,
  SecretBox,
} from './secret-box.ts';
export {
  HASH_QUEUE_MAX,
  MACHINE_SECRET_BYTES,
  SecretHasher,
  type VerifierCost,
} from './secret-hasher.ts';
export { SECRET_BYTES_MAX } from './secret-limit.ts';
