import type { Token } from './java-pattern.ts';

const HASH = '\\x{23}';
const PLUS = '\\x{2b}';

/**
 * The pattern of all topic names that a filter matched by the given pattern would match: a literal `+` that is a level of
 * its own becomes "any level", and a literal `#` at the end "any levels, or none". Undefined when there is no such literal:
 * then the pattern speaks about topic names itself. `+` or `#` beside other characters of a level, in a class or repeated
 * stay as they are, because no filter holds them there, or because nothing certain can be said.
 */
export function admittedTopics(tokens: readonly Token[]): string | undefined {
  const ends = levelEnds(tokens);
  const starts = levelStarts(tokens);
  const isWildcard = (index: number): boolean => {
    const token = tokens[index];
    if (token?.kind !== 'literal' || starts[index] !== true) return false;
    if (token.text === HASH) return ends[index] === 'text';
    return token.text === PLUS && ends[index] !== undefined;
  };
  if (!tokens.some((_, index) => isWildcard(index))) return undefined;
  const texts = tokens.map((token, index) => {
    if (isWildcard(index)) return token.text === PLUS ? '[^/]*' : afterSlash(tokens, index);
    const hashNext = tokens[index + 1]?.text === HASH && isWildcard(index + 1);
    return isSlash(token) && hashNext ? '' : token.text;
  });
  return texts.join('');
}

/** `a/#` matches `a` too, so the slash before `#` is part of what may be missing. */
function afterSlash(tokens: readonly Token[], index: number): string {
  return isSlash(tokens[index - 1]) ? '(?:/(?s:.)*)?' : '(?s:.)*';
}

/**
 * Whether every `$` and `\Z` is followed by the end of the text. Elsewhere Java lets them stand before a final line
 * terminator that the rest of the pattern consumes, which a linear-time engine cannot do.
 */
export function endsOnlyAtEnd(tokens: readonly Token[]): boolean {
  const ends = levelEnds(tokens);
  return tokens.every((token, index) => token.kind !== 'end' || ends[index] === 'text');
}

// A `^` behind a wildcard, or a `$` before one, can never match: it makes nothing sure.
const isStart = (token: Token): boolean => token.text === '\\A';
const isEnd = (token: Token): boolean => token.text === '\\z';

const isSlash = (token: Token | undefined): boolean =>
  token?.kind === 'literal' && token.text === '/';

/** Whether each piece is followed by the end of the text or of its level, on every way through the pattern. */
function levelEnds(tokens: readonly Token[]): readonly ('text' | 'level' | undefined)[] {
  const ends: ('text' | 'level' | undefined)[] = [];
  const outside: ('text' | 'level' | undefined)[] = [];
  let end: 'text' | 'level' | undefined = 'text';
  for (let index = tokens.length - 1; index >= 0; index--) {
    const token = tokens[index];
    if (token === undefined) continue;
    ends[index] = end;
    if (token.kind === 'close') outside.push(end);
    else if (isEnd(token)) continue;
    else if (token.kind === 'or') end = outside.length > 0 ? outside.at(-1) : 'text';
    else if (token.kind === 'open') {
      outside.pop();
      end = undefined;
    } else {
      // A slash that may be missing ends nothing.
      const surely = isSlash(token) && tokens[index + 1]?.kind !== 'repeat';
      end = surely ? 'level' : undefined;
    }
  }
  return ends;
}

/** Whether each piece is preceded by the start of the text or of its level, on every way through the pattern. */
function levelStarts(tokens: readonly Token[]): readonly boolean[] {
  const repeated = repeatedGroups(tokens);
  const starts: boolean[] = [];
  const outside: boolean[] = [];
  let start = true;
  for (const [index, token] of tokens.entries()) {
    starts[index] = start;
    if (token.kind === 'open') {
      start = start && !repeated.has(index);
      outside.push(start);
    } else if (isStart(token)) continue;
    else if (token.kind === 'or') start = outside.at(-1) ?? true;
    else if (token.kind === 'close') {
      outside.pop();
      start = false;
    } else start = isSlash(token);
  }
  return starts;
}

/** Indexes of the `(` of groups that a quantifier follows. */
function repeatedGroups(tokens: readonly Token[]): ReadonlySet<number> {
  const repeated = new Set<number>();
  const open: number[] = [];
  for (const [index, token] of tokens.entries()) {
    if (token.kind === 'open') open.push(index);
    else if (token.kind === 'close') {
      const start = open.pop();
      if (start !== undefined && tokens[index + 1]?.kind === 'repeat') repeated.add(start);
    }
  }
  return repeated;
}
