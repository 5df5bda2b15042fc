import { expect, test } from 'vitest';
import { TopicAliases } from './topic-aliases.ts';

test('tells of an alias once, and gives away the one used longest ago', () => {
  const aliases = new TopicAliases(2);
  expect(aliases.aliasOf('a')).toEqual({ alias: 1, known: false });
  expect(aliases.aliasOf('b')).toEqual({ alias: 2, known: false });
  expect(aliases.aliasOf('a')).toEqual({ alias: 1, known: true });
  expect(aliases.aliasOf('c')).toEqual({ alias: 2, known: false });
  expect(aliases.aliasOf('a')).toEqual({ alias: 1, known: true });
  expect(aliases.aliasOf('b')).toEqual({ alias: 2, known: false });
});

test('a topic whose packet was not sent is told again, and no two topics share an alias', () => {
  const aliases = new TopicAliases(3);
  for (const topic of ['a', 'b', 'c']) aliases.aliasOf(topic);
  aliases.forget('b');
  aliases.forget('never seen');
  expect(aliases.aliasOf('d')).toEqual({ alias: 2, known: false });
  expect(aliases.aliasOf('b')).toEqual({ alias: 1, known: false });
  const given = ['c', 'd', 'b'].map((topic) => aliases.aliasOf(topic).alias);
  expect(new Set(given).size).toBe(3);
});
