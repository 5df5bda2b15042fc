import { parentPort, workerData } from 'node:worker_threads';
import { assert } from '@sallyport/errors';
import { Sealer, type SealingKey } from '@sallyport/secrets';
import { OrderedIds } from './ordered-id.ts';
import { readyRows } from './ready-rows.ts';
import type { RowsAsked, RowsMade } from './row-workshop.ts';

// The thread of a `RowWorkshop`.
assert(parentPort !== null, 'is started as a thread');
const port = parentPort;
const box = new Sealer(workerData as SealingKey); // As `RowWorkshop` starts it.
const ids = new OrderedIds();

port.on('message', ({ at, texts }: RowsAsked) => {
  const made: RowsMade = readyRows(texts, box, { at, id: () => ids.next(at) });
  port.postMessage(made);
});
port.postMessage([] satisfies RowsMade);
