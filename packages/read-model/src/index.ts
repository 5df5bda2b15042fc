export type {
  BanSort,
  CredentialPageRequest,
  CredentialSort,
  DynsecSort,
  GroupSort,
  IssuedCertificatePageRequest,
  IssuedCertificateSort,
  Lists,
  Page,
  PageRequest,
  RegistrationSort,
  RoleSort,
  Snapshot,
} from './lists.ts';
export {
  FOLD_COMMITS_MAX,
  FOLD_EVENTS_MAX,
  ReadModel,
  type ReadModelOptions,
  SNAPSHOTS_MAX,
} from './read-model.ts';
export { SCHEMA_VERSION } from './schema.ts';
