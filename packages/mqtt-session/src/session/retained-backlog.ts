import type { Message } from '../message.ts';
import type { DeliveryTerms } from './outbound.ts';

/** The retained messages of one subscription just made. */
export interface RetainedBatch {
  readonly terms: DeliveryTerms;
  /** Until the store has answered: topics that have had a newer message since it was asked. */
  newer: Set<string> | undefined;
  /** Topics whose retained message is still the newest. */
  current: Set<string>;
  messages: readonly Message[];
  next: number;
}

/**
 * Retained messages that wait for their client to take them. One whose topic has had a newer message since the store was asked is
 * left out: it would be out of date behind that.
 */
export class RetainedBacklog {
  readonly #batches: RetainedBatch[] = [];

  get isEmpty(): boolean {
    return this.#batches.length === 0;
  }

  /** To be called before the store is asked. */
  begin(terms: DeliveryTerms): RetainedBatch {
    const batch = {
      terms,
      newer: new Set<string>(),
      current: new Set<string>(),
      messages: [],
      next: 0,
    };
    this.#batches.push(batch);
    return batch;
  }

  /** What the store has answered. */
  found(batch: RetainedBatch, messages: readonly Message[]): void {
    for (const { topic } of messages)
      if (batch.newer?.has(topic) !== true) batch.current.add(topic);
    batch.newer = undefined;
    batch.messages = messages;
  }

  /** A message of this topic has come from the bus. */
  outdate(topic: string): void {
    for (const { newer, current } of this.#batches) {
      if (newer === undefined) current.delete(topic);
      else newer.add(topic);
    }
  }

  /** What is to be sent next, without taking it. */
  peek(): { readonly message: Message; readonly terms: DeliveryTerms } | undefined {
    for (let batch = this.#batches[0]; batch !== undefined; batch = this.#batches[0]) {
      if (batch.newer !== undefined) return undefined;
      for (; batch.next < batch.messages.length; batch.next++) {
        const message = batch.messages[batch.next];
        if (message !== undefined && batch.current.has(message.topic)) {
          return { message, terms: batch.terms };
        }
      }
      this.#batches.shift();
    }
    return undefined;
  }

  /** Takes what `peek` has shown. */
  take(): void {
    const batch = this.#batches[0];
    if (batch !== undefined) batch.next++;
  }

  clear(): void {
    this.#batches.length = 0;
  }
}
