import type { Credential, ImportedAlgorithm } from '@sallyport/domain';
import type { Database, Statement } from './sqlite.ts';

/** How many secrets are still kept as somebody else hashed them; kept with every change, so that asking costs nothing. */
export class ImportedSecretCounts {
  readonly #add: Statement;

  constructor(db: Database) {
    this.#add = db.prepare(
      `INSERT INTO imported_secrets VALUES (?, ?)
       ON CONFLICT (algorithm) DO UPDATE SET secrets = secrets + excluded.secrets`,
    );
  }

  /** A credential was `before` and is `next` now, in the transaction that is open. */
  replace(before: Credential | undefined, next: Credential | undefined): void {
    const changes = new Map<ImportedAlgorithm, number>();
    const count = (credential: Credential | undefined, by: 1 | -1): void => {
      for (const { imported } of credential?.secrets ?? []) {
        if (imported !== undefined) changes.set(imported, (changes.get(imported) ?? 0) + by);
      }
    };
    count(before, -1);
    count(next, 1);
    for (const [algorithm, by] of changes) if (by !== 0) this.#add.run(algorithm, by);
  }
}

/** The counts that are not zero, by algorithm. */
export function importedSecrets(db: Database): Readonly<Record<string, number>> {
  const rows = db.prepare('SELECT * FROM imported_secrets WHERE secrets > 0').all() as {
    algorithm: string;
    secrets: number;
  }[]; // The columns of SCHEMA.
  return Object.fromEntries(rows.map(({ algorithm, secrets }) => [algorithm, secrets]));
}
