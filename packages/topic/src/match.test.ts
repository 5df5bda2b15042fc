import fc from 'fast-check';
import { expect, test } from 'vitest';
import { levelsOf } from './levels.ts';
import { isReserved, matches } from './match.ts';

const matchesText = (filter: string, name: string): boolean =>
  matches(levelsOf(filter), levelsOf(name));

test.each([
  ['sport/tennis/player1', 'sport/tennis/player1', true],
  ['sport/tennis/player1/#', 'sport/tennis/player1', true],
  ['sport/tennis/player1/#', 'sport/tennis/player1/score/wimbledon', true],
  ['sport/#', 'sport', true],
  ['sport/#', 'sports', false],
  ['#', 'a/b/c', true],
  ['sport/tennis/+', 'sport/tennis/player1', true],
  ['sport/tennis/+', 'sport/tennis/player1/ranking', false],
  ['sport/+', 'sport', false],
  ['sport/+', 'sport/', true],
  ['+/+', '/finance', true],
  ['/+', '/finance', true],
  ['+', '/finance', false],
  ['a//b', 'a//b', true],
  ['a/+/b', 'a//b', true],
  ['a/b', 'a//b', false],
  ['A', 'a', false],
  ['+/#', '/', true],
  ['a/+/#', 'a', false],
  ['a/+/#', 'a/b', true],
])('MQTT-3.1.1 §4.7.1 the filter %j against the name %j: %s', (filter, name, expected) => {
  expect(matchesText(filter, name)).toBe(expected);
});

test.each([
  ['#', '$SYS/uptime', false],
  ['+/uptime', '$SYS/uptime', false],
  ['+', '$', false],
  ['$SYS/#', '$SYS/uptime', true],
  ['$SYS/+', '$SYS/uptime', true],
  ['$SYS/#', '$SYS', true],
  ['a/+', 'a/$SYS', true],
  ['a/#', 'a/$SYS', true],
])('MQTT-3.1.1 [MQTT-4.7.2-1] the filter %j against the name %j: %s', (filter, name, expected) => {
  expect(matchesText(filter, name)).toBe(expected);
});

test('only the first character makes a topic reserved', () => {
  expect(['$', '$SYS/a', 'a$', 'a/$SYS', '', '/$'].map(isReserved)).toEqual([
    true,
    true,
    false,
    false,
    false,
    false,
  ]);
});

const level = fc.constantFrom('a', 'b', '', '$x', 'ab');
const name = fc.array(level, { minLength: 1, maxLength: 5 });
const filter = fc
  .tuple(fc.array(fc.oneof(level, fc.constant('+')), { maxLength: 5 }), fc.boolean())
  .map(([levels, hash]) => (hash || levels.length === 0 ? [...levels, '#'] : levels));

/** The specification as a regular expression over the joined text. */
function expressionOf(levels: readonly string[]): RegExp {
  const hash = levels.at(-1) === '#';
  const fixed = (hash ? levels.slice(0, -1) : levels).map((one) =>
    one === '+' ? '[^/]*' : one.replaceAll('$', '\\$'),
  );
  if (!hash) return new RegExp(`^${fixed.join('/')}$`);
  return fixed.length === 0 ? /^.*$/ : new RegExp(`^${fixed.join('/')}(/.*)?$`);
}

test('a match is what the same filter as a regular expression says', () => {
  fc.assert(
    fc.property(filter, name, (filterLevels, nameLevels) => {
      const wild = filterLevels[0] === '+' || filterLevels[0] === '#';
      const hidden = wild && (nameLevels[0] ?? '').startsWith('$');
      const expected = !hidden && expressionOf(filterLevels).test(nameLevels.join('/'));
      expect(matches(filterLevels, nameLevels)).toBe(expected);
    }),
    { numRuns: 2000 },
  );
});
