import type { Facts } from '@sallyport/rules';

/** Whoever makes requests for access of connections that are refused. */
export interface RefusedConnections {
  /**
   * A CONNECT has proven nothing. Returns at once and never throws: the answer waits for nothing of it, and is the same whatever becomes of
   * it; what is dropped comes again with the next attempt.
   */
  refused(facts: Facts, password: Uint8Array | undefined): void;
}
