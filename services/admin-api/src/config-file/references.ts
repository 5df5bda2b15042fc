import type { DecisionReads } from '@sallyport/domain';
import type { CommandInputs } from '../http/write.ts';
import type { ConfigSection } from './section.ts';

/** How other sections name the objects of one. */
export interface Naming {
  /** For what the routes derive the id of a new object. */
  readonly noun: string;
  /** What tells an entry from all others of the section. */
  keyOf(entry: unknown): string;
  /** Id of the object that is there. */
  find(reads: DecisionReads, key: string): string | undefined;
}

/** Tells the id of an object, also of one that the same file makes. */
export type Reference = (inputs: CommandInputs) => string;

/** Inputs for the command of one object: ids that depend on nothing but what it is called. */
export const inputsOf = (inputs: CommandInputs, section: string, key: string): CommandInputs => ({
  at: inputs.at,
  id: (purpose) => inputs.id(JSON.stringify([section, key, purpose])),
});

interface Options {
  readonly sections: readonly ConfigSection[];
  readonly file: Readonly<Record<string, unknown>>;
  readonly reads: DecisionReads;
  readonly prune: boolean;
}

/** Finds objects by what a file calls them: those that will be there once it is applied. */
export class References {
  readonly #options: Options;
  readonly #named = new Map<string, ReadonlySet<string>>();

  constructor(options: Options) {
    this.#options = options;
  }

  /** Undefined when there will be no such object. */
  to(section: string, key: string): Reference | undefined {
    const { sections, reads, prune } = this.#options;
    const naming = sections.find((one) => one.name === section)?.naming;
    if (naming === undefined) return undefined;
    const named = this.#namedIn(section, naming);
    const id = naming.find(reads, key);
    if (named?.has(key) !== true && (id === undefined || (prune && named !== undefined))) {
      return undefined;
    }
    return (inputs) => id ?? inputsOf(inputs, section, key).id(naming.noun);
  }

  /** Keys of a section of the file; undefined when the file does not have it. */
  #namedIn(section: string, naming: Naming): ReadonlySet<string> | undefined {
    const known = this.#named.get(section);
    if (known !== undefined) return known;
    const entries = this.#options.file[section] as readonly unknown[] | undefined; // Sections with a naming are lists.
    const named = entries && new Set(entries.map((entry) => naming.keyOf(entry)));
    if (named !== undefined) this.#named.set(section, named);
    return named;
  }
}
