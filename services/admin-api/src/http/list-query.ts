import { type TObject, type TSchema, Type } from 'typebox';

export const PAGE_SIZE_MAX = 200;
export const SEARCH_LENGTH_MAX = 128;

/** A member that callers may leave out, and that handlers always find: its default is filled in before they run. */
export const defaulted = <S extends TSchema>(schema: S): S => Type.Optional(schema);

/** Query parameters of a list. `sort` is `<property>,asc` or `<property>,desc`. */
export const pageQuery = <S extends string>(properties: readonly [S, ...S[]]) => ({
  page: defaulted(
    Type.Integer({ minimum: 0, maximum: 1_000_000, default: 0, description: 'Zero-based.' }),
  ),
  pageSize: defaulted(Type.Integer({ minimum: 1, maximum: PAGE_SIZE_MAX, default: 10 })),
  sort: defaulted(
    Type.Unsafe<`${S},asc` | `${S},desc` | S>(
      Type.String({
        pattern: `^(${properties.join('|')})(,(asc|desc))?$`,
        default: `${properties[0]},asc`,
        description: `One of ${properties.join(', ')}, then \`asc\` or \`desc\`.`,
      }),
    ),
  ),
  search: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: SEARCH_LENGTH_MAX,
      description: 'Case-insensitive substring of the name.',
    }),
  ),
});

/** What a list is asked for, from its parsed query. */
export function pageRequestOf<S extends string>(query: {
  readonly page: number;
  readonly pageSize: number;
  readonly sort: string;
  readonly search?: string;
}): { page: number; pageSize: number; sort: S; order: 'asc' | 'desc'; search?: string } {
  const [sort, order] = query.sort.split(',') as [S, string | undefined]; // The schema's pattern.
  return {
    page: query.page,
    pageSize: query.pageSize,
    sort,
    order: order === 'desc' ? 'desc' : 'asc',
    ...(query.search === undefined ? {} : { search: query.search }),
  };
}

/** Schema of one page. */
export const pageOf = (items: TObject, $id: string) =>
  Type.Object(
    {
      items: Type.Array(items),
      total: Type.Integer(),
      page: Type.Integer(),
      pageSize: Type.Integer(),
    },
    { title: $id },
  );

/** A point in time as it is told to callers. */
export const instant = (at: number): string => new Date(at).toISOString();

export const instantSchema = (description: string) =>
  Type.String({ format: 'date-time', description });
