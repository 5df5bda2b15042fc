import { type KeywordPattern, parseKeywordPattern } from '@sallyport/topic';
import type { Ban, BanEvent, BanKind, BanPatternKind } from './ban.ts';
import { isBanPattern, isOver } from './ban.ts';
import { type IpAddress, parseIpAddress, parseIpNetwork, startOf } from './ip-address.ts';

/** A ban as far as it decides. */
export type BanRule = Pick<Ban, 'id' | 'kind' | 'value' | 'until'>;

/** Who is judged. */
export interface BanFacts {
  readonly clientId?: string | undefined;
  readonly username?: string | undefined;
  /** The address in its one text; anything else is in no network. */
  readonly address?: string | undefined;
}

/** Networks of one size: the first address of each, and its ban. */
interface NetworkSize {
  readonly bits: 32 | 128;
  readonly prefix: number;
  readonly bans: Map<bigint, BanRule>;
}

type NamedKind = Exclude<BanKind, 'cidr' | BanPatternKind>;

interface PatternBan {
  readonly ban: BanRule;
  readonly pattern: KeywordPattern;
}

/**
 * All bans, to be asked at every CONNECT and every accepted socket. A look-up costs three of a map, and one more for each size of
 * network that is banned; an address is parsed only while a network is. Every regular expression is searched, in linear time.
 */
export class BanIndex {
  readonly #named: Readonly<Record<NamedKind, Map<string, BanRule>>> = {
    client_id: new Map(),
    username: new Map(),
    address: new Map(),
  };
  #networks: NetworkSize[] = [];
  readonly #patterns: Readonly<Record<BanPatternKind, Map<string, PatternBan>>> = {
    client_id_pattern: new Map(),
    username_pattern: new Map(),
    address_pattern: new Map(),
  };

  constructor(bans: Iterable<BanRule> = []) {
    for (const ban of bans) this.add(ban);
  }

  get size(): number {
    const { client_id: clientIds, username, address } = this.#named;
    const networks = this.#networks.reduce((sum, { bans }) => sum + bans.size, 0);
    return clientIds.size + username.size + address.size + networks + this.patterns;
  }

  /** How many of them are regular expressions. */
  get patterns(): number {
    return Object.values(this.#patterns).reduce((sum, { size }) => sum + size, 0);
  }

  /** One of the same kind and value is replaced. Values are canonical. */
  add(ban: BanRule): void {
    if (isBanPattern(ban.kind)) {
      const parsed = parseKeywordPattern(ban.value);
      if (!parsed.ok) throw new TypeError('the value of a ban is no regular expression');
      this.#patterns[ban.kind].set(ban.value, { ban, pattern: parsed.value });
      return;
    }
    if (ban.kind !== 'cidr') {
      this.#named[ban.kind].set(ban.value, ban);
      return;
    }
    const network = parseIpNetwork(ban.value);
    if (network === undefined) throw new TypeError('the value of a ban is not canonical');
    const { bits, prefix, value } = network;
    let size = this.#networks.find((one) => one.bits === bits && one.prefix === prefix);
    if (size === undefined) this.#networks.push((size = { bits, prefix, bans: new Map() }));
    size.bans.set(value, ban);
  }

  remove({ kind, value }: Pick<Ban, 'kind' | 'value'>): void {
    if (isBanPattern(kind)) {
      this.#patterns[kind].delete(value);
      return;
    }
    if (kind !== 'cidr') {
      this.#named[kind].delete(value);
      return;
    }
    const network = parseIpNetwork(value);
    if (network === undefined) return;
    this.#networks = this.#networks.filter((size) => {
      if (size.bits === network.bits && size.prefix === network.prefix) {
        size.bans.delete(network.value);
      }
      return size.bans.size > 0;
    });
  }

  apply(event: BanEvent): void {
    if (event.type === 'BanAdded') this.add(event.data);
    else this.remove(event.data);
  }

  /** A ban that holds at `at` and is about these facts; undefined when there is none. */
  find({ clientId, username, address }: BanFacts, at: number): BanRule | undefined {
    return (
      this.#findNamed('client_id', clientId, at) ??
      this.#findNamed('username', username, at) ??
      (address === undefined ? undefined : this.#findAddress(address, at)) ??
      this.#findPattern('client_id_pattern', clientId, at) ??
      this.#findPattern('username_pattern', username, at) ??
      this.#findPattern('address_pattern', address, at)
    );
  }

  #findPattern(kind: BanPatternKind, name: string | undefined, at: number): BanRule | undefined {
    if (name === undefined) return undefined;
    for (const { ban, pattern } of this.#patterns[kind].values()) {
      if (!isOver(ban, at) && pattern.find(name)) return ban;
    }
    return undefined;
  }

  #findNamed(kind: NamedKind, value: string | undefined, at: number): BanRule | undefined {
    if (value === undefined) return undefined;
    const ban = this.#named[kind].get(value);
    return ban === undefined || isOver(ban, at) ? undefined : ban;
  }

  #findAddress(text: string, at: number): BanRule | undefined {
    const ban = this.#findNamed('address', text, at);
    if (ban !== undefined || this.#networks.length === 0) return ban;
    const address = parseIpAddress(text);
    return address && this.#findNetwork(address, at);
  }

  #findNetwork(address: IpAddress, at: number): BanRule | undefined {
    for (const { bits, prefix, bans } of this.#networks) {
      if (bits !== address.bits) continue;
      const ban = bans.get(startOf(address, prefix));
      if (ban !== undefined && !isOver(ban, at)) return ban;
    }
    return undefined;
  }
}
