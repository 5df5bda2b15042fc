import { randomBytes } from 'node:crypto';
import {
  type Credential,
  isLive,
  loginKey,
  NAME_BYTES_MAX,
  saslprep,
  type ScramMechanism,
  type Secret,
  type Store,
} from '@sallyport/domain';
import { assert } from '@sallyport/errors';
import type { RefusalReason, ScramFinalRequest, ScramFirstRequest } from '@sallyport/policy-client';
import type { Facts, ProofMethod } from '@sallyport/rules';
import {
  checkScramProof,
  formatScramVerifier,
  parseScramVerifier,
  SCRAM_ITERATIONS,
  scramKeyBytes,
  type ScramVerifier,
  sealingContext,
  type SecretBox,
  type SecretHasher,
} from '@sallyport/secrets';
import {
  admitted,
  type Candidates,
  type CredentialLookup,
  findCandidates,
  type Verified,
} from '../candidates.ts';
import { entryOf } from '../entry.ts';
import { ExchangeStates } from './exchange-states.ts';
import { type ClientFirst, parseClientFinal, parseClientFirst } from './messages.ts';

/** Random bytes that the server adds to a client's nonce. */
const NONCE_BYTES = 18;

const DECOY_CONTEXT = 'scram:decoy';

/** What a client may prove: keys, and whose they are; nobody's, and for nothing, where there is a refusal. */
type Provable =
  | {
      readonly verifier: ScramVerifier;
      readonly refusal?: undefined;
      readonly holder: {
        readonly credential: Credential;
        readonly secret: Secret;
        /** Whether the certificate is one of the proofs. */
        readonly certificate: boolean;
      };
    }
  | {
      readonly verifier: ScramVerifier;
      /** Why a right proof opens nothing. */
      readonly refusal: RefusalReason;
    };

interface Asked {
  readonly mechanism: ScramMechanism;
  readonly facts: Facts & { readonly username: string };
  readonly at: number;
}

interface Claim {
  readonly ok: true;
  readonly mechanism: ScramMechanism;
  readonly username: string;
  readonly authMessage: string;
  readonly proof: Buffer;
}

interface Refused {
  readonly ok: false;
  readonly reason: RefusalReason;
}

type Challenged = { readonly ok: true; readonly message: Buffer; readonly state: Buffer } | Refused;

type Proven = (Extract<Verified, { ok: true }> & { readonly message: Buffer }) | Refused;

const refused = (reason: RefusalReason): Refused => ({ ok: false, reason });

/**
 * The server's side of SCRAM. Synchronous and microseconds, so it needs no pool. Up to the proof it answers for a name that
 * nobody has as for any other: the same challenge at every try, and the same work.
 * @source RFC 5802, RFC 7677
 */
export class ScramAuthenticator {
  readonly #lookup: CredentialLookup;
  readonly #box: SecretBox;
  readonly #hasher: SecretHasher;
  readonly #states: ExchangeStates;
  readonly #decoys = new Map<ScramMechanism, string>();
  #foundKey: string | undefined;

  constructor(options: {
    readonly lookup: CredentialLookup;
    readonly box: SecretBox;
    readonly hasher: SecretHasher;
  }) {
    this.#lookup = options.lookup;
    this.#box = options.box;
    this.#hasher = options.hasher;
    this.#states = new ExchangeStates(options.box);
  }

  /** @throws OperationalError `sealing_key_mismatch`, `invalid_request` for an `exchangeId` of another length */
  first(request: Omit<ScramFirstRequest, 'minRevision'>, at: number): Challenged {
    const { facts, mechanism, exchangeId, stores } = request;
    const parsed = parseClientFirst(request.message);
    if (!parsed.ok) return parsed;
    const { header, bare, nonce } = parsed.value;
    const username = usernameOf(parsed.value);
    if (username === undefined) return refused('malformed');
    if (!agrees(facts, username)) return refused('username_mismatch');
    const proving = { ...facts, username };
    const candidates = this.#candidates(proving, stores);
    const provable = this.#provable(candidates.credentials, { mechanism, facts: proving, at });
    const asked = provable.find((one) => one.refusal === undefined) ?? provable[0];
    const serverNonce = randomBytes(NONCE_BYTES).toString('base64');
    const serverFirst = `r=${nonce}${serverNonce}${challengeText(asked.verifier)}`;
    const state = { mechanism, clientFirst: `${header}${bare}`, serverFirst };
    return {
      ok: true,
      message: Buffer.from(serverFirst),
      state: this.#states.seal(state, { facts, exchangeId }, at),
    };
  }

  /** @throws OperationalError as `first` */
  final(request: Omit<ScramFinalRequest, 'minRevision'>, at: number): Proven {
    const claim = this.#claim(request, at);
    if (!claim.ok) return claim;
    const { mechanism, username } = claim;
    const facts = { ...request.facts, username };
    const candidates = this.#candidates(facts, request.stores);
    // A proof depends on the salt: it fits no keys but those of the challenge. All are checked, whatever becomes of them.
    const judged = this.#provable(candidates.credentials, { mechanism, facts, at }).map((one) => ({
      ...one,
      signature: checkScramProof(one.verifier, claim),
    }));
    for (const one of judged) {
      if (one.signature === undefined || one.refusal !== undefined) continue;
      const { credential, secret, certificate } = one.holder;
      const message = Buffer.from(`v=${one.signature.toString('base64')}`);
      const methods: ProofMethod[] = certificate ? ['scram', 'certificate'] : ['scram'];
      return { ...admitted(candidates, credential, facts, { methods, secret }), message };
    }
    return refused(judged.find((one) => one.refusal !== undefined)?.refusal ?? 'wrong_secret');
  }

  /** What the client claims to prove, once both of its messages and the state between them fit together. */
  #claim(request: Omit<ScramFinalRequest, 'minRevision'>, at: number): Claim | Refused {
    const { facts, exchangeId } = request;
    const state = this.#states.open(request.state, { facts, exchangeId }, at);
    if (state === undefined) return refused('stale_exchange');
    const { mechanism, serverFirst } = state;
    const first = parseClientFirst(Buffer.from(state.clientFirst));
    if (!first.ok) return first;
    const parsed = parseClientFinal(request.message, scramKeyBytes(mechanism));
    if (!parsed.ok) return parsed;
    const { header, bare } = first.value;
    const { channelBinding, nonce, withoutProof, proof } = parsed.value;
    if (channelBinding !== Buffer.from(header).toString('base64')) {
      return refused('channel_binding');
    }
    const username = usernameOf(first.value);
    const repeated = serverFirst.startsWith(`r=${nonce},`);
    if (username === undefined || !repeated) return refused('malformed');
    const authMessage = `${bare},${serverFirst},${withoutProof}`;
    return { ok: true, mechanism, username, authMessage, proof };
  }

  #candidates(facts: Facts, stores: readonly Store[] | undefined): Candidates {
    const candidates = findCandidates(this.#lookup, { facts, stores }, 'scram');
    const [found] = candidates.credentials;
    if (found !== undefined) this.#foundKey = loginKey(found.match);
    // Reading a credential takes a few microseconds more than finding none, so one is read in any case.
    else if (this.#foundKey !== undefined) this.#lookup.credentialsByLogin(this.#foundKey);
    return candidates;
  }

  #provable(candidates: readonly Credential[], asked: Asked): readonly [Provable, ...Provable[]] {
    const { mechanism, facts } = asked;
    const salt = this.#hasher.scramSalt(mechanism, facts.username);
    const found = candidates.flatMap((credential) =>
      credential.secrets.flatMap((secret) => this.#open(credential, secret, asked)),
    );
    const [one, ...more] = found;
    return one === undefined ? [this.#decoy(mechanism, salt)] : [one, ...more];
  }

  #open(
    credential: Credential,
    secret: Secret,
    { mechanism, facts, at }: Asked,
  ): readonly Provable[] {
    const keys = secret.scram?.find((one) => one.mechanism === mechanism);
    if (keys === undefined) return [];
    const context = sealingContext({ kind: 'credential', id: credential.id });
    const verifier = parseScramVerifier(this.#box.open(keys.verifier, context));
    if (verifier?.mechanism !== mechanism) return [];
    const entry = entryOf(credential, facts, at);
    if (!entry.ok) return [{ verifier, refusal: entry.reason }];
    // It proves the password, which may be no way in.
    if (entry.secret && !entry.by.includes('password'))
      return [{ verifier, refusal: 'wrong_secret' }];
    if (!isLive(secret, at)) return [{ verifier, refusal: 'wrong_secret' }];
    return [{ verifier, holder: { credential, secret, certificate: entry.certificate } }];
  }

  /** What a name is challenged with that nobody has: opened and checked as keys are, and opened by no proof. */
  #decoy(mechanism: ScramMechanism, salt: Buffer): Provable {
    let sealed = this.#decoys.get(mechanism);
    if (sealed === undefined) {
      const key = (): Buffer => randomBytes(scramKeyBytes(mechanism));
      const keys = { mechanism, iterations: SCRAM_ITERATIONS, storedKey: key(), serverKey: key() };
      sealed = this.#box.seal(formatScramVerifier({ ...keys, salt }), DECOY_CONTEXT);
      this.#decoys.set(mechanism, sealed);
    }
    const verifier = parseScramVerifier(this.#box.open(sealed, DECOY_CONTEXT));
    assert(verifier !== undefined, 'what was formatted is read back');
    return { verifier: { ...verifier, salt }, refusal: 'unknown_client' };
  }
}

/** The user name as it is looked for. RFC 5802 §5.1: prepared by the server too, whatever the client did. */
function usernameOf({ username }: ClientFirst): string | undefined {
  const prepared = saslprep(username);
  if (prepared === undefined || Buffer.byteLength(prepared) > NAME_BYTES_MAX) return undefined;
  return prepared;
}

/** CONNECT may leave the user name out; else it is the one that is to be proven. */
function agrees({ username }: Facts, proven: string): boolean {
  return username === undefined || username === '' || saslprep(username) === proven;
}

/** The rest of server-first-message, behind the nonce. */
function challengeText({ salt, iterations }: ScramVerifier): string {
  return `,s=${salt.toString('base64')},i=${iterations}`;
}
