import { type Authenticator, authenticatorId } from './auth-chain.ts';
import { reject } from './commit.ts';

/** Where in its chain an authenticator goes. */
export type ChainPosition =
  { readonly at: 'front' | 'rear' } | { readonly at: 'before' | 'after'; readonly id: string };

type Ordered =
  | { readonly ok: true; readonly authenticators: readonly Authenticator[] }
  | ReturnType<typeof reject>;

/** Reads `front`, `rear`, `before:<id>`, `after:<id>`; ids have colons themselves. Undefined for anything else. */
export function parseChainPosition(text: string): ChainPosition | undefined {
  if (text === 'front' || text === 'rear') return { at: text };
  const [, at, id] = /^(before|after):(.+)$/s.exec(text) ?? [];
  return id === undefined ? undefined : { at: at === 'before' ? 'before' : 'after', id };
}

/** The chain with one authenticator moved; `authenticator_not_found` when it, or the one it goes next to, is not there. */
export function moveAuthenticator(
  authenticators: readonly Authenticator[],
  id: string,
  position: ChainPosition,
): Ordered {
  const moved = authenticators.find((one) => authenticatorId(one) === id);
  if (moved === undefined) return reject('authenticator_not_found');
  if ('id' in position && position.id === id) return { ok: true, authenticators };
  const others = authenticators.filter((one) => one !== moved);
  const index = indexOf(others, position);
  if (index === undefined) return reject('authenticator_not_found');
  return { ok: true, authenticators: others.toSpliced(index, 0, moved) };
}

function indexOf(others: readonly Authenticator[], position: ChainPosition): number | undefined {
  if (!('id' in position)) return position.at === 'front' ? 0 : others.length;
  const index = others.findIndex((one) => authenticatorId(one) === position.id);
  if (index < 0) return undefined;
  return position.at === 'before' ? index : index + 1;
}

/** The chain in another order, which must name every authenticator once and nothing else; else `auth_chain_invalid`. */
export function orderAuthenticators(
  authenticators: readonly Authenticator[],
  ids: readonly string[],
): Ordered {
  const ordered: Authenticator[] = [];
  for (const [index, id] of ids.entries()) {
    const found = authenticators.find((one) => authenticatorId(one) === id);
    if (found === undefined) return invalid(`/${index}`, 'is not in the chain');
    if (ordered.includes(found)) return invalid(`/${index}`, 'is named twice');
    ordered.push(found);
  }
  if (ordered.length < authenticators.length) {
    return invalid('', 'must name every authenticator of the chain');
  }
  return { ok: true, authenticators: ordered };
}

const invalid = (pointer: string, detail: string): ReturnType<typeof reject> =>
  reject('auth_chain_invalid', { problems: [{ pointer, detail }] });
