import { createHmac } from 'node:crypto';
import { type Credential, isLive, LIVE_SECRETS_MAX } from '@sallyport/domain';
import {
  DEFAULT_WORK,
  type HashWork,
  type SecretBox,
  sealingContext,
  workOf,
} from '@sallyport/secrets';
import type { Facts } from '@sallyport/rules';

/** Names whose work is remembered; some 200 bytes each. */
export const SAMPLED_NAMES_MAX = 512;

/** Slow hashes that every refusal of a password costs at least: as many as a credential can have. */
export const SLOW_CHECKS_OF_REFUSAL = LIVE_SECRETS_MAX;

/** The work of a name that the sample has nobody for. */
const DEFAULT_WORKS: readonly HashWork[] =
  Array<HashWork>(SLOW_CHECKS_OF_REFUSAL).fill(DEFAULT_WORK);

interface Place {
  readonly name: string;
  /** Of all names those with the least are kept: a sample that does not depend on who comes how often. */
  readonly rank: number;
  readonly position: number;
}

/**
 * What work a refusal of a password costs, by the name that it is tried for. Of a name that somebody has: all slow hashes of its
 * credentials, closed ones and ended secrets too. Of any other: that of a name that somebody has, always the same one as long as those
 * who are known stay, and so of each kind of work as much as there is among them. What is missing of it is done for nothing.
 */
export class RefusalWork {
  readonly #box: Pick<SecretBox, 'open'>;
  readonly #key: Uint8Array;
  readonly #namesMax: number;
  readonly #sample = new Map<string, Place & { readonly works: readonly HashWork[] }>();
  #rankMax = -1;

  constructor(box: Pick<SecretBox, 'open' | 'derive'>, namesMax = SAMPLED_NAMES_MAX) {
    this.#box = box;
    this.#key = box.derive('refusal-work');
    this.#namesMax = namesMax;
  }

  /** Somebody has logged in: mostly it is not one of the sample, and costs a hash. */
  learn(facts: Facts, credentials: readonly Credential[], at: number): void {
    const place = this.#placeOf(nameOf(facts));
    if (this.#isFull && place.rank > this.#rankMax) return;
    this.#remember(place, this.#worksOf(credentials, at));
  }

  /** Of a refusal of these facts. `decoy`: looked at like one of them, without a slow hash, so that as many secrets are opened for all. */
  of(
    facts: Facts,
    credentials: readonly Credential[],
    at: number,
    decoy?: Credential,
  ): readonly HashWork[] {
    const place = this.#placeOf(nameOf(facts));
    const works = this.#worksOf(decoy === undefined ? credentials : [...credentials, decoy], at);
    // Looked for in any case: it takes microseconds, too.
    const standIn = this.#next(place.position);
    if (credentials.length === 0) {
      this.#sample.delete(place.name);
      return standIn;
    }
    if (!this.#isFull || place.rank <= this.#rankMax) this.#remember(place, works);
    return works;
  }

  get #isFull(): boolean {
    return this.#sample.size >= this.#namesMax;
  }

  #remember(place: Place, works: readonly HashWork[]): void {
    this.#sample.set(place.name, { ...place, works });
    // That of one who was forgotten, at most: it lets in one too many then, and is looked for anew.
    this.#rankMax = Math.max(this.#rankMax, place.rank);
    if (this.#sample.size > this.#namesMax) this.#dropLast();
  }

  /** O(names). While a sample is young every tenth login comes here: sorting it took longer than the rest of the decision. */
  #dropLast(): void {
    let last: Place | undefined;
    let rankMax = -1;
    for (const place of this.#sample.values()) {
      if (last === undefined || place.rank > last.rank) {
        rankMax = last?.rank ?? -1;
        last = place;
      } else if (place.rank > rankMax) rankMax = place.rank;
    }
    if (last !== undefined) this.#sample.delete(last.name);
    this.#rankMax = rankMax;
  }

  #placeOf(name: string): Place {
    const mac = createHmac('sha256', this.#key).update(name).digest();
    return { name, rank: mac.readUIntBE(0, 6), position: mac.readUIntBE(6, 6) };
  }

  /** Of the sampled name that stands nearest behind the position. O(names). */
  #next(position: number): readonly HashWork[] {
    let nearest = Infinity;
    let found = DEFAULT_WORKS;
    for (const one of this.#sample.values()) {
      const distance = (one.position - position + 2 ** 48) % 2 ** 48;
      if (distance >= nearest) continue;
      nearest = distance;
      found = one.works;
    }
    return found;
  }

  #worksOf(credentials: readonly Credential[], at: number): readonly HashWork[] {
    const works = credentials.flatMap((one) => this.#worksOfOne(one, at));
    return [...works, ...DEFAULT_WORKS.slice(works.length)];
  }

  #worksOfOne({ id, secrets }: Credential, at: number): readonly HashWork[] {
    const context = sealingContext({ kind: 'credential', id });
    // Ended ones stay until they are removed.
    const liveFirst = secrets.toSorted((a, b) => Number(isLive(b, at)) - Number(isLive(a, at)));
    return liveFirst.slice(0, LIVE_SECRETS_MAX).flatMap(({ verifier }) => {
      return verifier === undefined ? [] : (workOf(this.#box.open(verifier, context)) ?? []);
    });
  }
}

/** Who a CONNECT says that it is. */
const nameOf = ({ username = '', clientId }: Facts): string =>
  username === '' ? `c${clientId}` : `u${username}`;
