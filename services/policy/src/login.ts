import {
  type Credential,
  isLive,
  liveTokens,
  memberOf,
  type Store,
  STORES,
} from '@sallyport/domain';
import type {
  ExplainLoginAnswer,
  LoginStep,
  Principal,
  RefusalReason,
} from '@sallyport/policy-client';
import type { Facts, ProofMethod } from '@sallyport/rules';
import { anonymousPrincipal } from './anonymous.ts';
import {
  admitted,
  type CredentialLookup,
  findCandidates,
  fits,
  foundBy,
  unboundCredential,
} from './candidates.ts';
import type { ProvenBy } from './chains.ts';
import { type Entry, entryOf } from './entry.ts';
import { turnOf } from './tbmq-providers.ts';

/** What a CONNECT would say, and how it would prove it. */
export interface SupposedLogin {
  readonly facts: Facts;
  readonly stores?: readonly Store[] | undefined;
  readonly scram: boolean;
}

export type Supposed = Pick<ExplainLoginAnswer, 'steps' | 'principal' | 'reason'>;

/** Of several reasons the first that is more than that nobody is known. */
export const worseReason = (before: RefusalReason, next: RefusalReason): RefusalReason =>
  before === 'unknown_client' || next !== 'wrong_secret' ? next : before;

/**
 * Whom a CONNECT would log in as if it proved each secret that it is asked for: the candidates of `Authenticator`, judged as there but
 * for their secrets. Bans are not looked at.
 */
export function supposeLogin(
  lookup: CredentialLookup,
  { facts, stores, scram }: SupposedLogin,
  at: number,
): Supposed {
  if (facts.open === true && !scram) return unasked(lookup, facts, stores);
  const how = scram ? 'scram' : 'password';
  const candidates = findCandidates(lookup, { facts, stores }, how);
  const unbound = scram ? undefined : unboundCredential(candidates, facts, stores);
  if (unbound !== undefined) {
    const { principal } = admitted(candidates, unbound, facts, { methods: ['certificate'] });
    return {
      steps: [stepOf(unbound, { ok: true, secret: false, by: [], certificate: true })],
      principal,
    };
  }
  const tokens = lookup.settings().tokensAsPasswords;
  let principal: Principal | undefined;
  let reason: RefusalReason = 'unknown_client';
  const steps: LoginStep[] = [];
  for (const credential of candidates.credentials) {
    const entry = provableEntry(credential, facts, { scram, at, tokens });
    steps.push(stepOf(credential, entry));
    if (!entry.ok) reason = worseReason(reason, entry.reason);
    else
      principal ??= admitted(candidates, credential, facts, {
        methods: methodsOf(entry, scram),
      }).principal;
  }
  steps.push(...skippedSteps(lookup, facts, { stores, how }, candidates.credentials));
  principal ??= scram ? undefined : anonymousPrincipal(lookup, facts, stores, reason);
  return principal === undefined ? { steps, reason } : { steps, principal };
}

/** Where the listener asks nobody. */
function unasked(lookup: CredentialLookup, facts: Facts, stores?: readonly Store[]): Supposed {
  const reason = 'unknown_client';
  const principal = anonymousPrincipal(lookup, facts, stores, reason);
  return principal === undefined ? { steps: [], reason } : { steps: [], principal };
}

/** Where a secret is asked for, there must be one that could be proven. */
function provableEntry(
  credential: Credential,
  facts: Facts,
  { scram, at, tokens }: { readonly scram: boolean; readonly at: number; readonly tokens: boolean },
): Entry {
  const entry = entryOf(credential, facts, at);
  if (!entry.ok || !(entry.secret || scram)) return entry;
  const provable = credential.secrets.some(
    (one) => isLive(one, at) && (scram ? one.scram !== undefined : one.verifier !== undefined),
  );
  const by = entry.by.filter((one) =>
    one === 'password' ? provable : !scram && tokens && liveTokens(credential, at).length > 0,
  );
  // Of one who needs none, and has one all the same.
  if (!entry.secret && provable) return { ...entry, secret: true, by: ['password'] };
  return by.length > 0 ? { ...entry, secret: true, by } : { ok: false, reason: 'wrong_secret' };
}

function methodsOf({ secret, by, certificate }: Extract<Entry, { ok: true }>, scram: boolean) {
  const proven: ProofMethod[] = certificate ? ['certificate'] : [];
  if (!secret) return proven;
  const [method = 'password'] = by.toSorted();
  return [scram ? 'scram' : method, ...proven] as const;
}

function stepOf(credential: Credential, entry: Entry): LoginStep {
  const { id: credentialId, store } = credential;
  const chain = memberOf(credential);
  return {
    credentialId,
    store,
    ...(chain && { chain }),
    secret: entry.ok && entry.secret,
    ...(!entry.ok && { refusal: entry.reason }),
  };
}

/** Credentials that the facts lead to and that are not asked, and the first reason for it. */
function skippedSteps(
  lookup: CredentialLookup,
  facts: Facts,
  {
    stores = STORES,
    how,
  }: { readonly stores?: readonly Store[] | undefined; readonly how: ProvenBy },
  asked: readonly Credential[],
): readonly LoginStep[] {
  const settings = lookup.settings();
  const found = foundBy(lookup, facts, how);
  const known = new Set(asked.map(({ id }) => id));
  return found
    .filter(({ id }) => !known.has(id))
    .map((credential): LoginStep => {
      const { id: credentialId, store } = credential;
      const chain = memberOf(credential);
      const skipped = skipOf(credential, {
        facts,
        stores,
        turn: turnOf(credential, settings, how),
      });
      return { credentialId, store, ...(chain && { chain }), secret: false, skipped };
    });
}

function skipOf(
  credential: Credential,
  {
    facts,
    stores,
    turn,
  }: {
    readonly facts: Facts;
    readonly stores: readonly Store[];
    readonly turn: number | undefined;
  },
): NonNullable<LoginStep['skipped']> {
  if (!stores.includes(credential.store)) return 'store';
  if (!fits(credential, facts)) return 'facts';
  if (turn === undefined) return 'provider';
  return credential.store === 'emqx' ? 'chain' : 'parent';
}
