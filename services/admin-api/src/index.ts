export { BOOTSTRAP_ADMIN, bootstrap, type Bootstrapped } from './bootstrap.ts';
export {
  adminApiConfigSchema,
  type AdminApiConfig,
  adminConfigCheck,
  type BootstrapConfig,
  bootstrapSection,
  checkAdminApiConfig,
  chosenPasswordsSection,
  type HttpConfig,
  httpSection,
  type RegistrationConfig,
  registrationSection,
} from './config.ts';
export { IssuingAuthority } from './issuing/issuing-authority.ts';
export { loadIssuingAuthority } from './issuing/load-issuing-authority.ts';
export type { AdminApiPorts, AdminReadModel, AdminTelemetry } from './ports.ts';
export { type AdminApi, createAdminApi } from './service.ts';
export {
  type RegistrationWriterPorts,
  writeRegistrations,
} from './registration/registration-writer.ts';
export { type RehashWriterPorts, writeRehashes } from './rehash/rehash-writer.ts';
