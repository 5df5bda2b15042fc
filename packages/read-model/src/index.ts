export type { CredentialSort, Lists, Page, PageRequest } from './lists.ts';
