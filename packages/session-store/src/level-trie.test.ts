import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { levelsOf, matches } from '@sallyport/topic';
import { LevelTrie } from './level-trie.ts';

const level = fc.constantFrom('', 'a', 'b', '$x', '__proto__', 'constructor');
const name = fc.array(level, { minLength: 1, maxLength: 4 }).map((levels) => levels.join('/'));
const filter = fc
  .tuple(
    fc.array(fc.oneof(level, fc.constant('+')), { minLength: 0, maxLength: 3 }),
    fc.constantFrom([], ['#'], ['+'], ['a']),
  )
  .map(([levels, end]) => [...levels, ...end])
  .filter((levels) => levels.length > 0)
  .map((levels) => levels.join('/'));

const matchesText = (topicFilter: string, topicName: string): boolean =>
  matches(levelsOf(topicFilter), levelsOf(topicName));

describe('the trie of topics', () => {
  test('finds what a comparison with every entry finds, in both directions, after removals', () => {
    const cases = fc.record({
      names: fc.uniqueArray(name, { maxLength: 20 }),
      filters: fc.uniqueArray(filter, { maxLength: 20 }),
      gone: fc.array(fc.oneof(name, filter), { maxLength: 10 }),
    });
    fc.assert(
      fc.property(cases, ({ names, filters, gone }) => {
        const [byName, byFilter] = [new LevelTrie<string>(), new LevelTrie<string>()];
        for (const each of names) byName.set(each, each);
        for (const each of filters) byFilter.set(each, each);
        for (const each of gone) {
          byName.delete(each);
          byFilter.delete(each);
        }
        const namesLeft = names.filter((each) => !gone.includes(each));
        const filtersLeft = filters.filter((each) => !gone.includes(each));
        expect([byName.size, byFilter.size]).toEqual([namesLeft.length, filtersLeft.length]);
        for (const topicName of names) {
          expect(byFilter.filtersMatching(topicName).sort()).toEqual(
            filtersLeft.filter((each) => matchesText(each, topicName)).sort(),
          );
        }
        for (const topicFilter of filters) {
          expect(byName.namesMatching(topicFilter).sort()).toEqual(
            namesLeft.filter((each) => matchesText(topicFilter, each)).sort(),
          );
        }
      }),
      { numRuns: 2000 },
    );
  });

  test('a name whose level is a wildcard is no filter', () => {
    const trie = new LevelTrie<string>();
    trie.set('a/+', 'one');
    trie.set('a/#', 'some');
    expect(trie.filtersMatching('a/+')).toEqual(['some', 'one']);
    expect(trie.filtersMatching('a/#')).toEqual(['some', 'one']);
  });

  test('a value is replaced, found and cleared', () => {
    const trie = new LevelTrie<number>();
    trie.set('a/b', 1);
    trie.set('a/b', 2);
    expect([trie.size, trie.get('a/b'), trie.get('a'), trie.get('a/b/c')]).toEqual([
      1,
      2,
      undefined,
      undefined,
    ]);
    trie.clear();
    expect([trie.size, trie.get('a/b')]).toEqual([0, undefined]);
  });
});
