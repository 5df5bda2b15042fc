import { describe, expect, it } from 'vitest';
import { CACHED_ROWS_MAX, KNOWN_KEYS_MAX, KnownKeys, RowCache } from './row-caches.ts';

describe('RowCache', () => {
  it('reads a row once until it is told of a change, and a missing row each time', () => {
    const cache = new RowCache<object>();
    let reads = 0;
    const read = () => ({ read: ++reads });
    expect([cache.get('a', read), cache.get('a', read)]).toEqual([{ read: 1 }, { read: 1 }]);
    cache.drop('a');
    expect(cache.get('a', read)).toEqual({ read: 2 });
    cache.clear();
    expect(cache.get('a', read)).toEqual({ read: 3 });
    const missing = () => (reads++, undefined);
    expect([cache.get('__proto__', missing), cache.get('__proto__', missing)]).toEqual([
      undefined,
      undefined,
    ]);
    expect(reads).toBe(5);
  });

  it('keeps so many rows and no more', () => {
    const cache = new RowCache<object>();
    const read: string[] = [];
    const ask = (key: string) => cache.get(key, () => (read.push(key), {}));
    for (let index = 0; index < CACHED_ROWS_MAX; index++) ask(`${index}`);
    ask('0');
    expect(read).toHaveLength(CACHED_ROWS_MAX);
    ask('one more');
    ask('1');
    ask('0');
    expect(read.slice(CACHED_ROWS_MAX)).toEqual(['one more', '0']);
  });
});

describe('KnownKeys', () => {
  it('says that a row is not there, and never that it is not when it is', () => {
    const keys = new KnownKeys(() => ['a', 'constructor']);
    expect(['a', 'constructor', 'b', '__proto__'].map((key) => keys.mayHave(key))).toEqual([
      true,
      true,
      false,
      false,
    ]);
    keys.add('b');
    expect(keys.mayHave('b')).toBe(true);
    keys.clear();
    expect(keys.mayHave('b')).toBe(false);
  });

  it('knows nothing any more once there are too many', () => {
    const many = Array.from({ length: KNOWN_KEYS_MAX }, (_, index) => `${index}`);
    const keys = new KnownKeys((limit) => many.slice(0, limit));
    expect(keys.mayHave('x')).toBe(false);
    keys.add('one more');
    expect(keys.mayHave('x')).toBe(true);
  });
});
