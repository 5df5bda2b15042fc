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
export { DEPLOYMENT_KEY_BYTES, type KeyPurpose, sealingContext, SecretBox } from './secret-box.ts';
export {
  ARGON2ID,
  HASH_QUEUE_MAX,
  MACHINE_SECRET_BYTES,
  SECRET_BYTES_MAX,
  SecretHasher,
  type VerifierCost,
} from './secret-hasher.ts';
