import { describeNodeRegistryContract } from './contract.ts';
import { MemoryNodeRegistry } from './memory-registry.ts';

describeNodeRegistryContract('MemoryNodeRegistry', async () => {
  const registry = new MemoryNodeRegistry();
  return {
    open: async () => registry,
    [Symbol.asyncDispose]: () => registry[Symbol.asyncDispose](),
  };
});
