import { readFileSync } from 'node:fs';
import { repositoryPath } from '@sallyport/test-kit';
import { describe, expect, it } from 'vitest';
import {
  claimsOf,
  parseTable,
  problemsOf,
  readStandards,
  readTitles,
  titlesOf,
} from './conformance.ts';

describe('the tables of conformance', () => {
  const titles = readTitles();
  const standards = readStandards();

  it('are those of MQTT 3.1.1 and 5.0, and are found from the first page', () => {
    expect(standards.map(({ name }) => name)).toEqual(['MQTT-3.1.1', 'MQTT-5.0']);
    const index = readFileSync(repositoryPath('test/mqtt/conformance.md'), 'utf8');
    for (const { page } of standards) expect(index).toContain(`(${page})`);
  });

  it('have one proof for each statement of their standard, and name every wire test that claims one', () => {
    for (const standard of standards) {
      expect(problemsOf(standard, titles), standard.name).toEqual([]);
    }
  });
});

describe('the check of the tables', () => {
  const row = (id: string, proof: string): string => `| [${id}] | says this | ${proof} |`;
  const check = (lines: string[], statements: string[], titles: string[] = []) =>
    problemsOf(
      { name: 'MQTT-3.1.1', statements, table: parseTable(lines.join('\n')) },
      { all: new Set(titles), wire: new Set(titles) },
    );

  it('finds statements without a row, with two, and such as the standard does not have', () => {
    const lines = ['| Statement | a | b |', '|---|---|---|', row('MQTT-1.0.0-1', 'n/a: clients')];
    expect(check(lines, ['MQTT-1.0.0-1'])).toEqual([]);
    expect(check(lines, ['MQTT-1.0.0-1', 'MQTT-1.0.0-2'])).toEqual(['MQTT-1.0.0-2 has no row']);
    expect(check(lines, [])).toEqual(['MQTT-1.0.0-1 is no statement of the standard']);
    const twice = [...lines, row('MQTT-1.0.0-1', 'n/a: clients')];
    expect(check(twice, ['MQTT-1.0.0-1'])).toEqual(['MQTT-1.0.0-1 has 2 rows']);
  });

  it('finds a proof that no test is, one that does not claim the statement, and none at all', () => {
    const title = 'MQTT-3.1.1 [MQTT-1.0.0-1] a thing happens';
    const other = 'MQTT-3.1.1 [MQTT-1.0.0-2] another thing happens';
    const ids = ['MQTT-1.0.0-1'];
    expect(check([row('MQTT-1.0.0-1', title)], ids, [title])).toEqual([]);
    expect(check([row('MQTT-1.0.0-1', `${title} ; ${other}`)], ids, [title])).toEqual([
      `MQTT-1.0.0-1: no test is called "${other}"`,
      `MQTT-1.0.0-1 is not named by "${other}"`,
    ]);
    expect(check([row('MQTT-1.0.0-1', 'n/a:')], ids)).toEqual([
      'MQTT-1.0.0-1 does not say why no test can prove it',
    ]);
    expect(check([row('MQTT-1.0.0-1', '')], ids)).toHaveLength(2);
    expect(check(['| MQTT-1.0.0-1 | says | n/a: clients |'], ids)).toHaveLength(2);
    expect(check([row('MQTT-1.0.0-1', 'n/a: a | b')], ids)).toHaveLength(2);
  });

  it('finds tests that claim what there is not, or what no row says of them', () => {
    const lines = [row('MQTT-1.0.0-1', 'n/a: clients')];
    const ids = ['MQTT-1.0.0-1'];
    expect(check(lines, ids, ['MQTT-3.1.1 [MQTT-1.0.0-9] x'])).toEqual([
      '"MQTT-3.1.1 [MQTT-1.0.0-9] x" claims MQTT-1.0.0-9, which there is not',
    ]);
    expect(check(lines, ids, ['MQTT-3.1.1 [MQTT-1.0.0-1] x'])).toEqual([
      'the row of MQTT-1.0.0-1 does not name "MQTT-3.1.1 [MQTT-1.0.0-1] x"',
    ]);
    expect(check(lines, ids, ['MQTT-5.0 [MQTT-1.0.0-9] x', 'no claim at all'])).toEqual([]);
  });

  it('reads titles of tests that run, however they are written, and of no others', () => {
    const source = [
      `it('plain', () => {});`,
      `test("double", async () => {});`,
      'it(`a ${template}`, () => {});',
      `it.each([[1, f(2)]])('each %s', (n) => n);`,
      `it(\n  'an it\\'s on its own line',\n  () => {});`,
      `it.skip('skipped', () => {});`,
      `it.todo('to do');`,
      `expect('nothing').toBe('nothing');`,
    ].join('\n');
    const found = ['plain', 'double', 'a ${template}', 'each %s', `an it's on its own line`];
    expect(titlesOf(source)).toEqual(found);
  });

  it('reads each claim with its standard', () => {
    const title = 'MQTT-3.1.1 [MQTT-4.7.1-3], MQTT-5.0 [MQTT-4.7.1-2] [MQTT-4.13.1-1] §4.7 a thing';
    expect(claimsOf(title)).toEqual([
      { standard: 'MQTT-3.1.1', id: 'MQTT-4.7.1-3' },
      { standard: 'MQTT-5.0', id: 'MQTT-4.7.1-2' },
      { standard: 'MQTT-5.0', id: 'MQTT-4.13.1-1' },
    ]);
  });
});
