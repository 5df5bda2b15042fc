import type { TObject, TSchema } from 'typebox';
import { assert } from '@sallyport/errors';

/** Every environment variable of ours begins so. */
export const ENV_PREFIX = 'SALLYPORT_';
/** Names the JSON file; the one variable with our prefix that is not a key. */
export const ENV_FILE_NAME = 'SALLYPORT_CONFIG';
/** Longest text value where the schema sets no bound, in characters. */
export const TEXT_LENGTH_MAX = 4096;
/** Most entries of a list where the schema sets no bound. */
export const LIST_ITEMS_MAX = 64;

/** The parts of a JSON schema that a leaf may have. */
export interface LeafSchema {
  readonly type?: string;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly LeafSchema[];
  readonly items?: LeafSchema;
  readonly default?: unknown;
  readonly description?: string;
  readonly secret?: boolean;
  readonly format?: string;
  readonly pattern?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
}

export interface Leaf {
  /** `['mqtt', 'tcp', 'listen']` */
  readonly path: readonly string[];
  /** `mqtt.tcp.listen` */
  readonly key: string;
  /** `SALLYPORT_MQTT__TCP__LISTEN` */
  readonly env: string;
  readonly schema: LeafSchema;
  readonly required: boolean;
  readonly secret: boolean;
}

/** A section: its own keys and the sections below, in the order of the schema. */
export interface Section {
  readonly path: readonly string[];
  readonly optional: boolean;
  readonly children: ReadonlyMap<string, Section | Leaf>;
}

export function isLeaf(node: Section | Leaf): node is Leaf {
  return 'env' in node;
}

function envPart(name: string): string {
  return name.replace(/([a-z0-9])([A-Z])/g, '$1_$2').toUpperCase();
}

/** `['mqtt', 'proxyFrom']` → `SALLYPORT_MQTT__PROXY_FROM` */
export function envName(path: readonly string[]): string {
  return ENV_PREFIX + path.map(envPart).join('__');
}

/** The values of a union of literals or an enum, when the schema is one. */
export function choicesOf(schema: LeafSchema): readonly unknown[] | undefined {
  if (schema.enum !== undefined) return schema.enum;
  if (schema.const !== undefined) return [schema.const];
  if (schema.anyOf?.every((part) => part.const !== undefined) === true) {
    return schema.anyOf.map((part) => part.const);
  }
  return undefined;
}

const SCALARS = new Set(['string', 'number', 'integer', 'boolean']);

function isScalarOrChoice(schema: LeafSchema): boolean {
  return choicesOf(schema) !== undefined || SCALARS.has(schema.type ?? '');
}

function checkLeaf({ key, schema }: Leaf): void {
  assert((schema.description ?? '') !== '', `config key ${key} has no description`);
  const value = schema.type === 'array' ? (schema.items ?? {}) : schema;
  assert(isScalarOrChoice(value), `config key ${key} is no scalar, no choice and no list of them`);
  if (value.type === 'number' || value.type === 'integer') {
    const bounded = value.minimum !== undefined && value.maximum !== undefined;
    assert(
      bounded || choicesOf(value) !== undefined,
      `config key ${key} has no minimum or no maximum`,
    );
  }
}

function leafOf(path: readonly string[], schema: LeafSchema, required: boolean): Leaf {
  const leaf: Leaf = {
    path,
    key: path.join('.'),
    env: envName(path),
    schema,
    required,
    secret: schema.secret === true,
  };
  checkLeaf(leaf);
  return leaf;
}

/** The schema as a tree. A schema that breaks the rules (no description, no bounds) is a bug and asserts. */
export function sectionOf(
  schema: TObject,
  path: readonly string[] = [],
  optional = false,
): Section {
  const required = new Set(schema.required ?? []);
  const children = new Map<string, Section | Leaf>();
  for (const [name, child] of Object.entries<TSchema>(schema.properties)) {
    assert(
      /^[a-z][A-Za-z0-9]*$/.test(name),
      `config key ${[...path, name].join('.')} is not camelCase`,
    );
    const childPath = [...path, name];
    // The JSON schema of an object is all that is read of it, so the cast holds for what TypeBox builds.
    const node =
      'properties' in child
        ? sectionOf(child as TObject, childPath, !required.has(name))
        : leafOf(childPath, child, required.has(name));
    children.set(name, node);
  }
  return { path, optional, children };
}

/** All leaves below a section, in the order of the schema. */
export function leavesOf(section: Section): readonly Leaf[] {
  return [...section.children.values()].flatMap((node) => (isLeaf(node) ? [node] : leavesOf(node)));
}

/** Longest name that is compared; the cost of a comparison is the product of both lengths. */
const NAME_LENGTH_MAX = 200;

function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

/** The known name that takes the fewest edits; the first of several. */
export function nearest(name: string, known: readonly string[]): string | undefined {
  const short = name.slice(0, NAME_LENGTH_MAX);
  let best: { name: string; edits: number } | undefined;
  for (const candidate of known) {
    const edits = distance(short, candidate);
    if (best === undefined || edits < best.edits) best = { name: candidate, edits };
  }
  return best?.name;
}
