import { describeNodeCallsContract } from '../test-support/calls-contract.ts';
import { LocalNodeCalls } from './local-calls.ts';

describeNodeCallsContract('LocalNodeCalls', async () => {
  const calls = new LocalNodeCalls();
  return { node: calls, asker: calls, [Symbol.asyncDispose]: () => calls[Symbol.asyncDispose]() };
});
