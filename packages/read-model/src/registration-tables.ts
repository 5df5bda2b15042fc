import {
  CLOSED_WINDOW,
  type EventContext,
  evolveIssuedCertificate,
  evolveRegistration,
  type IssuedCertificate,
  type IssuedCertificateEvent,
  type Registration,
  type RegistrationRequestEvent,
  type RegistrationWindow,
} from '@sallyport/domain';
import { nameKey, type Statements } from './statements.ts';

/** How devices come to what they log in with: the window for strangers, their requests, and certificates that were made here. */
export class RegistrationTables {
  readonly #sql: Statements;
  // Asked at every CONNECT that is refused.
  #window: RegistrationWindow | undefined;

  constructor(sql: Statements) {
    this.#sql = sql;
  }

  /** After a rollback. */
  forget(): void {
    this.#window = undefined;
  }

  putWindow(next: RegistrationWindow): void {
    this.#window = next;
    this.#sql.run('INSERT OR REPLACE INTO registration_window VALUES (1, ?)', JSON.stringify(next));
  }

  apply(event: RegistrationRequestEvent, id: string, context: EventContext): void {
    const next = evolveRegistration(this.request(id), event, context);
    if (next === undefined) {
      this.#sql.run('DELETE FROM registrations WHERE id = ?', id);
      return;
    }
    const { status, username, until } = next;
    const seen = next.status === 'pending' ? next : { createdAt: 0, lastSeenAt: 0 };
    this.#sql.run(
      'INSERT OR REPLACE INTO registrations VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
      id,
      status,
      username,
      nameKey(username),
      seen.createdAt,
      seen.lastSeenAt,
      until,
      JSON.stringify(next),
    );
  }

  applyIssued(event: IssuedCertificateEvent, fingerprint: string, context: EventContext): void {
    const next = evolveIssuedCertificate(this.issuedCertificate(fingerprint), event, context);
    if (next === undefined) return;
    this.#sql.run(
      'INSERT OR REPLACE INTO issued_certificates VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)',
      fingerprint,
      next.subject,
      nameKey(next.subject),
      next.credentialId,
      next.renews ?? null,
      next.issuedAt,
      next.notAfter,
      next.revoked?.at ?? null,
      JSON.stringify(next),
    );
  }

  issuedCertificate(fingerprint: string): IssuedCertificate | undefined {
    const sql = 'SELECT doc FROM issued_certificates WHERE fingerprint = ?';
    return this.#sql.doc<IssuedCertificate>(sql, fingerprint);
  }

  renewalsOf(fingerprint: string): number {
    const sql = 'SELECT count(*) AS n FROM issued_certificates WHERE renews = ?';
    return this.#sql.count(sql, fingerprint);
  }

  window(): RegistrationWindow {
    this.#window ??=
      this.#sql.doc<RegistrationWindow>('SELECT doc FROM registration_window WHERE id = 1') ??
      CLOSED_WINDOW;
    return this.#window;
  }

  request(id: string): Registration | undefined {
    return this.#sql.doc<Registration>('SELECT doc FROM registrations WHERE id = ?', id);
  }

  requestsOf(username: string): readonly Registration[] {
    const sql = 'SELECT doc FROM registrations WHERE username = ? ORDER BY created_at, id';
    return this.#sql.docs<Registration>(sql, username);
  }

  counts(): { readonly pending: number; readonly settled: number } {
    const pending = this.#sql.count(
      "SELECT count(*) AS n FROM registrations WHERE status = 'pending'",
    );
    return {
      pending,
      settled: this.#sql.count('SELECT count(*) AS n FROM registrations') - pending,
    };
  }

  ended(at: number, most: number): readonly Registration[] {
    const sql = 'SELECT doc FROM registrations WHERE until <= ? ORDER BY until, id LIMIT ?';
    return this.#sql.docs<Registration>(sql, at, most);
  }
}
