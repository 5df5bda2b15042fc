import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createLogger } from './logger.ts';
import { THROTTLE_REASONS_MAX, createLogThrottle } from './throttle.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

function setUp() {
  const lines: Record<string, unknown>[] = [];
  const logger = createLogger({
    level: 'info',
    destination: { write: (line) => void lines.push(JSON.parse(line) as Record<string, unknown>) },
  });
  const throttle = createLogThrottle({ logger, linesPerInterval: 3, intervalMs: 1000 });
  return { lines, throttle };
}

describe('the log throttle', () => {
  it('writes up to its budget for each reason, then counts', () => {
    const { lines, throttle } = setUp();
    for (let i = 0; i < 3600; i += 1) throttle.warn('malformed', { i }, 'malformed packet');
    throttle.info('other-thing', {}, 'fine');
    expect(lines.filter((line) => line['msg'] === 'malformed packet')).toHaveLength(3);
    expect(lines.at(-1)).toMatchObject({ msg: 'fine', reason: 'other-thing' });
    throttle.close();
  });

  it('tells what it left out when the interval ends, and then has a new budget', () => {
    const { lines, throttle } = setUp();
    for (let i = 0; i < 5; i += 1) throttle.warn('malformed', {}, 'malformed packet');
    vi.advanceTimersByTime(1000);
    expect(lines.at(-1)).toMatchObject({ reason: 'malformed', suppressed: 2 });
    throttle.warn('malformed', {}, 'again');
    expect(lines.at(-1)).toMatchObject({ msg: 'again' });
    vi.advanceTimersByTime(1000);
    expect(lines.at(-1)).toMatchObject({ msg: 'again' });
    throttle.close();
  });

  it('tells the rest when it is closed', () => {
    const { lines, throttle } = setUp();
    for (let i = 0; i < 4; i += 1) throttle.warn('malformed', {}, 'x');
    throttle.close();
    expect(lines.at(-1)).toMatchObject({ suppressed: 1 });
    expect(vi.getTimerCount()).toBe(0);
  });

  it('keeps a bounded number of reasons', () => {
    const { lines, throttle } = setUp();
    for (let i = 0; i < THROTTLE_REASONS_MAX * 2; i += 1) throttle.warn(`reason-${i}`, {}, 'x');
    expect(lines).toHaveLength(THROTTLE_REASONS_MAX - 1 + 3);
    throttle.close();
    expect(lines.at(-1)).toMatchObject({
      reason: 'other',
      suppressed: THROTTLE_REASONS_MAX + 1 - 3,
    });
  });
});
