import {
  addedCredential,
  type Credential,
  credentialOfText,
  decide,
  type DecisionReads,
  isLive,
  type NewCredential,
  realmOf,
  type RowFailure,
  rowFailureOf,
  scramNameOf,
} from '@sallyport/domain';
import { importedVerifier, type PasswordHash, sealingContext } from '@sallyport/secrets';
import type { ApiContext } from '../http/context.ts';
import { createChecker } from '../http/validation.ts';
import type { CommandInputs } from '../http/write.ts';
import { checkChosenPassword } from '../passwords.ts';
import { createBody } from '../routes/credentials/schema.ts';
import { algorithmFor, createSecret, presentMechanisms } from '../routes/credentials/lookup.ts';
import { placeholder, prepareCredential } from '../routes/credentials/prepare.ts';
import {
  checkSecretMembers,
  type CreateBody,
  fieldsOf,
  hasSecret,
  readyCredential,
} from '../routes/credentials/ready.ts';
import {
  type Decidable,
  type Existing,
  failedRow,
  type PreparedRow,
  preparedInTurns,
  preparedRow,
  type RowPreparer,
} from './prepared-row.ts';
import type { RawRow } from './raw-rows.ts';
import type { RowWorkshop } from './row-workshop.ts';

const check = createChecker(createBody);

/** Bytes that a sealed secret, and each of its SCRAM keys, has beyond what was sent, about. */
const SECRET_BYTES = 240;
/** Bytes of an event beside its credential. */
const EVENT_BYTES = 50;

type Made = Decidable & { readonly moreBytes: number };

function secretBytes(body: CreateBody): number {
  const secrets = hasSecret(body) ? 1 : 0;
  return (secrets + (body.scram?.length ?? 0)) * SECRET_BYTES;
}

function readyRow(made: RowFailure | string): PreparedRow {
  if (typeof made !== 'string') return failedRow(made);
  return {
    row: { command: addOf(credentialOfText(made)) },
    bytes: Buffer.byteLength(made) + EVENT_BYTES,
  };
}

/** Makes credentials of rows. What a row says is checked as the body of `POST /credentials` is. */
export class CredentialRows implements RowPreparer {
  readonly #context: ApiContext;
  readonly #existing: Existing;
  /** Whether secrets are only looked at, not made. */
  readonly #dry: boolean;
  readonly #workshop: RowWorkshop;
  /** What rows of this call and of the one before add, by their names: it may not be in the model yet. */
  #adding = new Map<string, Credential>();
  #addedBefore: ReadonlyMap<string, Credential> = new Map();

  constructor(
    context: ApiContext,
    options: {
      readonly existing: Existing;
      readonly dry: boolean;
      readonly workshop: RowWorkshop;
    },
  ) {
    this.#context = context;
    this.#existing = options.existing;
    this.#dry = options.dry;
    this.#workshop = options.workshop;
  }

  /** Never throws what a row is to blame for. @throws OperationalError `hash_pool_full` and what else the world says */
  async prepareAll(
    raw: readonly RawRow[],
    inputs: CommandInputs,
    reads: DecisionReads,
  ): Promise<readonly PreparedRow[]> {
    this.#addedBefore = this.#adding;
    this.#adding = new Map();
    // What is there already has to be looked up for the others.
    const ready = this.#existing === 'refuse' ? await this.#workshop.make(raw, inputs.at) : [];
    return preparedInTurns(raw, (one, index) => {
      const made = ready[index] ?? null;
      return made === null || 'failure' in one ? this.#prepare(one, inputs, reads) : readyRow(made);
    });
  }

  #prepare(
    raw: RawRow,
    inputs: CommandInputs,
    reads: DecisionReads,
  ): PreparedRow | Promise<PreparedRow> {
    return preparedRow<CreateBody>(raw, check, (body) => {
      if (this.#existing === 'refuse') return this.#added(body, inputs);
      return this.#kept(this.#existing, body, inputs, reads);
    });
  }

  async #kept(
    existing: 'keep' | 'update',
    body: CreateBody,
    inputs: CommandInputs,
    reads: DecisionReads,
  ): Promise<Made> {
    checkSecretMembers(body);
    const name = `${realmOf(body)}:${body.name}`;
    const id = reads.credentialIdByName(body.store, body.name, body.chain);
    const present =
      id === undefined
        ? (this.#adding.get(name) ?? this.#addedBefore.get(name))
        : reads.credential(id);
    if (present === undefined)
      return this.#remembered(name, await this.#added(body, inputs), inputs);
    if (existing === 'keep') return { row: { unchanged: present.id }, moreBytes: 0 };
    return { ...(await this.#changed(present, body, inputs)), moreBytes: secretBytes(body) };
  }

  /** For a later row of the same name: it finds what this one adds. */
  #remembered(name: string, made: Made, { at }: CommandInputs): Made {
    const command = 'command' in made.row ? made.row.command : undefined;
    if (command?.type === 'AddCredential') {
      this.#adding.set(name, addedCredential(command.data, { at, revision: 0 }));
    }
    return made;
  }

  #added(body: CreateBody, inputs: CommandInputs): Made | Promise<Made> {
    const ready = readyCredential(this.#context.ports.secretBox, body, inputs);
    return ready === undefined
      ? this.#hashed(body, inputs)
      : { row: { command: addOf(ready) }, moreBytes: secretBytes(body) };
  }

  async #hashed(body: CreateBody, inputs: CommandInputs): Promise<Made> {
    const moreBytes = secretBytes(body);
    const { password } = body;
    if (password !== undefined) {
      checkChosenPassword(this.#context.ports.passwordPolicy, password, 'credential_invalid');
    }
    const slow = password !== undefined || (body.scram?.length ?? 0) > 0;
    const failure = slow ? this.#failureWithout(body, inputs) : undefined;
    if (failure !== undefined) return { row: { failure }, moreBytes };
    if (slow && this.#dry)
      return { row: { command: addOf(placeholder(this.#context, body, inputs)) }, moreBytes };
    const { credential, generated } = await prepareCredential(this.#context, body, inputs);
    return {
      row: { command: addOf(credential) },
      moreBytes,
      ...(generated === undefined ? {} : { generated }),
    };
  }

  /** What is wrong with a row whatever its secret is: hashing takes milliseconds, and this does not. */
  #failureWithout(body: CreateBody, inputs: CommandInputs): RowFailure | undefined {
    const { reads } = this.#context.ports.model;
    const decided = decide(reads, addOf(placeholder(this.#context, body, inputs)), inputs.at);
    return decided.ok ? undefined : rowFailureOf(decided.rejection);
  }

  /** A file that is imported again must not take the secrets away that it brought the first time. */
  async #newSecret(present: Credential, body: CreateBody, inputs: CommandInputs) {
    const { password, passwordHash, generateSecret, scram, scramOnly } = body;
    const live = present.secrets.filter((one) => isLive(one, inputs.at));
    const same =
      (password !== undefined && (await proves(this.#context, present, password, inputs.at))) ||
      (passwordHash !== undefined && isKept(this.#context, present, passwordHash, inputs.at));
    const given = password !== undefined || passwordHash !== undefined;
    if (same || !(given || (generateSecret && live.length === 0))) return undefined;
    // No keys can be made from a hash.
    const usual = passwordHash === undefined ? presentMechanisms(present, inputs.at) : [];
    const username = scramNameOf(body.match);
    const algorithm = algorithmFor(this.#context, present);
    const mechanisms = scram ?? usual;
    const how = { password, passwordHash, scramOnly, mechanisms, username, algorithm };
    return createSecret(this.#context, { credentialId: present.id, ...how }, inputs);
  }

  async #changed(present: Credential, body: CreateBody, inputs: CommandInputs): Promise<Decidable> {
    const { id: _id, store: _store, chain: _chain, ...fields } = fieldsOf(body, inputs);
    // What a row does not say is taken away.
    const { clientIds, autoGenerated, sessionsMax } = body;
    const changes = { ...fields, clientIds, autoGenerated, sessionsMax };
    const created = await this.#newSecret(present, body, inputs);
    const secret = created === undefined ? {} : { secret: created.secret };
    const generated = created?.generated;
    return {
      row: {
        command: { type: 'ChangeCredential', data: { id: present.id, changes, ...secret } },
      },
      ...(generated === undefined ? {} : { generated }),
    };
  }
}

/** Whether a password opens the credential as it is. */
export async function proves(
  { ports: { secretBox, hasher } }: ApiContext,
  credential: Credential,
  password: string,
  at: number,
): Promise<boolean> {
  const [newest] = credential.secrets.filter((one) => isLive(one, at));
  // Empty in a dry run, of a row before.
  if (!newest?.verifier) return false;
  const context = sealingContext({ kind: 'credential', id: credential.id });
  return hasher.verify(secretBox.open(newest.verifier, context), Buffer.from(password));
}

/** Whether the newest secret is kept as this very hash. One that was hashed anew since cannot be told, and counts as another. */
function isKept(
  { ports: { secretBox } }: ApiContext,
  credential: Credential,
  hash: PasswordHash,
  at: number,
): boolean {
  const [newest] = credential.secrets.filter((one) => isLive(one, at));
  if (!newest?.verifier) return false;
  const parsed = importedVerifier(hash);
  const context = sealingContext({ kind: 'credential', id: credential.id });
  return parsed.ok && secretBox.open(newest.verifier, context) === parsed.verifier;
}

const addOf = (data: NewCredential) => ({ type: 'AddCredential', data }) as const;
