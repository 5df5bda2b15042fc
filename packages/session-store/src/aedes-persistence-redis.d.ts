/** Published without types; `redis.ts` says what it uses of it. */
declare module 'aedes-persistence-redis' {
  const openPersistence: (options: never) => unknown;
  export = openPersistence;
}
