import { describe, expect, test } from 'vitest';
import { isOperational } from '@sallyport/errors';
import { BUS_TOPIC_LEVELS_MAX, createLocalBus } from './index.ts';
import { mqemitterContract } from '../test-support/contract.ts';

describe('the local bus', () => {
  mqemitterContract(
    () => Promise.resolve({}),
    (_opened, options) => createLocalBus(options),
  );

  test('MQTT-3.1.1 [MQTT-4.7.2-1] a leading wildcard never gets a topic that starts with $', () => {
    const bus = createLocalBus();
    const seen: string[] = [];
    for (const filter of ['#', '+/x', '$SYS/#', '$SYS/+']) {
      bus.on(filter, (message, done) => {
        seen.push(`${filter} ${message.topic}`);
        done();
      });
    }
    bus.emit({ topic: '$SYS/x' });
    bus.emit({ topic: 'a/x' });
    expect(seen.sort()).toEqual(['# a/x', '$SYS/# $SYS/x', '$SYS/+ $SYS/x', '+/x a/x']);
  });

  test('a listener of a wildcard filter can be removed', async () => {
    const bus = createLocalBus();
    const seen: string[] = [];
    const listener = (message: { topic: string }, done: () => void): void => {
      seen.push(message.topic);
      done();
    };
    bus.on('#', listener);
    bus.on('+', listener);
    await new Promise<void>((resolve) => bus.removeListener('#', listener, resolve));
    bus.emit({ topic: 'a' });
    expect(seen).toEqual(['a']);
  });

  test('a topic one level too deep is an error of the callback, not a throw', async () => {
    const bus = createLocalBus();
    const emit = (levels: number): Promise<unknown> =>
      new Promise((resolve) => bus.emit({ topic: 'a/'.repeat(levels - 1) + 'a' }, resolve));
    expect(await emit(BUS_TOPIC_LEVELS_MAX)).toBeFalsy();
    const error = await emit(BUS_TOPIC_LEVELS_MAX + 1);
    expect(isOperational(error, 'message_bus_unavailable')).toBe(true);
  });

  test('a closed bus is not connected, and says so to who emits', async () => {
    const bus = createLocalBus();
    expect(bus.connected).toBe(true);
    await new Promise<void>((resolve) => bus.close(resolve));
    expect(bus.connected).toBe(false);
    const error = await new Promise((resolve) => bus.emit({ topic: 'a' }, resolve));
    expect(isOperational(error, 'message_bus_unavailable')).toBe(true);
  });

  test('a listener that never finishes holds up nobody', () => {
    const bus = createLocalBus();
    let seen = 0;
    bus.on('a', () => undefined);
    bus.on('a', (_message, done) => {
      seen++;
      done();
    });
    for (let count = 0; count < 1000; count++) bus.emit({ topic: 'a' });
    expect(seen).toBe(1000);
    expect(bus.length).toBe(0);
  });
});
