import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { collectPage, Scatter } from './collect-list.ts';
import {
  answerList,
  compareKeys,
  LIST_PARTS_MAX,
  LIST_ROWS_MAX,
  type ListKey,
  type ListQuery,
  parseListQuestion,
} from './live-list.ts';
import { LocalNodeCalls } from './local-calls.ts';
import type { NodeCalls } from './node-calls.ts';

type Values = readonly (string | number)[];

const query: ListQuery = { list: 'l', sort: 's', order: 'asc' };

/** Nodes `n0`, `n1` … with a row for each value; counts what goes over the calls. */
async function setUp(nodes: readonly Values[], order: ListQuery['order'] = 'asc') {
  const local = new LocalNodeCalls();
  let asked = 0;
  let rows = 0;
  const all: ListKey[] = [];
  for (const [index, values] of nodes.entries()) {
    const nodeId = `n${index}`;
    const keys = values
      .map((value, at) => ({ value, id: `${at}`, nodeId }))
      .sort((a, b) => compareKeys(a, b, order));
    all.push(...keys);
    await local.serve(nodeId, (question) => {
      asked += 1;
      const rowAt = (at: number): string => {
        rows += 1;
        return `${keys[at]?.nodeId} ${keys[at]?.id}`;
      };
      return answerList({ order, keys, rowAt }, parseListQuestion(question));
    });
  }
  all.sort((a, b) => compareKeys(a, b, order));
  const expected = all.map(({ nodeId, id }) => `${nodeId} ${id}`);
  const collect = (offset: number, limit: number, calls: NodeCalls = local, more: string[] = []) =>
    collectPage<string>(
      new Scatter(calls, [...nodes.map((_, index) => `n${index}`), ...more], 100),
      { query: { ...query, order }, offset, limit },
    );
  return { collect, expected, local, spent: () => ({ asked, rows }) };
}

describe('a page of a list over several nodes', () => {
  it('is the same as of all rows in one place, wherever it begins', async () => {
    const value = fc.oneof(
      fc.constant(fc.integer({ min: 0, max: 5000 })),
      // Many equal ones.
      fc.constant(fc.integer({ min: 0, max: 3 })),
      fc.constant(fc.string({ maxLength: 2 })),
    );
    const nodes = value.chain((one) =>
      fc.array(fc.array<string | number>(one, { maxLength: 3000, size: 'max' }), {
        minLength: 1,
        maxLength: 4,
      }),
    );
    await fc.assert(
      fc.asyncProperty(
        nodes,
        fc.double({ min: 0, max: 1.1, noNaN: true }),
        fc.integer({ min: 1, max: 200 }),
        fc.constantFrom('asc' as const, 'desc' as const),
        async (values, where, limit, order) => {
          const { collect, expected } = await setUp(values, order);
          const offset = Math.floor(where * expected.length);
          const page = await collect(offset, limit);
          expect(page.total).toBe(expected.length);
          expect(page.items).toEqual(expected.slice(offset, offset + limit));
          expect(page.silentNodes).toEqual([]);
        },
      ),
      { numRuns: 100 },
    );
  });

  it('of 60,000 rows on three nodes costs a few rounds and a few hundred rows, also in the middle', async () => {
    const values = Array.from({ length: 3 }, (_, node) =>
      Array.from({ length: 20_000 }, (_, index) => (index * 7919 + node * 104_729) % 1_000_003),
    );
    const { collect, expected, spent } = await setUp(values);
    for (const offset of [0, 200, 30_000, 59_990]) {
      const before = spent();
      const { items, total } = await collect(offset, 200);
      expect(total).toBe(60_000);
      expect(items).toEqual(expected.slice(offset, offset + 200));
      const after = spent();
      expect(after.asked - before.asked).toBeLessThanOrEqual(3 * 4);
      expect(after.rows - before.rows).toBeLessThanOrEqual(3 * LIST_ROWS_MAX);
    }
    expect((await collect(60_000, 10)).items).toEqual([]);
  });

  it('without a node that does not answer has the rows of the others, and names it', async () => {
    const { collect } = await setUp([[1, 3], [2]]);
    const page = await collect(0, 10, undefined, ['dead']);
    expect(page).toEqual({ items: ['n0 0', 'n1 0', 'n0 1'], total: 3, silentNodes: ['dead'] });
  });

  it('of no nodes is empty', async () => {
    const { collect } = await setUp([]);
    expect(await collect(0, 10)).toEqual({ items: [], total: 0, silentNodes: [] });
    expect(await collect(10_000, 10)).toEqual({ items: [], total: 0, silentNodes: [] });
  });
});

describe('a question of a list', () => {
  const page = { op: 'page', query, limit: 1 };
  it.each([
    undefined,
    null,
    'page',
    {},
    { ...page, op: 'drop' },
    { ...page, query: { ...query, order: 'up' } },
    { ...page, query: { ...query, list: 7 } },
    { ...page, query: { ...query, search: {} } },
    { ...page, limit: 0 },
    { ...page, limit: LIST_ROWS_MAX + 1 },
    { ...page, limit: '1' },
    { ...page, from: 'x' },
    { ...page, from: { value: {}, id: 'x', nodeId: 'n' } },
    { op: 'split', query, parts: LIST_PARTS_MAX + 1 },
    { op: 'split', query, parts: 1, to: { value: 1, id: 'x' } },
  ])('is not %j', (question) => {
    expect(() => parseListQuestion(question)).toThrow(/not valid/);
  });

  it('may ask for as many rows and parts as there may be', () => {
    expect(parseListQuestion({ ...page, limit: LIST_ROWS_MAX })).toMatchObject({ op: 'page' });
    expect(parseListQuestion({ op: 'split', query, parts: LIST_PARTS_MAX })).toMatchObject({
      op: 'split',
    });
  });
});
