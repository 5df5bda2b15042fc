import { Scatter } from '@sallyport/node-registry';
import { instant } from '../../http/list-query.ts';
import type { AdminApiPorts } from '../../ports.ts';

/** How long a read of a credential waits for nodes to tell of its use. */
export const LAST_USED_TIMEOUT_MS = 500;

/** When the secrets of a credential were last used, as far as nodes tell, in milliseconds since 1970. */
export async function lastUses(
  { calls, registry }: Pick<AdminApiPorts, 'calls' | 'registry'>,
  credentialId: string,
): Promise<ReadonlyMap<string, number>> {
  const nodeIds = registry.nodes().map(({ nodeId }) => nodeId);
  const scatter = new Scatter(calls, nodeIds, LAST_USED_TIMEOUT_MS);
  const told = await scatter.ask<{ readonly uses: Readonly<Record<string, number>> }>({
    op: 'secret-uses',
    credentialId,
  });
  const uses = new Map<string, number>();
  for (const [secretId, at] of told.flatMap((one) => Object.entries(one.uses))) {
    uses.set(secretId, Math.max(at, uses.get(secretId) ?? 0));
  }
  return uses;
}

/** The view of a credential with what is known of its use. */
export function withLastUses(
  view: Record<string, unknown>,
  uses: ReadonlyMap<string, number>,
): Record<string, unknown> {
  if (uses.size === 0) return view;
  const secrets = view['secrets'] as readonly { readonly secretId: string }[]; // Of `credentialView`.
  const tokens = view['tokens'] as readonly { readonly tokenId: string }[]; // The same.
  const used = <T extends object>(one: T, id: string): T => {
    const at = uses.get(id);
    return at === undefined ? one : { ...one, lastUsedAt: instant(at) };
  };
  return {
    ...view,
    secrets: secrets.map((secret) => used(secret, secret.secretId)),
    tokens: tokens.map((token) => used(token, token.tokenId)),
    lastUsedAt: instant(Math.max(...uses.values())),
  };
}
