import { expect, test } from 'vitest';
import { compareRandomWorld } from './testing/compare-worlds.ts';
import { filterMatches } from './testing/world-oracle.ts';

/** `npm run bench -- rules --random 100000` asks more of them. */
const RANDOM_WORLDS = 1000;

test('random credentials, groups, roles and tables are answered as the documents say', () => {
  const first = Math.floor(Math.random() * 2 ** 31);
  console.log(`random worlds from seed ${first}`);
  for (let index = 0; index < RANDOM_WORLDS; index++) {
    const difference = compareRandomWorld(first + index);
    if (difference !== undefined) expect.fail(JSON.stringify(difference));
  }
}, 120_000);

test('the oracle has no match of topics from elsewhere, and it is right', () => {
  const matched = (filter: string) =>
    ['a', 'a/b', 'a/b/c', '/a', '$s', '$s/a'].filter((topic) => filterMatches(filter, topic));
  expect(matched('#')).toEqual(['a', 'a/b', 'a/b/c', '/a']);
  expect(matched('a/#')).toEqual(['a', 'a/b', 'a/b/c']);
  expect(matched('+/+')).toEqual(['a/b', '/a']);
  expect(matched('+')).toEqual(['a']);
  expect(matched('$s/#')).toEqual(['$s', '$s/a']);
});
