import type { Credential, ImportedAlgorithm } from '@sallyport/domain';
import type { Database, Statement } from './sqlite.ts';

type HasSecrets = Pick<Credential, 'secrets'>;

/** How many secrets are still kept as somebody else hashed them; kept with every commit, so that asking costs nothing. */
export class ImportedSecretCounts {
  readonly #add: Statement;
  /** What the present commit adds and takes away. */
  readonly #changes = new Map<ImportedAlgorithm, number>();

  constructor(db: Database) {
    this.#add = db.prepare(
      `INSERT INTO imported_secrets VALUES (?, ?)
       ON CONFLICT (algorithm) DO UPDATE SET secrets = secrets + excluded.secrets`,
    );
  }

  /** A credential was `before` and is `next` now. */
  replace(before: HasSecrets | undefined, next: HasSecrets | undefined): void {
    this.#count(before, -1);
    this.#count(next, 1);
  }

  #count(credential: HasSecrets | undefined, by: 1 | -1): void {
    for (const { imported } of credential?.secrets ?? []) {
      if (imported === undefined) continue;
      this.#changes.set(imported, (this.#changes.get(imported) ?? 0) + by);
    }
  }

  /** Writes what was told since the last time: once a commit, which may bring hundreds of credentials. */
  write(): void {
    for (const [algorithm, by] of this.#changes) if (by !== 0) this.#add.run(algorithm, by);
    this.#changes.clear();
  }

  /** After a rollback. */
  forget(): void {
    this.#changes.clear();
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
