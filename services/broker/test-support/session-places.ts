import {
  createMemorySessionStore,
  type PlaceLimits,
  type SessionPlace,
  type SessionStore,
} from '@sallyport/session-store';
import { SessionPlaces, type SessionPlacesOptions } from '../src/access/session-places.ts';

/** Places as a node has them that is alone, with a store in its process; without limits but those that credentials have. */
export const placesOf = (options: Partial<SessionPlacesOptions> = {}): SessionPlaces =>
  new SessionPlaces({
    store: createMemorySessionStore(),
    nodeId: 'n1',
    otherNodes: () => [],
    nodesBehind: () => [],
    sessionsMax: 0,
    logger: { warn: () => undefined },
    ...options,
  });

/** A store that answers later, as one that is elsewhere; until it is told to, it fails. */
export class FarStore implements Pick<
  SessionStore,
  'takePlace' | 'leavePlace' | 'limitPlaces' | 'tellPlaces'
> {
  readonly #near = createMemorySessionStore();
  failure: Error | undefined;
  asked = 0;

  async takePlace(place: SessionPlace, limits: PlaceLimits): Promise<boolean> {
    this.asked += 1;
    await Promise.resolve();
    if (this.failure !== undefined) throw this.failure;
    return this.#near.takePlace(place, limits);
  }

  async limitPlaces(
    own: readonly SessionPlace[],
    limits: PlaceLimits,
  ): Promise<readonly SessionPlace[]> {
    await Promise.resolve();
    if (this.failure !== undefined) throw this.failure;
    return this.#near.limitPlaces(own, limits);
  }

  async tellPlaces(nodeId: string, revision: number): Promise<ReadonlyMap<string, number>> {
    await Promise.resolve();
    if (this.failure !== undefined) throw this.failure;
    return this.#near.tellPlaces(nodeId, revision);
  }

  async leavePlace(place: SessionPlace): Promise<void> {
    if (this.failure !== undefined) throw this.failure;
    await this.#near.leavePlace(place);
  }
}
