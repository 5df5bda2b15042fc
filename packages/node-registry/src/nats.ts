export { NatsNodeCalls, type NatsNodeCallsOptions } from './nats/nats-calls.ts';
export { type NatsNodeRegistryOptions, openNatsNodeRegistry } from './nats/nats-registry.ts';
