import type { Answered, Client } from './world.ts';

/** A line of the answer to an import. */
interface Line {
  readonly row?: number;
  readonly outcome?: string;
  readonly id?: string;
  readonly secret?: string;
  readonly code?: string;
  readonly pointer?: string;
  readonly detail?: string;
  readonly summary?: Readonly<Record<string, unknown>> & {
    readonly problem?: { readonly code: string; readonly errors?: readonly { detail: string }[] };
  };
}

export interface Imported extends Answered {
  readonly lines: readonly Line[];
  readonly rows: readonly Line[];
  readonly summary: NonNullable<Line['summary']>;
}

export interface ImportOptions {
  readonly query?: string;
  readonly key?: string;
}

export const ndjson = (rows: readonly unknown[]): string =>
  rows.map((one) => JSON.stringify(one)).join('\n');

export async function sendImport(
  client: Client,
  url: string,
  sent: ImportOptions & { readonly payload: string | Buffer; readonly type: string },
): Promise<Imported> {
  const { payload, type, query = '', key } = sent;
  const answer = await client.sendRaw(`${url}${query}`, payload, {
    'content-type': type,
    ...(key === undefined ? {} : { 'idempotency-key': key }),
  });
  const lines =
    answer.status === 200
      ? answer.text
          .trimEnd()
          .split('\n')
          .map((line) => JSON.parse(line) as Line)
      : [];
  const summary = lines.at(-1)?.summary ?? {};
  return { ...answer, lines, rows: lines.slice(0, -1), summary };
}
