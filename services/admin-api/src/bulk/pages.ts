/** Objects that are read at once. */
export const PAGE_OBJECTS = 200;

/** Objects in the order of their keys, a page at a time. */
export function* pages<T>(
  read: (after: T | undefined, limit: number) => readonly T[],
): Generator<readonly T[]> {
  for (let after: T | undefined; ;) {
    const page = read(after, PAGE_OBJECTS);
    if (page.length === 0) return;
    yield page;
    after = page.at(-1);
  }
}
