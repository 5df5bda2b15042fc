import { readFileSync } from 'node:fs';
import type { ConfigProblem, FoundValue } from './environment.ts';
import { type Leaf, type Section, isLeaf, leavesOf, nearest } from './keys.ts';

/** Largest configuration file, in bytes. */
export const CONFIG_FILE_BYTES_MAX = 1024 * 1024;

export interface FileValues {
  /** By `Leaf.key`. */
  readonly values: ReadonlyMap<string, FoundValue>;
  readonly problems: readonly ConfigProblem[];
}

function parse(path: string): { readonly json: unknown } | { readonly problem: string } {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
    return { problem: `the file cannot be read (${code})` };
  }
  if (Buffer.byteLength(text) > CONFIG_FILE_BYTES_MAX) {
    return { problem: `the file is larger than ${CONFIG_FILE_BYTES_MAX} bytes` };
  }
  try {
    return { json: JSON.parse(text) };
  } catch {
    // The parser's text quotes the file, which may hold a secret.
    return { problem: 'the file is not JSON' };
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Reads the JSON file: the same sections and keys as the schema. */
export function readConfigFile(path: string, root: Section): FileValues {
  const values = new Map<string, FoundValue>();
  const problems: ConfigProblem[] = [];
  const known: readonly Leaf[] = leavesOf(root);
  const walk = (section: Section, object: Record<string, unknown>) => {
    // Object.keys, not `in`: JSON.parse makes `__proto__` an own key, and it is unknown like any other.
    for (const name of Object.keys(object)) {
      const key = [...section.path, name].join('.');
      const value = object[name];
      const node = section.children.get(name);
      if (node === undefined) {
        const near = nearest(
          key,
          known.map((leaf) => leaf.key),
        );
        problems.push({
          key,
          problem: `unknown key in ${path}; the nearest known key is ${near ?? 'none'}`,
        });
      } else if (isLeaf(node)) {
        values.set(node.key, { source: key, value });
      } else if (isObject(value)) {
        walk(node, value);
      } else {
        problems.push({ key, problem: `is a section and must be an object in ${path}` });
      }
    }
  };
  const parsed = parse(path);
  if ('problem' in parsed) return { values, problems: [{ key: path, problem: parsed.problem }] };
  if (!isObject(parsed.json)) {
    return { values, problems: [{ key: path, problem: 'the file must hold a JSON object' }] };
  }
  walk(root, parsed.json);
  return { values, problems };
}
