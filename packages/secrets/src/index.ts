export type { SecretBox, SecretHasher } from './port.ts';
