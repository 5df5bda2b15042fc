import type { NewCredential } from './credential.ts';

/** Gives what it is constructed with, so that a class below can add a field to an object that is there. */
class Given {
  constructor(credential: NewCredential) {
    return credential;
  }
}

/**
 * A credential that knows its JSON text, in a private field: each is written once on its way into the log and into what folds it,
 * and an import has a million. No copy of it has the field, nobody sees it, and a map from credentials to texts costs twelve times
 * as much, most of it in the collector. Nobody may change a credential whose text is known.
 */
class Written extends Given {
  #text: string;

  constructor(credential: NewCredential, text: string) {
    super(credential);
    this.#text = text;
  }

  static textOf(credential: NewCredential): string | undefined {
    return #text in credential ? credential.#text : undefined;
  }
}

/** Reads a credential from its JSON text, which is kept for as long as the credential. */
export function credentialOfText(text: string): NewCredential {
  const credential = JSON.parse(text) as NewCredential; // The text of one.
  new Written(credential, text);
  return credential;
}

/** The JSON text of a credential; written the first time that it is asked for. */
export function textOfCredential(credential: NewCredential): string {
  const known = Written.textOf(credential);
  if (known !== undefined) return known;
  const text = JSON.stringify(credential);
  new Written(credential, text);
  return text;
}

/** The text, where it is known already. */
export const knownText = (credential: NewCredential): string | undefined =>
  Written.textOf(credential);
