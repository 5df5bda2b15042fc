import { describe, expect, test } from 'vitest';
import { loadConnectCases } from './connects.ts';
import { loadDecisionCases } from './load.ts';

/** A table or rule list of a compat document that decides something, and the file that has its rows as cases. */
interface Table {
  readonly table: string;
  readonly file: string;
  /** What the titles of its cases have in common, where the file holds more than the one table. */
  readonly titled?: string;
}

const TABLES: readonly Table[] = [
  { table: 'cybus A2.1 user name and password', file: 'connects/cybus.json', titled: 'A2.1' },
  { table: 'cybus A2.2 certificate', file: 'connects/cybus.json', titled: 'A2.2' },
  { table: 'cybus A2.3 required grants', file: 'connects/stores.json', titled: 'A2.3' },
  { table: 'cybus A3.1, A3.2, A3.3, C3.3 roles', file: 'roles.json' },
  { table: 'cybus A5 publish prefix', file: 'publish-prefix.json', titled: 'A5' },
  { table: 'groups B3 without mTLS', file: 'connects/clients-without-certificates.json' },
  { table: 'groups B3 with mTLS', file: 'connects/clients-with-certificates.json' },
  { table: 'groups B4 membership', file: 'groups.json', titled: 'B4' },
  { table: 'groups B5, C3.4 deny-overrides', file: 'groups.json', titled: 'B5' },
  { table: 'model C1 authorities', file: 'authorities.json' },
  { table: 'model C1 guard', file: 'reserved-topics.json' },
  { table: 'model C1 stores in order', file: 'connects/stores.json', titled: 'C1' },
  { table: 'model C2 conditions', file: 'conditions.json' },
  {
    table: 'model C2 shared, wildcard, UNSUBSCRIBE',
    file: 'unsubscribe-shared-wildcard.json',
    titled: 'C2',
  },
  { table: 'model C3.1 patterns', file: 'patterns.json' },
  { table: 'model C3.1 mapping', file: 'certificate-mapping.json', titled: 'C3.1' },
  { table: 'model C3.2 tables', file: 'emqx-filters.json', titled: 'C3.2' },
  { table: 'model C3.5 ranks, RECEIVE and defaults of dynamic security', file: 'dynsec.json' },
  {
    table: 'model C3.5 UNSUBSCRIBE and wildcards of dynamic security',
    file: 'unsubscribe-shared-wildcard.json',
    titled: 'C3.5',
  },
  { table: 'model C4 placeholders', file: 'placeholders.json' },
  { table: 'model C4 values', file: 'placeholder-values.json' },
  { table: 'model C5 coverage', file: 'subscriptions.json' },
  { table: 'model C8 order of a PUBLISH', file: 'publish-prefix.json', titled: 'C8' },
  { table: 'tbmq 4.9 client ids', file: 'connects/stores.json', titled: 'tbmq 4.9' },
  { table: 'tbmq 4.9 client id in patterns', file: 'patterns.json', titled: 'tbmq 4.9' },
  { table: 'tbmq 5.1 providers', file: 'connects/stores.json', titled: 'tbmq 5.1' },
  { table: 'tbmq 5.3 candidates', file: 'connects/stores.json', titled: 'tbmq 5.3' },
  { table: 'tbmq 5.4 entry by keyword', file: 'connects/stores.json', titled: 'tbmq 5.4' },
  { table: 'tbmq 5.4 topics by keyword', file: 'certificate-mapping.json', titled: 'tbmq 5.4' },
  { table: 'tbmq 5.5 entry by key', file: 'connects/stores.json', titled: 'tbmq 5.5' },
  {
    table: 'tbmq 5.5.2 patterns along the chain',
    file: 'connects/stores.json',
    titled: 'tbmq 5.5.2',
  },
  { table: 'tbmq 5.5 topics by key', file: 'certificate-mapping.json', titled: 'tbmq 5.5' },
  { table: 'tbmq 6.1 whole match', file: 'patterns.json', titled: 'TBMQ 6.1' },
  { table: 'tbmq 6.3 SUBSCRIBE', file: 'patterns.json', titled: 'TBMQ 6.3' },
  { table: 'tbmq 9.1 expressions', file: 'java-patterns.json', titled: 'tbmq 9.1' },
  { table: 'emqx 2.4 chain', file: 'connects/stores.json', titled: 'emqx 2.4' },
  { table: 'emqx 2.5 chain of a listener', file: 'connects/stores.json', titled: 'emqx 2.5' },
  { table: 'emqx 5.3 conditions', file: 'connections.json', titled: 'EMQX 5.3' },
  { table: 'emqx 5.4 order of lists', file: 'emqx-order.json' },
  { table: 'emqx 5.6 filters', file: 'emqx-filters.json', titled: 'EMQX 5.6' },
  { table: 'emqx 8.4 newest first', file: 'emqx-order.json', titled: 'EMQX 8.4' },
];

const titles: readonly (readonly [string, string])[] = [
  ...loadDecisionCases().map(({ file, title }) => [file, title] as const),
  ...loadConnectCases().flatMap(({ file, cases }) =>
    cases.map(({ title }) => [file, title] as const),
  ),
];

describe('every table of the compat documents has its cases', () => {
  test.each(TABLES)('$table', ({ file, titled = '' }) => {
    const found = titles.filter(([of, title]) => of === file && title.includes(titled));
    expect(found.length).toBeGreaterThan(0);
  });

  test('every file belongs to a table, but two', () => {
    const known = new Set(TABLES.map(({ file }) => file));
    const others = titles.map(([file]) => file).filter((file) => !known.has(file));
    // Superusers, rows and kinds of access in general; and lists that no document draws as a table.
    expect([...new Set(others)]).toEqual(['acl-tables.json', 'credentials.json']);
  });

  test('no two cases have the same title', () => {
    expect(new Set(titles.map(([file, title]) => `${file}: ${title}`)).size).toBe(titles.length);
  });
});
