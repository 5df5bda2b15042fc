import type { FastifyInstance } from 'fastify';
import { parseDocument } from 'yaml';
import {
  contentProblem,
  decodeUtf8,
  JSON_DEPTH_MAX,
  malformed,
  parseJson,
} from '../http/json-body.ts';

/** Longest file. A text of YAML is parsed in one go, and holds the process for as long as that takes. */
export const CONFIG_FILE_BYTES_MAX = 1024 * 1024;
/** Most aliases, each counted with those inside of what it stands for. */
export const YAML_ALIASES_MAX = 50;

export const YAML_MEDIA_TYPES = ['application/yaml', 'application/x-yaml', 'text/yaml'] as const;

/**
 * Reads one document of YAML 1.2 that is safe to hand on: core schema, no further tags, no merge keys, few aliases.
 * @throws RefusedError `malformed_body` with the line
 */
export function parseYaml(text: string): unknown {
  if (indentsDeeper(text)) throw tooDeep();
  const value = valueOf(text);
  // First what is counted: it bounds the walk behind it, whatever aliases stand for.
  const problem = contentProblem(value);
  if (problem !== undefined) throw malformed([problem]);
  if (deeperThan(value, JSON_DEPTH_MAX)) throw tooDeep();
  return value;
}

function valueOf(text: string): unknown {
  try {
    const document = parseDocument(text, { prettyErrors: false, strict: true, version: '1.2' });
    const [error] = [...document.errors, ...document.warnings];
    if (error !== undefined) {
      const line = text.slice(0, error.pos[0]).split('\n').length;
      throw malformed([{ pointer: '', detail: `must be YAML; line ${line}: ${error.code}` }]);
    }
    return document.toJS({ maxAliasCount: YAML_ALIASES_MAX }) as unknown;
  } catch (error) {
    if (error instanceof RangeError) throw tooDeep();
    if (error instanceof ReferenceError) {
      const detail = `must have at most ${YAML_ALIASES_MAX} aliases`;
      throw malformed([{ pointer: '', detail }]);
    }
    throw error;
  }
}

const tooDeep = (): Error =>
  malformed([{ pointer: '', detail: `must be nested at most ${JSON_DEPTH_MAX} deep` }]);

/** Runs of these open one level each; far more of them than levels are allowed are never meant. */
const OPENINGS = /(?:[[{][ \t\r\n]*){64}|(?:[-?:][ \t]+){64}/;

/** Looks for what would make the parser call itself thousands of times. O(length). */
const indentsDeeper = (text: string): boolean => OPENINGS.test(text) || /^ {512}/m.test(text);

function deeperThan(value: unknown, depth: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  if (depth === 0) return true;
  return Object.values(value).some((inner) => deeperThan(inner, depth - 1));
}

/** Parsers of one scope, which must be its own. An empty body is no body. */
export function registerFileParser(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  addParser(app, ['application/json'], parseJson);
  addParser(app, YAML_MEDIA_TYPES, parseYaml);
}

function addParser(
  app: FastifyInstance,
  types: readonly string[],
  parse: (text: string) => unknown,
): void {
  const bodyLimit = CONFIG_FILE_BYTES_MAX;
  app.addContentTypeParser([...types], { parseAs: 'buffer', bodyLimit }, (_request, body, done) => {
    try {
      done(null, body.length === 0 ? undefined : parse(decodeUtf8(body as Buffer))); // parseAs: 'buffer'
    } catch (error) {
      done(error as Error, undefined); // Only errors are thrown above.
    }
  });
}
