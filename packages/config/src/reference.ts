import type { TObject } from 'typebox';
import { formats } from './address.ts';
import {
  LIST_ITEMS_MAX,
  type Leaf,
  type LeafSchema,
  TEXT_LENGTH_MAX,
  choicesOf,
  leavesOf,
  sectionOf,
} from './keys.ts';

function textBounds(schema: LeafSchema): string {
  if (schema.format !== undefined && Object.hasOwn(formats, schema.format)) {
    return formats[schema.format as keyof typeof formats].expected;
  }
  const pattern = schema.pattern === undefined ? '' : `, matches \`${schema.pattern}\``;
  return `${schema.minLength ?? 1} to ${schema.maxLength ?? TEXT_LENGTH_MAX} characters${pattern}`;
}

function bounds(schema: LeafSchema): string {
  const choices = choicesOf(schema);
  if (choices !== undefined) return choices.map((choice) => `\`${String(choice)}\``).join(', ');
  switch (schema.type ?? '') {
    case 'boolean':
      return '`true`, `false`';
    case 'array': {
      const count = `${schema.minItems ?? 0} to ${schema.maxItems ?? LIST_ITEMS_MAX}`;
      return `list of ${count}, each: ${bounds(schema.items ?? {})}`;
    }
    case 'string':
      return textBounds(schema);
    default:
      return `${schema.minimum ?? ''} to ${schema.maximum ?? ''}`;
  }
}

function defaultOf({ schema, required }: Leaf): string {
  if (schema.default === undefined) return required ? 'required' : '–';
  const value = [schema.default].flat().map(String).join(',');
  return value === '' ? '(empty)' : `\`${value}\``;
}

/** A markdown table of all keys: key, environment variable, default, bounds, description. */
export function printReference(schema: TObject): string {
  const rows = leavesOf(sectionOf(schema)).map((leaf) => {
    const env = leaf.secret ? `\`${leaf.env}\` or \`${leaf.env}_FILE\`` : `\`${leaf.env}\``;
    const cells = [
      `\`${leaf.key}\``,
      env,
      defaultOf(leaf),
      bounds(leaf.schema),
      leaf.schema.description ?? '',
    ];
    return `| ${cells.map((cell) => cell.replaceAll('|', '\\|').replaceAll('\n', ' ')).join(' | ')} |`;
  });
  return [
    '| key | environment | default | bounds | description |',
    '| --- | --- | --- | --- | --- |',
    ...rows,
    '',
  ].join('\n');
}
