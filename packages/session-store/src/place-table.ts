import type { PlaceLimits, SessionPlace } from './session-store.ts';

type Held = Pick<SessionPlace, 'token' | 'since'>;
type Nodes = Map<string, Map<string, Held>>;

/** The places of a store that one process owns: connections end with it, so they are in memory. */
export class PlaceTable {
  /** By client id, by node, by credential. */
  readonly #owners = new Map<string, Nodes>();
  /** By node, the revision up to which it has asked for all its own. */
  readonly #told = new Map<string, number>();

  take(place: SessionPlace, { most, nodeIds }: PlaceLimits): boolean {
    const { owner, clientId } = place;
    const nodes = this.#owners.get(owner);
    let others = 0;
    for (const one of nodeIds) {
      const places = nodes?.get(one);
      if (places !== undefined) others += places.size - (places.has(clientId) ? 1 : 0);
    }
    if (others >= most) return false;
    this.#set(place);
    return true;
  }

  /** Whether it was held. */
  leave({ owner, clientId, nodeId, token }: SessionPlace): boolean {
    const places = this.#owners.get(owner)?.get(nodeId);
    if (places?.get(clientId)?.token !== token) return false;
    places.delete(clientId);
    if (places.size === 0) this.#forget(owner, nodeId);
    return true;
  }

  limit(own: readonly SessionPlace[], { most, nodeIds }: PlaceLimits): readonly SessionPlace[] {
    const held = this.#sinceOf(own[0]?.owner ?? '', nodeIds);
    for (const place of own) {
      // The client id has a newer connection.
      if (held.has(place.clientId)) continue;
      held.set(place.clientId, place.since);
      this.#set(place);
    }
    const byAge = [...held].sort(([a, one], [b, other]) => one - other || (a < b ? -1 : 1));
    const beyond = new Set(byAge.slice(most).map(([clientId]) => clientId));
    return own.filter((place) => beyond.has(place.clientId) && this.leave(place));
  }

  tell(nodeId: string, revision: number): ReadonlyMap<string, number> {
    return this.#told.set(nodeId, revision);
  }

  leaveNode(nodeId: string): void {
    this.#told.delete(nodeId);
    for (const owner of [...this.#owners.keys()]) this.#forget(owner, nodeId);
  }

  /** Client ids that have a place, and since when; of two connections of one the newer counts. */
  #sinceOf(owner: string, nodeIds: readonly string[]): Map<string, number> {
    const found = new Map<string, number>();
    for (const nodeId of nodeIds) {
      for (const [clientId, { since }] of this.#owners.get(owner)?.get(nodeId) ?? []) {
        found.set(clientId, Math.max(since, found.get(clientId) ?? since));
      }
    }
    return found;
  }

  #set({ owner, clientId, nodeId, token, since }: SessionPlace): void {
    const nodes: Nodes = this.#owners.get(owner) ?? new Map<string, Map<string, Held>>();
    const places = nodes.get(nodeId) ?? new Map<string, Held>();
    places.set(clientId, { token, since });
    nodes.set(nodeId, places);
    this.#owners.set(owner, nodes);
  }

  #forget(owner: string, nodeId: string): void {
    const nodes = this.#owners.get(owner);
    nodes?.delete(nodeId);
    if (nodes?.size === 0) this.#owners.delete(owner);
  }
}
