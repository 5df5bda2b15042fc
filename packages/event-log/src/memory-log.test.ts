import { describeEventLogContract } from './contract.ts';
import { MemoryEventLog } from './memory-log.ts';

describeEventLogContract('MemoryEventLog', {
  restarts: false,
  start: async (records) => {
    const log = new MemoryEventLog(records);
    return {
      open: async () => log,
      [Symbol.asyncDispose]: () => log[Symbol.asyncDispose](),
    };
  },
});
