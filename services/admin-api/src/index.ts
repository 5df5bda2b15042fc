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
} from './config.ts';
export type { AdminApiPorts, AdminReadModel, AdminTelemetry } from './ports.ts';
export { type AdminApi, createAdminApi } from './service.ts';
export {
  type RegistrationWriterPorts,
  writeRegistrations,
} from './registration/registration-writer.ts';
export { type RehashWriterPorts, writeRehashes } from './rehash/rehash-writer.ts';
