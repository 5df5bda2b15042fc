import { readFileSync, statSync } from 'node:fs';
import {
  ENV_FILE_NAME,
  ENV_PREFIX,
  type Leaf,
  type LeafSchema,
  choicesOf,
  nearest,
} from './keys.ts';

/** One thing that is wrong with the configuration. Never contains a secret. */
export interface ConfigProblem {
  /** The key as the operator wrote it: `mqtt.tcp.listen`, or the name of the environment variable. */
  readonly key: string;
  /** What is wrong, and what would be right. */
  readonly problem: string;
}

export interface FoundValue {
  /** The name of the environment variable or the key in the file. */
  readonly source: string;
  readonly value: unknown;
}

export interface EnvironmentValues {
  /** By `Leaf.key`. */
  readonly values: ReadonlyMap<string, FoundValue>;
  readonly problems: readonly ConfigProblem[];
}

/** Largest file that a `…_FILE` variable may name, in bytes. */
export const SECRET_FILE_BYTES_MAX = 64 * 1024;

const NUMBER = /^-?\d+(?:\.\d+)?$/;

/** Thrown by the coercions below; the text is the problem. */
class Mismatch extends Error {}

function scalar(type: string, text: string): unknown {
  switch (type) {
    case 'number':
    case 'integer':
      if (!NUMBER.test(text)) throw new Mismatch('is not a number');
      return Number(text);
    case 'boolean':
      if (text !== 'true' && text !== 'false') throw new Mismatch("is neither 'true' nor 'false'");
      return text === 'true';
    default:
      return text;
  }
}

function coerce(schema: LeafSchema, text: string): unknown {
  if (schema.type === 'array') {
    const parts = text.trim() === '' ? [] : text.split(',').map((part) => part.trim());
    return parts.map((part) => scalar(schema.items?.type ?? '', part));
  }
  if (text === '') throw new Mismatch('is empty; leave it out to get the default');
  // A choice may be a number: the one that is written the same way is meant.
  const choices = choicesOf(schema);
  if (choices !== undefined) return choices.find((choice) => String(choice) === text) ?? text;
  return scalar(schema.type ?? '', text);
}

function readSecret(path: string): string {
  let text: string;
  try {
    const { size } = statSync(path);
    if (size > SECRET_FILE_BYTES_MAX) {
      throw new Mismatch(`names a file of more than ${SECRET_FILE_BYTES_MAX} bytes`);
    }
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof Mismatch) throw error;
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
    throw new Mismatch(`names a file that cannot be read (${code}): ${path}`);
  }
  // Editors and `echo` end a file with one line break that is no part of the secret.
  return text.replace(/\r?\n$/, '');
}

function unknownVariable(name: string, leaves: readonly Leaf[]): ConfigProblem {
  const known = leaves.flatMap((leaf) =>
    leaf.secret ? [leaf.env, `${leaf.env}_FILE`] : [leaf.env],
  );
  const near = nearest(name, [...known, ENV_FILE_NAME]);
  const plain = leaves.find((leaf) => !leaf.secret && `${leaf.env}_FILE` === name);
  const reason =
    plain === undefined ? 'unknown key' : `unknown key; ${plain.key} is no secret and has no _FILE`;
  return { key: name, problem: `${reason}; the nearest known key is ${near ?? 'none'}` };
}

/** Reads the variables with our prefix. A `Map` throughout: a variable may be named like a member of every object. */
export function readEnvironment(
  leaves: readonly Leaf[],
  env: Readonly<Record<string, string | undefined>>,
): EnvironmentValues {
  const direct = new Map(leaves.map((leaf) => [leaf.env, leaf]));
  const fromFile = new Map(
    leaves.filter((leaf) => leaf.secret).map((leaf) => [`${leaf.env}_FILE`, leaf]),
  );
  const values = new Map<string, FoundValue>();
  const problems: ConfigProblem[] = [];
  const take = (name: string, text: string) => {
    const leaf = direct.get(name) ?? fromFile.get(name);
    if (leaf === undefined) {
      problems.push(unknownVariable(name, leaves));
      return;
    }
    const earlier = values.get(leaf.key);
    if (earlier !== undefined) {
      const both = [earlier.source, name].sort();
      problems.push({ key: name, problem: `${both.join(' and ')} are both set; set one of them` });
      return;
    }
    try {
      const value = coerce(leaf.schema, direct.has(name) ? text : readSecret(text));
      values.set(leaf.key, { source: name, value });
    } catch (error) {
      if (!(error instanceof Mismatch)) throw error;
      problems.push({ key: name, problem: `${error.message}${shown(leaf, text)}` });
      values.set(leaf.key, { source: name, value: undefined });
    }
  };
  for (const name of Object.keys(env).sort()) {
    const text = env[name];
    if (text === undefined || !name.startsWith(ENV_PREFIX) || name === ENV_FILE_NAME) continue;
    take(name, text);
  }
  return { values, problems };
}

const SHOWN_LENGTH_MAX = 80;

/** A value in a problem, unless it is a secret. */
export function shown(leaf: Leaf, value: unknown): string {
  if (leaf.secret || leaf.schema.format === 'url' || value === '') return '';
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return `: ${JSON.stringify(text.slice(0, SHOWN_LENGTH_MAX))}`;
}
