interface Node<V> {
  children: Map<string, Node<V>> | undefined;
  value: V | undefined;
}

const createNode = <V>(): Node<V> => ({ children: undefined, value: undefined });

/** Whether a wildcard in the first level passes over the level. @source MQTT-5.0 [MQTT-4.7.2-1] */
const isReserved = (level: string): boolean => level.charCodeAt(0) === 0x24;

/**
 * A map whose keys are topic filters, looked up by topic name, or topic names, looked up by topic filter. Both are parsed already.
 * `+` matches an empty level; a wildcard in the first level matches no level that starts with `$`.
 */
export class LevelTrie<V> {
  readonly #root = createNode<V>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** O(levels). */
  get(topic: string): V | undefined {
    let node: Node<V> | undefined = this.#root;
    for (const level of topic.split('/')) {
      node = node.children?.get(level);
      if (node === undefined) return undefined;
    }
    return node.value;
  }

  /** O(levels). */
  set(topic: string, value: V): void {
    let node = this.#root;
    for (const level of topic.split('/')) {
      node.children ??= new Map();
      let child = node.children.get(level);
      if (child === undefined) {
        child = createNode();
        node.children.set(level, child);
      }
      node = child;
    }
    if (node.value === undefined) this.#size++;
    node.value = value;
  }

  /** O(levels); leaves no empty nodes behind. */
  delete(topic: string): void {
    this.#prune(this.#root, topic.split('/'), 0);
  }

  clear(): void {
    this.#root.children = undefined;
    this.#size = 0;
  }

  /** Values of the filters that match the name; `#` before what is longer. */
  filtersMatching(topicName: string): V[] {
    const found: V[] = [];
    if (this.#size > 0) collectFilters(this.#root, topicName.split('/'), 0, found);
    return found;
  }

  /** Values of the names that the filter matches. */
  namesMatching(topicFilter: string): V[] {
    const found: V[] = [];
    if (this.#size > 0) collectNames(this.#root, topicFilter.split('/'), 0, found);
    return found;
  }

  /** Takes the value away below the node, and the nodes that are empty then. */
  #prune(node: Node<V>, levels: readonly string[], depth: number): void {
    const level = levels[depth];
    if (level === undefined) {
      if (node.value !== undefined) this.#size--;
      node.value = undefined;
      return;
    }
    const child = node.children?.get(level);
    if (child === undefined) return;
    this.#prune(child, levels, depth + 1);
    if (child.value !== undefined || child.children !== undefined) return;
    node.children?.delete(level);
    if (node.children?.size === 0) node.children = undefined;
  }
}

function add<V>(found: V[], node: Node<V> | undefined): void {
  if (node?.value !== undefined) found.push(node.value);
}

const childOf = <V>({ children }: Node<V>, level: string): Node<V> | undefined =>
  children?.get(level);

function collectFilters<V>(
  node: Node<V> | undefined,
  levels: readonly string[],
  depth: number,
  found: V[],
): void {
  if (node === undefined) return;
  const level = levels[depth];
  const wild = depth > 0 || level === undefined || !isReserved(level);
  if (wild) add(found, childOf(node, '#')); // Its parent level too.
  if (level === undefined) {
    add(found, node);
    return;
  }
  if (wild) collectFilters(childOf(node, '+'), levels, depth + 1, found);
  if (level === '+' || level === '#') return;
  collectFilters(childOf(node, level), levels, depth + 1, found);
}

function collectNames<V>(
  node: Node<V>,
  levels: readonly string[],
  depth: number,
  found: V[],
): void {
  const level = levels[depth];
  if (level === undefined || level === '#') {
    add(found, node);
    if (level === '#') collectAll(node, depth === 0, found);
    return;
  }
  if (level !== '+') {
    const child = node.children?.get(level);
    if (child !== undefined) collectNames(child, levels, depth + 1, found);
    return;
  }
  for (const [name, child] of node.children ?? []) {
    if (depth > 0 || !isReserved(name)) collectNames(child, levels, depth + 1, found);
  }
}

/** All values below the node. */
function collectAll<V>(node: Node<V>, isRoot: boolean, found: V[]): void {
  for (const [name, child] of node.children ?? []) {
    if (isRoot && isReserved(name)) continue;
    add(found, child);
    collectAll(child, false, found);
  }
}
