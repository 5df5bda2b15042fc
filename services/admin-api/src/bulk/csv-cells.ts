/** A cell that a spreadsheet would take for a formula, or one that has been protected from that already. */
const FORMULA = /^'*[=+\-@\t\r]/;
const PROTECTED = /^'+[=+\-@\t\r]/;

/** The text of a cell as a spreadsheet may see it: what would be a formula begins with an apostrophe. */
export const protectCell = (text: string): string => (FORMULA.test(text) ? `'${text}` : text);

/** The inverse of `protectCell`. */
export const plainCell = (text: string): string => (PROTECTED.test(text) ? text.slice(1) : text);

/** One line of RFC 4180, with its end. */
export const csvLine = (cells: readonly string[]): string => `${cells.map(quoted).join(',')}\r\n`;

function quoted(text: string): string {
  const cell = protectCell(text);
  return /[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell;
}
