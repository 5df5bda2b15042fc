export type { CredentialSort, Lists, Page, PageRequest } from './lists.ts';
export { FOLD_COMMITS_MAX, ReadModel, type ReadModelOptions } from './read-model.ts';
export { SCHEMA_VERSION } from './schema.ts';
