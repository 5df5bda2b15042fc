import { readdirSync, readFileSync } from 'node:fs';
import type {
  AccessSpec,
  Authenticator,
  ClientIds,
  CredentialMatch,
  Grant,
  SettingValues,
  Store,
} from '@sallyport/domain';
import type { RefusalReason } from '@sallyport/policy-client';

/** A credential that is there. `id` is what the expectations call it. */
export interface CaseCredential {
  readonly id: string;
  readonly store: Store;
  readonly kind?: 'password' | 'certificate';
  readonly match: CredentialMatch;
  readonly password?: string;
  readonly passwordRequired?: boolean;
  readonly grants?: readonly Grant[];
  readonly enabled?: boolean;
  readonly access?: AccessSpec;
  readonly clientIds?: ClientIds;
  /** Scope of the chain that it belongs to; of the store `emqx` only. */
  readonly chain?: string;
}

/** One CONNECT and its answer. */
export interface ConnectExpectation {
  /** `pump-7` when left out. */
  readonly clientId?: string;
  readonly username?: string;
  readonly password?: string;
  readonly certificate?: {
    readonly commonName?: string;
    readonly chainCommonNames?: readonly string[];
    /** Of an authority that the listener does not know. */
    readonly foreign?: true;
  };
  /** `ssl:default` where a certificate is shown, else `tcp:default`. */
  readonly listener?: 'tcp:default' | 'ssl:default';
  readonly allowed: boolean;
  /** The credential that lets it in; `unbound` for a certificate that binds to none. */
  readonly as?: string;
  /** Why not, as it is logged: the client is told no more than that. */
  readonly reason?: RefusalReason;
  /** There is no CONNECT at all: the handshake of TLS fails. */
  readonly handshake?: 'fails';
}

/** Who is there, and who gets in. */
export interface ConnectCase {
  readonly title: string;
  readonly credentials: readonly CaseCredential[];
  /** Chains of authenticators by scope. */
  readonly chains?: Readonly<
    Record<
      string,
      {
        readonly authenticators: readonly Authenticator[];
        readonly anonymous?: boolean;
        readonly admitsUnknown?: true;
      }
    >
  >;
  /** What differs from the defaults. */
  readonly settings?: Partial<SettingValues>;
  readonly expectations: readonly ConnectExpectation[];
}

/** Cases of listeners that are set up in the same way. */
export interface ConnectFile {
  readonly file: string;
  readonly stores: readonly Store[];
  readonly clientCertificate: 'none' | 'optional' | 'required';
  readonly cases: readonly ConnectCase[];
}

const FOLDER = `${import.meta.dirname}/connects`;

const keysOf = {
  file: ['stores', 'clientCertificate', 'cases'],
  case: ['title', 'credentials', 'chains', 'settings', 'expectations'],
  credential: [
    ...['id', 'store', 'kind', 'match', 'password', 'passwordRequired'],
    ...['grants', 'enabled', 'access', 'chain', 'clientIds'],
  ],
  expectation: [
    ...['clientId', 'username', 'password', 'certificate', 'listener'],
    ...['allowed', 'as', 'reason', 'handshake'],
  ],
} as const satisfies Record<string, readonly string[]>;

/** All cases of who gets in. */
export function loadConnectCases(): readonly ConnectFile[] {
  const files = readdirSync(FOLDER).filter((name) => name.endsWith('.json'));
  return files.sort().map((name) => {
    const file = `connects/${name}`;
    // Checked for misspelt keys below, and by being run.
    const read = JSON.parse(readFileSync(`${FOLDER}/${name}`, 'utf8')) as Omit<ConnectFile, 'file'>;
    checkKeys(file, 'file', read);
    for (const one of read.cases) {
      checkKeys(file, 'case', one);
      if (one.expectations.length === 0) throw new Error(`${file}: ${one.title}: expects nothing`);
      for (const credential of one.credentials) checkKeys(file, 'credential', credential);
      for (const expectation of one.expectations) checkKeys(file, 'expectation', expectation);
    }
    return { file, ...read };
  });
}

function checkKeys(file: string, kind: keyof typeof keysOf, value: object): void {
  const known: readonly string[] = keysOf[kind];
  for (const key of Object.keys(value)) {
    if (!known.includes(key)) throw new Error(`${file}: unknown key ${key}`);
  }
}

/** The listener that an expectation comes in by. */
export const listenerOf = ({ listener, certificate }: ConnectExpectation) =>
  listener ?? (certificate === undefined ? 'tcp:default' : 'ssl:default');
