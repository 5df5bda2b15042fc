export { DEPLOYMENT_KEY_BYTES, sealingContext, SecretBox } from './secret-box.ts';
export {
  ARGON2ID,
  HASH_QUEUE_MAX,
  MACHINE_SECRET_BYTES,
  SECRET_BYTES_MAX,
  SecretHasher,
  type VerifierCost,
} from './secret-hasher.ts';
