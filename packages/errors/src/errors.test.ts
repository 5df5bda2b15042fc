import { describe, expect, test } from 'vitest';
import { assert, AssertionError, unreachable } from './assert.ts';
import { type ErrorCode, type ErrorFacts, errorFacts } from './error-facts.ts';
import { isOperational, OperationalError } from './operational-error.ts';

const all = Object.entries(errorFacts) as [ErrorCode, ErrorFacts][]; // Keys of the catalogue.

describe('the catalogue', () => {
  test.each(all)(
    '%s has an error status, a title of its own and no contradiction',
    (code, facts) => {
      expect(code).toMatch(/^[a-z]+(_[a-z]+)*$/);
      expect(facts.http).toBeGreaterThanOrEqual(400);
      expect(facts.http).toBeLessThan(600);
      expect(facts.title).toMatch(/^[A-Z][^.]*[^.]$/);
      // What a client may simply repeat is never a fault of its request.
      if (facts.retryable) expect([409, 429, 503]).toContain(facts.http);
      if (facts.connack === 'server_unavailable') expect(facts.http).toBe(503);
    },
  );

  test('no two codes share a title', () => {
    expect(new Set(all.map(([, facts]) => facts.title)).size).toBe(all.length);
  });
});

describe('failures and bugs', () => {
  test('an operational error knows its code, its cause and whether to try again', () => {
    const cause = new Error('driver text');
    const error = new OperationalError('log_unavailable', 'append', { cause });
    expect(error).toMatchObject({ code: 'log_unavailable', retryable: true, cause });
    expect(error.message).not.toContain('driver text');
    expect(isOperational(error, 'log_unavailable')).toBe(true);
    expect(isOperational(error, 'log_conflict')).toBe(false);
    expect(isOperational(cause, 'log_unavailable')).toBe(false);
    expect(isOperational({ code: 'log_unavailable' }, 'log_unavailable')).toBe(false);
    expect(new OperationalError('log_diverged', 'x').retryable).toBe(false);
  });

  test('a bug is no operational error', () => {
    expect(() => assert(false, 'must hold')).toThrow(AssertionError);
    expect(() => assert(1, 'truthy is not true')).toThrow(AssertionError);
    expect(() => assert(true, 'holds')).not.toThrow();
    expect(() => unreachable({ type: 'x' } as never)).toThrow('{"type":"x"}');
  });
});
