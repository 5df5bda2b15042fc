import { describe, expect, it } from 'vitest';
import { FakeClock } from './fake-clock.ts';

describe('FakeClock', () => {
  it('moves only when told', async () => {
    const clock = new FakeClock(1000);
    expect(clock.now()).toBe(1000);
    await clock.advance(500);
    expect(clock.now()).toBe(1500);
    expect(clock.isoNow()).toBe('1970-01-01T00:00:01.500Z');
  });

  it('runs timers in order at their own time, those included that a timer sets', async () => {
    const clock = new FakeClock(0);
    const seen: [string, number][] = [];
    const note = (name: string) => () => void seen.push([name, clock.now()]);
    clock.setTimeout(note('late'), 30);
    clock.setTimeout(() => {
      note('early')();
      clock.setTimeout(note('nested'), 5);
    }, 10);
    const interval = clock.setInterval(note('tick'), 12);
    clock.clear(clock.setTimeout(note('never'), 1));
    await clock.advance(29);
    expect(seen).toEqual([
      ['early', 10],
      ['tick', 12],
      ['nested', 15],
      ['tick', 24],
    ]);
    clock.clear(interval);
    await clock.advance(1);
    expect(seen.at(-1)).toEqual(['late', 30]);
    expect(clock.pendingTimers).toBe(0);
  });

  it('lets promises settle between timers', async () => {
    const clock = new FakeClock(0);
    const seen: string[] = [];
    clock.setTimeout(() => void Promise.resolve().then(() => seen.push('after first')), 1);
    clock.setTimeout(() => seen.push('second'), 2);
    await clock.advance(2);
    expect(seen).toEqual(['after first', 'second']);
  });
});
