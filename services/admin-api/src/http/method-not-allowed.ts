import type { FastifyInstance } from 'fastify';

/** Knows which methods an address has, for the 405 of those that it has not. */
export class KnownMethods {
  readonly #patterns = new Map<
    string,
    { readonly segments: string[]; readonly methods: Set<string> }
  >();

  /** Listens to all routes that are registered after it. */
  constructor(app: FastifyInstance) {
    app.addHook('onRoute', ({ url, method }) => {
      const known = this.#patterns.get(url) ?? { segments: url.split('/'), methods: new Set() };
      for (const one of [method].flat()) known.methods.add(one);
      this.#patterns.set(url, known);
    });
  }

  /** Methods of an address, sorted; none when there is nothing at it. */
  of(url: string): string[] {
    const segments = (url.split('?', 1)[0] ?? '').split('/');
    const found = new Set<string>();
    for (const { segments: pattern, methods } of this.#patterns.values()) {
      if (matches(pattern, segments)) for (const method of methods) found.add(method);
    }
    return [...found].sort();
  }
}

function matches(pattern: readonly string[], segments: readonly string[]): boolean {
  if (pattern.length !== segments.length) return false;
  return pattern.every((part, index) => {
    const segment = segments[index];
    return part.startsWith(':') ? segment !== '' : part === segment;
  });
}
