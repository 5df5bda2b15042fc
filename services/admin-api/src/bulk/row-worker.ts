import { parentPort, workerData } from 'node:worker_threads';
import { assert } from '@sallyport/errors';
import { Sealer } from '@sallyport/secrets';
import { createChecker } from '../http/validation.ts';
import { OrderedIds } from './ordered-id.ts';
import { readyRows } from './ready-rows.ts';
import type { RowsAsked, RowsMade, WorkshopStart } from './row-workshop.ts';

// The thread of a `RowWorkshop`.
assert(parentPort !== null, 'is started as a thread');
const port = parentPort;
const { sealingKey, schema } = workerData as WorkshopStart; // As `RowWorkshop` starts it.
const tools = { check: createChecker(schema), box: new Sealer(sealingKey) };
const ids = new OrderedIds();

port.on('message', ({ at, texts }: RowsAsked) => {
  const made: RowsMade = readyRows(texts, tools, { at, id: () => ids.next(at) });
  port.postMessage(made);
});
port.postMessage([] satisfies RowsMade);
