import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Party } from './generator.ts';

export interface User {
  readonly username: string;
  readonly password: string;
}

/** Each user may do everything below this, and nothing else. */
export const ownTopics = (username: string): string => `dev/${username}/#`;

/** Files from which a generator takes its logins; client ids never meet, users do. */
export class Logins {
  readonly #folder: string;
  readonly #users: readonly User[];
  #files = 0;

  constructor(folder: string, users: readonly User[]) {
    this.#folder = folder;
    this.#users = users;
  }

  /** `count` clients of one user, the first of all. */
  ofOne(kind: string, count: number): Party {
    return this.#party(kind, count, 1);
  }

  /** `count` clients, each of the next user. */
  ofEach(kind: string, count: number): Party {
    return this.#party(kind, count, this.#users.length);
  }

  #party(kind: string, count: number, users: number): Party {
    const loginsFile = join(this.#folder, `${kind}-${++this.#files}.csv`);
    const lines = Array.from({ length: count }, (_, index) => {
      const { username, password } = this.#users[index % users] ?? { username: '', password: '' };
      return `${kind}-${index},${username},${password}\n`;
    });
    writeFileSync(loginsFile, lines.join(''), { mode: 0o600 });
    return { count, loginsFile };
  }
}
