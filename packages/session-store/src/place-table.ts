import type { PlaceLimits, SessionPlace } from './session-store.ts';

/** The places of a store that one process owns: connections end with it, so they are in memory. */
export class PlaceTable {
  /** Tokens by client id, by node, by credential. */
  readonly #owners = new Map<string, Map<string, Map<string, string>>>();

  take({ owner, clientId, nodeId, token }: SessionPlace, { most, nodeIds }: PlaceLimits): boolean {
    const nodes = this.#owners.get(owner) ?? new Map<string, Map<string, string>>();
    let others = 0;
    for (const one of nodeIds) {
      const places = nodes.get(one);
      if (places !== undefined) others += places.size - (places.has(clientId) ? 1 : 0);
    }
    if (others >= most) return false;
    const places = nodes.get(nodeId) ?? new Map<string, string>();
    places.set(clientId, token);
    nodes.set(nodeId, places);
    this.#owners.set(owner, nodes);
    return true;
  }

  leave({ owner, clientId, nodeId, token }: SessionPlace): void {
    const places = this.#owners.get(owner)?.get(nodeId);
    if (places?.get(clientId) !== token) return;
    places.delete(clientId);
    if (places.size === 0) this.#forget(owner, nodeId);
  }

  leaveNode(nodeId: string): void {
    for (const owner of [...this.#owners.keys()]) this.#forget(owner, nodeId);
  }

  #forget(owner: string, nodeId: string): void {
    const nodes = this.#owners.get(owner);
    nodes?.delete(nodeId);
    if (nodes?.size === 0) this.#owners.delete(owner);
  }
}
