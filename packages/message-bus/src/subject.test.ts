import { describe, expect, test } from 'vitest';
import { subjectOfTopic, subjectsOfFilter, tokenOf } from './subject.ts';

const syntax = { separator: '/', wildcardOne: '+', wildcardSome: '#' };
const topic = (name: string): string | undefined => subjectOfTopic('p', name, syntax);
const filter = (text: string): string[] => subjectsOfFilter('p', text, syntax);

describe('subjects', () => {
  test.each([
    ['a', 'p.m.a'],
    ['a/b/c', 'p.m.a.b.c'],
    ['a/b/c/d', 'p.m.a.b.c'],
    ['', 'p.m.%'],
    ['/', 'p.m.%.%'],
    ['a//b', 'p.m.a.%.b'],
    ['a b/c.d/*', 'p.m.a%20b.c%2ed.%2a'],
    ['>', 'p.m.%3e'],
    ['%', 'p.m.%25'],
    ['~x', 'p.m.%7ex'],
    ['ü', 'p.m.%c3%bc'],
    ['a$', 'p.m.a%24'],
    ['$SYS/n/new/clients', 'p.s.n.new.clients'],
    ['$SYS', 'p.s'],
  ])('topic %j has subject %j', (name, subject) => {
    expect(topic(name)).toBe(subject);
  });

  test.each(['$share/g/a', '$x', '$SYSTEM/a', '$'])('topic %j never leaves the node', (name) => {
    expect(topic(name)).toBeUndefined();
    expect(filter(`${name}/#`)).toEqual([]);
  });

  test.each([
    ['#', ['p.m.>']],
    ['+', ['p.m.*']],
    ['+/#', ['p.m.*', 'p.m.*.>']],
    ['a/#', ['p.m.a', 'p.m.a.>']],
    ['a/+/c', ['p.m.a.*.c']],
    ['a/b/c', ['p.m.a.b.c']],
    ['a/b/c/#', ['p.m.a.b.c']],
    ['a/b/c/d/+', ['p.m.a.b.c']],
    ['+/+/+/#', ['p.m.*.*.*']],
    ['$SYS/#', ['p.s', 'p.s.>']],
    ['$SYS/+/new/clients', ['p.s.*.new.clients']],
  ])('filter %j subscribes %j', (text, subjects) => {
    expect(filter(text)).toEqual(subjects);
  });

  test('a level of 64 bytes stands as it is, and one of 65 is hashed', () => {
    expect(tokenOf('x'.repeat(64))).toBe('x'.repeat(64));
    expect(tokenOf('x'.repeat(65))).toMatch(/^~[A-Za-z0-9_-]{43}$/);
    expect(tokenOf('ü'.repeat(10))).toHaveLength(60);
    expect(tokenOf('ü'.repeat(11))).toMatch(/^~/);
    expect(tokenOf('x'.repeat(65))).not.toBe(tokenOf('x'.repeat(66)));
  });

  test('different levels have different tokens', () => {
    const levels = ['', '%', '~', '%25', 'a', 'A', '%61', '+', '#', '.', '*', '>', ' ', '\u00a0'];
    expect(new Set(levels.map(tokenOf)).size).toBe(levels.length);
  });
});
