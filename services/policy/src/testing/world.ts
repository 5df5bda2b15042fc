import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type {
  AclRule,
  AclTarget,
  AuthChainFields,
  Authenticator,
  ChainMember,
  Command,
  Credential,
  CredentialFields,
  ScramMechanism,
  Secret,
  Store,
} from '@sallyport/domain';
import { assert } from '@sallyport/errors';
import { CommandExecutor, MemoryEventLog } from '@sallyport/event-log';
import { ReadModel } from '@sallyport/read-model';
import type { Facts } from '@sallyport/rules';
import {
  importedVerifier,
  type PasswordHash,
  SecretBox,
  SecretHasher,
  sealingContext,
} from '@sallyport/secrets';
import type { RefusedConnections } from '../registration/refused-connections.ts';
import type { ImportedSecrets } from '../rehash/imported-secrets.ts';
import { PolicyService } from '../service.ts';

type More = Partial<CredentialFields> & {
  readonly store?: Store;
  readonly kind?: Credential['kind'];
  readonly chain?: ChainMember;
};

/** A whole control plane in memory: log, executor, read model and policy service; time stands still until it is moved. */
export class World implements AsyncDisposable {
  readonly log = new MemoryEventLog();
  readonly box = new SecretBox(randomBytes(32));
  readonly hasher = new SecretHasher(this.box);
  readonly #folder = mkdtempSync(join(tmpdir(), 'policy-'));
  model!: ReadModel;
  policy!: PolicyService;
  #executor!: CommandExecutor;
  /** Imported hashes that were proven, `<credential>/<secret>:<password>`. */
  readonly proven: string[] = [];
  /** Connections that have proven nothing, `<user name>:<password>`. */
  readonly refused: string[] = [];
  now = 1_700_000_000_000;

  static async open(): Promise<World> {
    const world = new World();
    world.model = await ReadModel.open({
      path: join(world.#folder, 'read-model.sqlite'),
      log: world.log,
      onFailure: () => undefined,
    });
    world.#executor = new CommandExecutor({ log: world.log, model: world.model });
    const { model, box, hasher } = world;
    const imported: ImportedSecrets = {
      proven: ({ id, secretId }, password) => {
        world.proven.push(`${id}/${secretId}:${Buffer.from(password).toString()}`);
      },
    };
    const refused: RefusedConnections = {
      refused: ({ username }, password) => {
        world.refused.push(`${username}:${Buffer.from(password ?? []).toString()}`);
      },
    };
    const clock = () => world.now;
    world.policy = new PolicyService({ model, box, hasher, imported, refused, clock });
    return world;
  }

  /** The revision after the command. */
  async run(command: Command): Promise<number> {
    const meta = {
      commitId: randomUUID(),
      at: this.now,
      actor: { kind: 'system', id: 'test' },
    } as const;
    const done = await this.#executor.execute(command, meta);
    assert(done.ok, `refused: ${done.ok ? '' : JSON.stringify(done.rejection)}`);
    return done.revision;
  }

  /** Adds a credential with a machine secret that is the text given; none = no password needed. Answers the revision. */
  addCredential(id: string, secret: string | undefined, more: More = {}): Promise<number> {
    const secrets = secret === undefined ? [] : [this.secret(id, 's1', secret)];
    return this.#add(id, secrets, more);
  }

  /** Adds a credential whose secret is a hash that somebody else has made. */
  addImported(id: string, hash: PasswordHash, more: More = {}): Promise<number> {
    const parsed = importedVerifier(hash);
    assert(parsed.ok, 'the hash is one that is taken');
    const context = sealingContext({ kind: 'credential', id });
    const verifier = this.box.seal(parsed.verifier, context);
    const imported = hash.algorithm;
    return this.#add(id, [{ secretId: 's1', verifier, imported, createdAt: this.now }], more);
  }

  /** The same with SCRAM keys for the name that it matches, which is its id unless `more` says otherwise. */
  async addScramCredential(
    id: string,
    password: string,
    more: Partial<CredentialFields> & {
      readonly store?: Store;
      readonly chain?: ChainMember;
      readonly mechanisms?: readonly ScramMechanism[];
    } = {},
  ): Promise<number> {
    const { mechanisms, ...fields } = more;
    const username = fields.match?.scramUsername ?? fields.match?.username ?? id;
    const secret = await this.scramSecret(id, 's1', { username, password }, mechanisms);
    return this.#add(id, [secret], fields);
  }

  #add(id: string, secrets: readonly Secret[], more: More): Promise<number> {
    const data = {
      id,
      store: 'native',
      kind: 'password',
      name: `credential ${id}`,
      match: { username: id },
      enabled: true,
      superuser: false,
      passwordRequired: secrets.length > 0,
      attributes: {},
      access: { kind: 'acl' },
      ...more,
    } as const;
    return this.run({ type: 'AddCredential', data: { ...data, secrets } });
  }

  /** Makes it the chain of a scope. */
  chain(
    scope: string,
    authenticators: readonly Authenticator[],
    unproven: boolean | Partial<Omit<AuthChainFields, 'authenticators'>> = false,
  ): Promise<number> {
    const said = typeof unproven === 'boolean' ? { anonymous: unproven } : unproven;
    return this.run({
      type: 'ReplaceAuthChain',
      data: { scope, authenticators, anonymous: false, ...said },
    });
  }

  secret(credentialId: string, secretId: string, text: string): Secret {
    const context = sealingContext({ kind: 'credential', id: credentialId });
    const verifier = this.box.seal(this.hasher.machineVerifier(text), context);
    return { secretId, verifier, createdAt: this.now };
  }

  async scramSecret(
    credentialId: string,
    secretId: string,
    of: { readonly username: string; readonly password: string },
    mechanisms: readonly ScramMechanism[] = ['SCRAM-SHA-256'],
  ): Promise<Secret> {
    const context = sealingContext({ kind: 'credential', id: credentialId });
    const scram = mechanisms.map(async (mechanism) => ({
      mechanism,
      verifier: this.box.seal(await this.hasher.scramVerifier(mechanism, of), context),
    }));
    const secret = this.secret(credentialId, secretId, of.password);
    return { ...secret, scram: await Promise.all(scram) };
  }

  rules(target: AclTarget, ...rules: Omit<AclRule, 'ruleId'>[]): Promise<number> {
    const data = { target, rules: rules.map((rule, index) => ({ ruleId: `r${index}`, ...rule })) };
    return this.run({ type: 'ReplaceAclRules', data });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.model[Symbol.asyncDispose]();
    rmSync(this.#folder, { recursive: true });
  }
}

/** The authenticator of passwords. */
export const passwords = (
  changes: Partial<Extract<Authenticator, { mechanism: 'password_based' }>> = {},
): Authenticator => ({
  mechanism: 'password_based',
  backend: 'built_in_database',
  enabled: true,
  matchBy: 'username',
  hash: { name: 'argon2id' },
  ...changes,
});

export const facts = (clientId: string, username?: string): Facts => ({
  clientId,
  listener: 'tcp:default',
  ...(username !== undefined && { username }),
});

export const bytes = (text: string): Uint8Array => Buffer.from(text);
