/** The topic aliases that we give a client's topics; the one used longest ago is given away when there is none left. */
export class TopicAliases {
  readonly #aliases = new Map<string, number>();
  readonly #free: number[];

  constructor(max: number) {
    this.#free = Array.from({ length: max }, (_, index) => max - index);
  }

  /** The alias for a topic, and whether the client has been told of it. */
  aliasOf(topic: string): { readonly alias: number; readonly known: boolean } {
    const alias = this.#aliases.get(topic);
    if (alias !== undefined) {
      // To the young end: the map's order is that of last use.
      this.#aliases.delete(topic);
      this.#aliases.set(topic, alias);
      return { alias, known: true };
    }
    const given = this.#free.pop() ?? this.#takeOldest();
    this.#aliases.set(topic, given);
    return { alias: given, known: false };
  }

  /** The packet with the topic's alias was not sent: what the client knows of it is not certain. */
  forget(topic: string): void {
    const alias = this.#aliases.get(topic);
    if (alias === undefined) return;
    this.#aliases.delete(topic);
    this.#free.push(alias);
  }

  #takeOldest(): number {
    const oldest = this.#aliases.entries().next();
    if (oldest.done === true) return 1;
    const [topic, alias] = oldest.value;
    this.#aliases.delete(topic);
    return alias;
  }
}
