import { assert } from '@sallyport/errors';
import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';

interface Operation {
  readonly operationId?: string;
  readonly summary?: string;
  readonly security?: readonly Readonly<Record<string, unknown>>[];
  readonly responses?: Readonly<
    Record<string, { readonly content?: Readonly<Record<string, { schema: object }>> }>
  >;
  readonly 'x-permission'?: string;
}

export interface Documented {
  readonly method: string;
  /** `/api/v1/credentials/{id}` */
  readonly path: string;
  readonly operation: Operation;
}

/** Compares answers with the OpenAPI document that the service gives out. */
export class Conformance {
  readonly #ajv = new Ajv2020({ strict: false, allErrors: true });
  readonly operations: readonly Documented[];

  constructor(document: object) {
    addFormats.default(this.#ajv);
    this.#ajv.addSchema({ ...document, $id: 'document' });
    const { paths = {} } = document as { paths?: Record<string, Record<string, Operation>> }; // OpenAPI 3.1 §4.8.1
    this.operations = Object.entries(paths).flatMap(([path, item]) =>
      Object.entries(item).map(([method, operation]) => ({
        method: method.toUpperCase(),
        path,
        operation,
      })),
    );
  }

  find(method: string, url: string): Documented | undefined {
    const segments = url.split('?', 1)[0]?.split('/') ?? [];
    const wanted = method === 'HEAD' ? 'GET' : method;
    const fitting = this.operations.filter((one) => {
      const pattern = one.path.split('/');
      return (
        one.method === wanted &&
        pattern.length === segments.length &&
        pattern.every((part, index) => part.startsWith('{') || part === segments[index])
      );
    });
    // As the router does: what is written out goes before a parameter.
    return fitting.find((one) => !one.path.includes('{')) ?? fitting[0];
  }

  check(answer: {
    readonly method: string;
    readonly url: string;
    readonly status: number;
    readonly type: string;
    readonly body: unknown;
  }): void {
    const { method, url, status, type, body } = answer;
    const documented = this.find(method, url);
    if (documented === undefined || method === 'HEAD') return;
    const { responses = {} } = documented.operation;
    const response = responses[String(status)];
    const name = `${documented.method} ${documented.path} ${status}`;
    if (documented.operation.operationId === 'getOpenApi' && status === 200) return;
    assert(response !== undefined, `${name} is not documented: ${JSON.stringify(body)}`);
    if (status === 204) {
      assert(body === undefined, `${name} has a body`);
      return;
    }
    const media = type.split(';', 1)[0] ?? '';
    const schema = response.content?.[media]?.schema;
    assert(schema !== undefined, `${name} does not document ${media}`);
    const pointer = [
      documented.path,
      documented.method.toLowerCase(),
      'responses',
      String(status),
      'content',
      media,
      'schema',
    ]
      .map((part) => encodeURIComponent(part.replaceAll('~', '~0').replaceAll('/', '~1')))
      .join('/');
    const validate = this.#ajv.getSchema(`document#/paths/${pointer}`);
    assert(validate !== undefined, `${name} has a schema that cannot be found`);
    const valid = validate(body) === true;
    assert(
      valid,
      `${name} does not conform: ${JSON.stringify(validate.errors)} ${JSON.stringify(body)}`,
    );
  }
}
