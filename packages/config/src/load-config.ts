import { Ajv, type ErrorObject } from 'ajv';
import type { Static, TObject } from 'typebox';
import { OperationalError, assert } from '@sallyport/errors';
import { formats } from './address.ts';
import { readConfigFile } from './config-file.ts';
import { type ConfigProblem, type FoundValue, readEnvironment, shown } from './environment.ts';
import {
  ENV_FILE_NAME,
  LIST_ITEMS_MAX,
  type Leaf,
  type LeafSchema,
  type Section,
  TEXT_LENGTH_MAX,
  choicesOf,
  isLeaf,
  leavesOf,
  sectionOf,
} from './keys.ts';

/** `T`, read-only all the way down. */
export type Frozen<T> = T extends readonly (infer Item)[]
  ? readonly Frozen<Item>[]
  : T extends object
    ? { readonly [Key in keyof T]: Frozen<T[Key]> }
    : T;

/** The configuration of a schema, as `loadConfig` returns it. */
export type ConfigOf<Schema extends TObject> = Frozen<Static<Schema>>;

export interface LoadOptions<Schema extends TObject> {
  /** Sections and keys. Every key has a description, and a default or is optional; a key without both is required. */
  readonly schema: Schema;
  /** The environment of the process; handed in by `main.ts`. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** A JSON file; `SALLYPORT_CONFIG` of the environment when left out. */
  readonly file?: string;
  /** Rules between keys; runs only when every key by itself is valid. */
  readonly check?: (config: ConfigOf<Schema>) => readonly ConfigProblem[];
}

function bounded(schema: LeafSchema): LeafSchema {
  if (choicesOf(schema) !== undefined) return schema;
  if (schema.type === 'string') return { maxLength: TEXT_LENGTH_MAX, minLength: 1, ...schema };
  if (schema.type === 'array') {
    return { maxItems: LIST_ITEMS_MAX, ...schema, items: bounded(schema.items ?? {}) };
  }
  return schema;
}

function describe(leaf: Leaf, error: ErrorObject): string {
  const choices = choicesOf(leaf.schema) ?? choicesOf(leaf.schema.items ?? {});
  if (choices !== undefined) return `must be one of ${choices.join(', ')}`;
  if (error.keyword === 'format') {
    const name = (leaf.schema.items ?? leaf.schema).format as keyof typeof formats;
    return `must be ${formats[name].expected}`;
  }
  return error.message ?? 'is not valid';
}

function validateLeaf(ajv: Ajv, leaf: Leaf, found: FoundValue): readonly ConfigProblem[] {
  const validate = ajv.compile(bounded(leaf.schema));
  if (validate(found.value) === true) return [];
  const reasons = (validate.errors ?? []).map((error) => describe(leaf, error));
  const problem = [...new Set(reasons)].join('; ') + shown(leaf, found.value);
  return [{ key: found.source, problem }];
}

function validate(
  leaves: readonly Leaf[],
  found: ReadonlyMap<string, FoundValue>,
): ConfigProblem[] {
  const ajv = new Ajv({ allErrors: true, strict: false, coerceTypes: false, useDefaults: false });
  for (const [name, format] of Object.entries(formats)) ajv.addFormat(name, format.test);
  return leaves.flatMap((leaf) => {
    const entry = found.get(leaf.key);
    if (entry === undefined && leaf.schema.default !== undefined) {
      const standard = { source: leaf.key, value: leaf.schema.default };
      assert(validateLeaf(ajv, leaf, standard).length === 0, `default of ${leaf.key} is not valid`);
    }
    // Undefined marks a value that could not be read and has its problem already.
    return entry === undefined || entry.value === undefined ? [] : validateLeaf(ajv, leaf, entry);
  });
}

interface Built {
  readonly value: Readonly<Record<string, unknown>>;
  readonly missing: readonly Leaf[];
}

/** Fills the sections from what was found, then from the defaults; an optional section that nobody names stays away. */
function build(section: Section, found: ReadonlyMap<string, FoundValue>): Built {
  const value: Record<string, unknown> = {};
  const missing: Leaf[] = [];
  for (const [name, node] of section.children) {
    if (isLeaf(node)) {
      const entry = found.get(node.key);
      const chosen = entry === undefined ? structuredClone(node.schema.default) : entry.value;
      if (chosen !== undefined) value[name] = chosen;
      else if (node.required && entry === undefined) missing.push(node);
    } else if (!node.optional || leavesOf(node).some((leaf) => found.has(leaf.key))) {
      const built = build(node, found);
      value[name] = built.value;
      missing.push(...built.missing);
    }
  }
  return { value, missing };
}

function freeze(value: unknown): void {
  if (typeof value !== 'object' || value === null) return;
  Object.freeze(value);
  for (const child of Object.values(value)) freeze(child);
}

function refuse(problems: readonly ConfigProblem[]): never {
  const lines = problems.map(({ key, problem }) => `  ${key}: ${problem}`);
  throw new OperationalError(
    'config_invalid',
    [`the configuration is not valid (${problems.length})`, ...lines].join('\n'),
  );
}

/**
 * Defaults < JSON file < environment, validated and deeply frozen.
 * @throws OperationalError `config_invalid`: all problems, a line each, every line naming the key as it was written
 */
export function loadConfig<Schema extends TObject>(options: LoadOptions<Schema>): ConfigOf<Schema> {
  const root = sectionOf(options.schema);
  const leaves = leavesOf(root);
  const file = options.file ?? options.env[ENV_FILE_NAME];
  const fromFile =
    file === undefined ? { values: new Map(), problems: [] } : readConfigFile(file, root);
  const fromEnv = readEnvironment(leaves, options.env);
  const found = new Map<string, FoundValue>([...fromFile.values, ...fromEnv.values]);
  const { value, missing } = build(root, found);
  const problems = [
    ...fromFile.problems,
    ...fromEnv.problems,
    ...validate(leaves, found),
    ...missing.map((leaf) => ({ key: leaf.env, problem: 'is required and not set' })),
  ];
  if (problems.length > 0) refuse(problems);
  freeze(value);
  // Every key was validated against the schema above.
  const config = value as ConfigOf<Schema>;
  const crossed = options.check?.(config) ?? [];
  if (crossed.length > 0) refuse(crossed);
  return config;
}

function lookUp(config: unknown, path: readonly string[]): unknown {
  let value = config;
  for (const name of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name))
      return undefined;
    value = (value as Record<string, unknown>)[name];
  }
  return value;
}

/**
 * For `check`: keys that must be set all or not at all. Answers a problem for each that is missing while another is set.
 * @example allOrNone(config, ['bootstrap.apiKey', 'bootstrap.apiSecret'])
 */
export function allOrNone(config: unknown, keys: readonly string[]): readonly ConfigProblem[] {
  const set = keys.filter((key) => lookUp(config, key.split('.')) !== undefined);
  if (set.length === 0 || set.length === keys.length) return [];
  return keys
    .filter((key) => !set.includes(key))
    .map((key) => ({ key, problem: `is not set, but ${set.join(' and ')} is` }));
}

const PASSWORD_IN_URL = /(\/\/[^/@:]*):[^/]*@/;
const REDACTED = '[redacted]';

/** A copy for the log: secrets and passwords inside URLs are replaced. */
export function redacted<Schema extends TObject>(
  config: ConfigOf<Schema>,
  schema: Schema,
): Readonly<Record<string, unknown>> {
  const mask = (leaf: Leaf, value: unknown): unknown => {
    if (leaf.secret) return REDACTED;
    if (Array.isArray(value)) return value.map((item: unknown) => mask(leaf, item));
    return typeof value === 'string' ? value.replace(PASSWORD_IN_URL, `$1:${REDACTED}@`) : value;
  };
  const copy = (section: Section): Record<string, unknown> => {
    const result: Record<string, unknown> = {};
    for (const [name, node] of section.children) {
      const value = lookUp(config, node.path);
      if (value === undefined) continue;
      result[name] = isLeaf(node) ? mask(node, value) : copy(node);
    }
    return result;
  };
  return copy(sectionOf(schema));
}
