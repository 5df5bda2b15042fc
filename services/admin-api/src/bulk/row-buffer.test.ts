import { describe, expect, it } from 'vitest';
import { ndjsonRows } from './json-rows.ts';
import { decodedText, readRow } from './raw-rows.ts';
import { RowBuffer } from './row-buffer.ts';

/** More rows than arguments fit on the stack of a call. */
const ROWS = 300_000;

function bufferOf(body: Uint8Array, rowsMax = ROWS): RowBuffer {
  async function* chunks(): AsyncGenerator<Uint8Array> {
    yield body;
  }
  return new RowBuffer(ndjsonRows(decodedText(chunks(), body.length)), rowsMax);
}

describe('a body that comes as one chunk of many megabytes', () => {
  // An odd number of bytes a row, two of them one character: some piece ends inside of one.
  const body = Buffer.from('["é"]\n'.repeat(ROWS));

  it('is taken up row by row, in pieces', async () => {
    const buffer = bufferOf(body);
    const [first] = await buffer.take(1);
    expect(first).toMatchObject({ text: '["é"]' });
    expect(first && readRow(first)).toEqual({ value: ['é'] });
    expect(buffer.read).toBeLessThan(ROWS / 10);
    for (let taken = 1; taken < ROWS; taken += 999) {
      const rows = await buffer.take(999);
      expect(rows.every((row) => row.text === '["é"]')).toBe(true);
    }
    expect([buffer.read, await buffer.atEnd()]).toEqual([ROWS, true]);
  });

  it('is refused behind as many rows as are allowed', async () => {
    const buffer = bufferOf(body, ROWS - 1);
    expect(await buffer.take(ROWS)).toHaveLength(ROWS - 1);
    await expect(buffer.take(1)).rejects.toMatchObject({ rejection: { code: 'too_many_rows' } });
  });
});
