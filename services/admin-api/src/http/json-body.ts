import type { FieldProblem } from '@sallyport/errors';
import type { FastifyInstance } from 'fastify';
import { refused } from './problems.ts';

export const BODY_BYTES_MAX = 1024 * 1024;
/** Arrays and objects inside each other. */
export const JSON_DEPTH_MAX = 20;
/** Values of one body, so that a megabyte of small ones cannot hold the process up. */
export const JSON_VALUES_MAX = 50_000;

/** Keys that would reach a prototype if the object were ever copied carelessly. */
const MAGIC_KEYS: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype']);

const QUOTE = 0x22;
const BRACKET_OPENING = 0x5b;
const BACKSLASH = 0x5c;
const BRACKET_CLOSING = 0x5d;
const BRACE_OPENING = 0x7b;
const BRACE_CLOSING = 0x7d;

/** Reads JSON that is safe to hand on. @throws RefusedError `malformed_body` */
export function parseJson(text: string): unknown {
  if (nestedDeeper(text, JSON_DEPTH_MAX)) {
    throw malformed([{ pointer: '', detail: `must be nested at most ${JSON_DEPTH_MAX} deep` }]);
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw malformed([{ pointer: '', detail: 'must be JSON' }]);
  }
  const problem = isPlain(text) ? undefined : contentProblem(value);
  if (problem !== undefined) throw malformed([problem]);
  return value;
}

/** What `contentProblem` would find in a JSON text is written in it, or behind a backslash. */
const SUSPICIOUS = /\\|__proto__|constructor|prototype|\p{Surrogate}/u;

/** Whether `contentProblem` need not look at the value of a JSON text: most rows of an import are so. O(length). */
const isPlain = (text: string): boolean => text.length <= JSON_VALUES_MAX && !SUSPICIOUS.test(text);

export const malformed = (problems: readonly FieldProblem[]): Error =>
  refused('malformed_body', { problems });

/** Looks at brackets outside of texts only, before anything recursive sees the input. O(length). */
function nestedDeeper(text: string, depthMax: number): boolean {
  // Most texts have too few of them: to see that costs a tenth of looking at each character.
  if (!hasMoreOpening(text, depthMax)) return false;
  let depth = 0;
  let inText = false;
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index);
    if (inText) {
      if (unit === BACKSLASH) index++;
      else if (unit === QUOTE) inText = false;
    } else if (unit === QUOTE) inText = true;
    else if (unit === BRACKET_OPENING || unit === BRACE_OPENING) {
      depth++;
      if (depth > depthMax) return true;
    } else if (unit === BRACKET_CLOSING || unit === BRACE_CLOSING) depth--;
  }
  return false;
}

/** Whether more than `max` arrays and objects may begin in a text. O(length). */
function hasMoreOpening(text: string, max: number): boolean {
  let found = 0;
  for (const opening of ['{', '[']) {
    for (let at = text.indexOf(opening); at !== -1; at = text.indexOf(opening, at + 1)) {
      if (++found > max) return true;
    }
  }
  return false;
}

interface Place {
  readonly value: unknown;
  readonly pointer: string;
}

/** Prototype keys, U+0000 and lone surrogates are refused wherever they stand: no part behind this one has a use for them. */
export function contentProblem(root: unknown): FieldProblem | undefined {
  const open: Place[] = [{ value: root, pointer: '' }];
  let seen = 0;
  for (let place = open.pop(); place !== undefined; place = open.pop()) {
    seen++;
    if (seen > JSON_VALUES_MAX) {
      return { pointer: '', detail: `must have at most ${JSON_VALUES_MAX} values` };
    }
    const { value, pointer } = place;
    if (typeof value === 'string') {
      const detail = stringProblem(value);
      if (detail !== undefined) return { pointer, detail };
    } else if (typeof value === 'object' && value !== null) {
      for (const [key, inner] of Object.entries(value)) {
        if (MAGIC_KEYS.has(key)) return { pointer, detail: `must not have the key ${key}` };
        const detail = stringProblem(key);
        if (detail !== undefined) return { pointer, detail: `has a key that ${detail}` };
        const step = key.replaceAll('~', '~0').replaceAll('/', '~1');
        open.push({ value: inner, pointer: `${pointer}/${step}` });
      }
    }
  }
  return undefined;
}

function stringProblem(text: string): string | undefined {
  if (text.includes('\u0000')) return 'must not contain U+0000';
  if (/\p{Surrogate}/u.test(text)) return 'must be well-formed Unicode';
  return undefined;
}

/** Decodes a body. @throws RefusedError `malformed_body` */
export function decodeUtf8(body: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body);
  } catch {
    throw malformed([{ pointer: '', detail: 'must be UTF-8' }]);
  }
}

/** Replaces the framework's parsers. An empty body is no body. */
export function registerJsonParser(app: FastifyInstance, mediaTypes: readonly string[]): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser([...mediaTypes], { parseAs: 'buffer' }, (_request, body, done) => {
    try {
      done(null, body.length === 0 ? undefined : parseJson(decodeUtf8(body as Buffer))); // parseAs: 'buffer'
    } catch (error) {
      done(error as Error, undefined); // Only errors are thrown above.
    }
  });
}
