export type {
  BanSort,
  CredentialPageRequest,
  CredentialSort,
  Lists,
  Page,
  PageRequest,
  RoleSort,
} from './lists.ts';
export { FOLD_COMMITS_MAX, ReadModel, type ReadModelOptions } from './read-model.ts';
export { SCHEMA_VERSION } from './schema.ts';
