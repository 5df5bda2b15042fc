import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { PATTERN_REPEATS_MAX, PATTERN_STATES_MAX } from './java-pattern.ts';
import {
  parseTopicPattern,
  PATTERN_LENGTH_MAX,
  plainCovers,
  type TopicPattern,
} from './pattern.ts';

function pattern(source: string): TopicPattern {
  const parsed = parseTopicPattern(source);
  if (!parsed.ok) throw new Error(`${source}: ${parsed.problem}`);
  return parsed.value;
}

function problem(source: string): string {
  const parsed = parseTopicPattern(source);
  return parsed.ok ? 'accepted' : parsed.problem;
}

describe('what Java refuses', () => {
  test.each([
    ['{', '{'],
    ['a{', '\\{'],
    ['devices/{id}/.*', '\\{'],
    ['a{,3}', '\\{'],
    ['a{3,1}', 'end is before its start'],
    ['(?P<n>a)', '(?'],
    ['(?#comment)', '(?'],
    ['(?<1>a)', '(?'],
    ['(?<n>a)(?<n>b)', 'twice'],
    ['\\y', '\\y'],
    ['\\E', '\\E'],
    ['a\\', 'backslash'],
    ['\\x4', 'hexadecimal'],
    ['\\x{110000}', 'hexadecimal'],
    ['\\u00', 'hexadecimal'],
    ['\\0', 'octal'],
    ['*', 'nothing to repeat'],
    ['a**', 'nothing to repeat'],
    ['+', 'nothing to repeat'],
    ['(?i)*', 'nothing to repeat'],
    ['(a', 'not closed'],
    ['a)', 'not open'],
    ['[', 'not closed'],
    ['[]', 'not closed'],
    ['[a', 'not closed'],
    ['[a-', 'not closed'],
    ['[c-a]', 'range'],
    ['[a-\\d]', 'range'],
    ['[\\b]', '\\b'],
    ['\\p{Latin}', 'Latin'],
    ['(?z)a', '(?z)'],
  ])('%j is refused, naming %j', (source, named) => {
    expect(problem(source)).toContain(named);
  });
});

describe('what no linear-time engine does as Java does', () => {
  test.each([
    ['(?=a)', 'look-ahead'],
    ['(?!a)', 'look-ahead'],
    ['(?<=a)b', 'look-behind'],
    ['(?<!a)b', 'look-behind'],
    ['(a)\\1', 'back-reference'],
    ['(?<n>a)\\k<n>', 'back-reference'],
    ['(?>a)', 'atomic'],
    ['a++', 'possessive'],
    ['a*+', 'possessive'],
    ['a?+', 'possessive'],
    ['a{2}+', 'possessive'],
    ['[[]', 'nest'],
    ['[a[b]]', 'nest'],
    ['[[:alpha:]]', 'nest'],
    ['[a-z&&[^b]]', '&&'],
    ['[&&]', '&&'],
    ['(?x)a b', '(?x)'],
    ['(?d)a', '(?d)'],
    ['(?U)\\w', '(?U)'],
    ['(?u)a', '(?u)'],
    ['(?m)^a', '(?m)'],
    ['\\Ga', '\\G'],
    ['\\X', '\\X'],
    ['\\R', '\\R'],
    ['\\bword', '\\b'],
    ['\\N{DIGIT ONE}', '\\N'],
    ['\\p{IsAlphabetic}', 'IsAlphabetic'],
    ['\\p{javaLowerCase}', 'javaLowerCase'],
    ['(?i)\\p{Lower}', 'Lower'],
    ['a$b', '$'],
    ['(a\\Z|b)c', '\\Z'],
    ['\ud800', 'Unicode'],
    ['\\uD800', 'Unicode'],
  ])('%j is refused, naming %j', (source, named) => {
    expect(problem(source)).toContain(named);
  });
});

describe('what means the same as in Java 17', () => {
  // Third column: what java.util.regex answers.
  test.each([
    ['test/.*', 'test/a/b', true],
    ['test/.*', 'xtest/1', false],
    ['test/.*', 'test/\u2028', false],
    ['test/.*', 'test/\u2029', false],
    ['test/.*', 'test/\u0085', false],
    ['test/.*', 'test/\r', false],
    ['.*', 'a\u2028', false],
    ['(?s).*', 'a\u2028', true],
    ['(?s:.)(?-s).', '\u2028\u2028', false],
    ['test/[a-z]+', 'test/+', false],
    ['room/.', 'room/#', true],
    ['room/.', 'room/\u{1f600}', true],
    ['[]a]', ']', true],
    ['[^]a]', ']', false],
    ['[a-c-e]', '-', true],
    ['[a&b]', '&', true],
    ['(?i)x', 'X', true],
    ['(?i)s', 'ſ', false],
    ['(?i)ſ', 's', false],
    ['(?i)é', 'É', false],
    ['(?i)[a-c]', 'B', true],
    ['(?i)[^a]', 'A', false],
    ['(?i:a)b', 'aB', false],
    ['\\Qa.b\\E', 'a.b', true],
    ['\\Qa.b\\E', 'axb', false],
    ['\\Qa.b', 'a.b', true],
    ['[\\Q^-]\\E]', ']', true],
    ['a\\z', 'a', true],
    ['^a$', 'a', true],
    ['a\\Z', 'a', true],
    ['\\x{1F600}', '\u{1f600}', true],
    ['\\uD83D\\uDE00', '\u{1f600}', true],
    ['\\u0061\\x62\\0143', 'abc', true],
    ['\\pL+', 'aé', true],
    ['\\P{L}', '1', true],
    ['\\p{Alpha}', 'é', false],
    ['\\p{Punct}', '#', true],
    ['[\\p{Alnum}_]+', 'a_1', true],
    ['\\s', '\u00a0', false],
    ['\\h', '\u00a0', true],
    ['\\v', '\u2028', true],
    ['\\V', '\u2028', false],
    ['[\\H]', ' ', false],
    ['\\w', 'é', false],
    ['\\e\\cA', '\u001b\u0001', true],
    [']}', ']}', true],
    ['\\_\\/', '_/', true],
    ['#/', '#/', true],
    ['(?<n>a)|', '', true],
    ['a{2,3}?', 'aaaa', false],
    ['a{2,}', 'aaaa', true],
    ['()*', '', true],
  ])('%j against %j: %s', (source, text, expected) => {
    expect(pattern(source).matches(text)).toBe(expected);
  });
});

describe('limits', () => {
  test('a pattern of the greatest length is accepted, one longer is not', () => {
    const longest = 'a'.repeat(PATTERN_LENGTH_MAX);
    expect(pattern(longest).matches(longest)).toBe(true);
    expect(problem(`${longest}a`)).toContain(String(PATTERN_LENGTH_MAX));
  });

  test('the greatest repetition is accepted, one more is not', () => {
    expect(pattern(`a{${PATTERN_REPEATS_MAX}}`).matches('a'.repeat(PATTERN_REPEATS_MAX))).toBe(
      true,
    );
    expect(problem(`a{${PATTERN_REPEATS_MAX + 1}}`)).toContain('times');
    expect(problem(`a{1,${PATTERN_REPEATS_MAX + 1}}`)).toContain('times');
  });

  test('repetitions that multiply are bounded by the states that they need', () => {
    expect(problem('(a{30}){30}')).toBe('accepted');
    expect(problem('(a{40}){40}')).toContain(String(PATTERN_STATES_MAX));
    expect(problem('((a{10}){10}){20}')).toContain(String(PATTERN_STATES_MAX));
  });

  test.each([
    '.*.*.*.*.*x',
    '(a+)+x',
    '(([a-z0-9]+)*/)*x',
    '([^/]+/?)*x',
    '(a|b)*',
    '(a|aa)+$',
    '(.*a){10}',
  ])('%j answers the longest topic in time that does not explode', (source) => {
    const program = pattern(source);
    // Warm, so that compiling and the first states are not counted.
    for (const unit of ['a', 'ab', 'a/']) program.matches(unit.repeat(64));
    const before = process.cpuUsage().user;
    for (const unit of ['a', 'ab', 'a/']) program.matches(unit.repeat(1024 / unit.length));
    // A backtracking engine needs longer than the age of the universe for most of these; ours about a millisecond
    // of processor time.
    expect(process.cpuUsage().user - before).toBeLessThan(1_000_000);
  });
});

describe('patterns that were written for filter texts', () => {
  test.each([
    'a/.*',
    'a/[^/+#]+',
    '[+#]',
    'a\\+',
    'c(\\+)',
    '\\+x',
    'a#',
    '\\+/?a',
    '/#^',
    '#/a',
    '(\\+)*',
    '.+',
    '#+',
  ])('%j does not mention a wildcard that is a level', (source) => {
    expect(pattern(source).mentionsWildcards).toBe(false);
    expect(pattern(source).admits('a')).toBe(false);
  });

  test.each([
    ['a/#', ['a', 'a/', 'a/b', 'a/b/c'], ['', 'b', 'ab']],
    ['^a/#$', ['a', 'a/b'], ['b']],
    ['#', ['a', 'a/b'], []],
    ['a/\\+/b', ['a/x/b', 'a//b'], ['a/x/y/b', 'a/b']],
    ['\\Qa/+\\E', ['a/x'], ['a', 'a/x/y']],
    ['dev-[0-9]+/(up|down)/#', ['dev-1/up', 'dev-22/down/x/y'], ['dev-/up', 'dev-1/left']],
    ['(\\+|a)/b', ['x/b', 'a/b'], ['x/y']],
    ['x|y/#', ['x', 'y', 'y/1'], ['x/1']],
  ])('%j admits what its filters match', (source, admitted, others) => {
    const program = pattern(source);
    expect(program.mentionsWildcards).toBe(true);
    for (const topic of admitted) expect(program.admits(topic), topic).toBe(true);
    for (const topic of others) expect(program.admits(topic), topic).toBe(false);
  });
});

/** Every filter that matches the topic name. */
function filtersOf(levels: readonly string[]): string[] {
  let heads: string[][] = [[]];
  const filters = ['#'];
  for (const level of levels) {
    heads = heads.flatMap((head) => [
      [...head, level],
      [...head, '+'],
    ]);
    filters.push(...heads.map((head) => [...head, '#'].join('/')));
  }
  return [...filters, ...heads.map((head) => head.join('/'))];
}

describe('properties', () => {
  test('what a pattern admits, some filter that it matches would match', () => {
    const piece = fc.constantFrom(
      'a',
      'b',
      '/',
      '/',
      '\\+',
      '\\+/',
      '/#',
      '#',
      '(',
      ')',
      '|',
      '*',
      '?',
      '.',
      '^',
      '$',
    );
    const levels = fc.array(fc.constantFrom('a', 'b', 'ab', ''), { minLength: 1, maxLength: 3 });
    let admitted = 0;
    fc.assert(
      fc.property(
        fc.array(piece, { maxLength: 8 }),
        fc.array(levels, { maxLength: 8 }),
        (pieces, names) => {
          const parsed = parseTopicPattern(pieces.join(''));
          if (!parsed.ok || !parsed.value.mentionsWildcards) return;
          for (const name of names) {
            const topic = name.join('/');
            if (!parsed.value.admits(topic)) continue;
            admitted++;
            const filter = filtersOf(name).find((one) => parsed.value.matches(one));
            expect(filter, `${parsed.value.source} admits ${topic}`).toBeDefined();
          }
        },
      ),
      { numRuns: 5000 },
    );
    expect(admitted).toBeGreaterThan(50);
  });

  test('a quoted text matches itself and nothing else, whatever it holds', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'grapheme', maxLength: 40 }).filter((text) => !text.includes('\\E')),
        fc.string({ unit: 'grapheme', maxLength: 5 }),
        (text, other) => {
          const quoted = pattern(`\\Q${text}\\E`);
          expect(quoted.matches(text)).toBe(true);
          expect(quoted.matches(other)).toBe(other === text);
          expect(pattern(`\\Q${text}\\E.*`).matches(`${text}x`)).toBe(true);
        },
      ),
    );
  });

  test('parsing never throws, and what it accepts can be asked', () => {
    const piece = fc.constantFrom(...'ab./*+?{}()[]^$|\\-&,0123dwspPQEuxkZ<>:=!i#'.split(''));
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        const parsed = parseTopicPattern(pieces.join(''));
        if (parsed.ok) expect(typeof parsed.value.matches('a/b')).toBe('boolean');
        else expect(parsed.problem).not.toBe('');
      }),
      { numRuns: 3000 },
    );
  });
});

describe('patterns that match one text, or all behind one', () => {
  test.each([
    ['a/b', { text: 'a/b', open: false }],
    ['\\Qa.b\\E', { text: 'a.b', open: false }],
    ['a/\\n.*', { text: 'a/\n', open: true }],
    ['.*', { text: '', open: true }],
    ['a.*b', undefined],
    ['a.', undefined],
    ['a.*?', { text: 'a', open: true }],
    ['[ab]', undefined],
    ['^a', undefined],
    ['(a)', undefined],
    ['(?i)a', undefined],
    ['(?s).*', undefined],
  ])('%s', (source, expected) => {
    expect(pattern(source).plain).toEqual(expected);
  });

  test('one covers another where it matches all that the other does', () => {
    const covers = (one: string, other: string): boolean => {
      const [wide, narrow] = [pattern(one).plain, pattern(other).plain];
      return wide !== undefined && narrow !== undefined && plainCovers(wide, narrow);
    };
    expect(covers('a', 'a.*')).toBe(false);
    expect(covers('a', 'b')).toBe(false);
    expect(covers('ab.*', 'a.*')).toBe(false);
    expect(covers('a.*', 'b')).toBe(false);
    for (const end of ['\\n', '\\r', '\\x85', '\\u2028', '\\u2029']) {
      expect(covers('a.*', `a${end}`), end).toBe(false);
      expect(covers(`a${end}.*`, `a${end}b.*`), end).toBe(true);
    }
    expect(covers('a', 'a')).toBe(true);
    expect(covers('a.*', 'a')).toBe(true);
    expect(covers('.*', 'a/b.*')).toBe(true);
  });
});
