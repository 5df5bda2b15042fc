import { describe, expect, it } from 'vitest';
import { PATTERN_LENGTH_MAX, parseTopicPattern } from './index.ts';
import { type KeywordPattern, parseKeywordPattern, quotedPattern } from './keyword-pattern.ts';

function parsed(source: string): KeywordPattern {
  const result = parseKeywordPattern(source);
  if (!result.ok) throw new Error(result.problem);
  return result.value;
}

describe('parseKeywordPattern', () => {
  it.each([
    ['(', /not closed/],
    ['(a)\\1', /./],
    ['(?=a)', /look-ahead/],
    ['x'.repeat(PATTERN_LENGTH_MAX + 1), /at most 1024/],
    ['a$b', /only at its end/],
  ])('refuses %j', (source, problem) => {
    expect(parseKeywordPattern(source)).toMatchObject({
      ok: false,
      problem: expect.stringMatching(problem) as unknown,
    });
  });

  it('answers a hostile name in linear time', () => {
    const before = process.cpuUsage().user;
    expect(parsed('(a+)+b').keyword('a'.repeat(20_000))).toBeUndefined();
    // Of processor time: the tests share their machine.
    expect(process.cpuUsage().user - before).toBeLessThan(2_000_000);
  });

  it.each([
    // Measured with Java 17 by the authors of the compatibility notes: greedy before, so the last one is taken.
    ['.*(abc|123).*', 'xabc-123', '123'],
    ['(abc|123)', 'xabc-123', 'abc'],
    ['device-(\\w+)-', 'my device-pump-7', 'pump'],
    ['^(pump)', 'a pump', undefined],
    ['(a)|b', 'b', undefined],
    ['(\\d*)x', 'x', ''],
  ])('finds with %j in %j: %j', (source, text, found) => {
    expect(parsed(source).keyword(text)).toBe(found);
  });

  it('finds without a group, and counts groups', () => {
    expect(parsed('pump').find('my pump 7')).toBe(true);
    expect(parsed('pump').find('my pimp 7')).toBe(false);
    expect([parsed('pump').groups, parsed('(a)(?:b)(c)').groups]).toEqual([0, 2]);
  });
});

it('a quoted text matches itself only', () => {
  const text = 'a.b*c+[d](e){f}^$|?\\g-#';
  const result = parseTopicPattern(quotedPattern(text));
  if (!result.ok) throw new Error(result.problem);
  expect(result.value.matches(text)).toBe(true);
  expect(result.value.matches(text.replace('.', 'x'))).toBe(false);
});
