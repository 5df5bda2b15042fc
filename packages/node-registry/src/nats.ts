export { type NatsNodeRegistryOptions, openNatsNodeRegistry } from './nats/nats-registry.ts';
