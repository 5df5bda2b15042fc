import type { FieldProblem } from '@sallyport/errors';
import { Ajv, type ErrorObject, type Options } from 'ajv';
import addFormats from 'ajv-formats';
import type { FastifySchemaCompiler, FastifySchemaValidationError } from 'fastify';
import type { TSchema } from 'typebox';

/** Unknown members are refused, never dropped; every problem is told at once. */
const options: Options = {
  allErrors: true,
  removeAdditional: false,
  useDefaults: true,
  discriminator: true,
  strict: true,
  strictRequired: false, // A discriminated union requires what its members declare.
  // Schemas carry words of OpenAPI beside those of JSON Schema.
  keywords: ['example'],
};

function createAjv(coerceTypes: boolean): Ajv {
  const ajv = new Ajv({ ...options, coerceTypes });
  addFormats.default(ajv, ['uuid', 'date-time', 'email']);
  return ajv;
}

/** One compiler for JSON, where types are what they are, and one for texts of addresses, where `5` is a number. */
export function createValidatorCompiler(): FastifySchemaCompiler<TSchema> {
  const exact = createAjv(false);
  const coercing = createAjv(true);
  return ({ schema, httpPart }) => (httpPart === 'body' ? exact : coercing).compile(schema);
}

/** Checks a value that was made from a request, such as the result of a merge patch. */
export function createChecker(schema: TSchema): (value: unknown) => FieldProblem[] {
  const validate = createAjv(false).compile(schema);
  return (value) => (validate(value) ? [] : validationProblems(validate.errors ?? [], 'body'));
}

type AjvError = Pick<
  ErrorObject | FastifySchemaValidationError,
  'instancePath' | 'keyword' | 'params' | 'message'
>;

/** Names where and what, never the value: it may be a secret. */
export function validationProblems(
  errors: readonly AjvError[],
  context: string | undefined,
): FieldProblem[] {
  const prefix = context === 'querystring' ? 'query parameter: ' : '';
  return errors.map((error) => ({
    pointer: pointerOf(error),
    detail: `${prefix}${detailOf(error)}`,
  }));
}

const escaped = (key: string): string => key.replaceAll('~', '~0').replaceAll('/', '~1');

function pointerOf({ instancePath, params }: AjvError): string {
  for (const name of ['missingProperty', 'additionalProperty', 'propertyName']) {
    const key: unknown = params[name];
    if (typeof key === 'string') return `${instancePath}/${escaped(key)}`;
  }
  return instancePath;
}

function detailOf({ keyword, params, message }: AjvError): string {
  if (keyword === 'required') return 'is required';
  if (keyword === 'additionalProperties') return 'is not known here';
  if (keyword === 'enum' && Array.isArray(params['allowedValues'])) {
    return `must be one of ${params['allowedValues'].map(String).join(', ')}`;
  }
  if (keyword === 'const') return `must be ${String(params['allowedValue'])}`;
  if (keyword === 'discriminator') return 'must name one of the known kinds';
  return message ?? 'is not valid';
}
