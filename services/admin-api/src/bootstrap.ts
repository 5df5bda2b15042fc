import { createHash, randomBytes, randomUUID } from 'node:crypto';
import {
  type Actor,
  BUILT_IN_ROLES,
  failedPasswordRules,
  type PasswordPolicy,
  passwordRulesText,
} from '@sallyport/domain';
import { OperationalError } from '@sallyport/errors';
import { sealingContext } from '@sallyport/secrets';
import { API_SECRET_LENGTH_MIN, type BootstrapConfig } from './config.ts';
import type { AdminApiPorts } from './ports.ts';

/** Name of the first administrator. */
export const BOOTSTRAP_ADMIN = 'admin';
/** Random bytes of a password that is generated for it. */
export const BOOTSTRAP_PASSWORD_BYTES = 18;

const actor: Actor = { kind: 'system', id: 'bootstrap' };

export interface Bootstrapped {
  /** Whether this process made the first administrator. */
  readonly administratorAdded: boolean;
  /** The password to print, once; only when it was generated here. */
  readonly generatedPassword?: string;
}

type BootstrapPorts = Pick<
  AdminApiPorts,
  'executor' | 'model' | 'hasher' | 'secretBox' | 'clock' | 'passwordPolicy'
>;

/**
 * Makes the first administrator when no operator exists, and the API key and the built-in roles of the configuration when they were
 * never made.
 * Of several replicas that start at once one wins, and the others carry on.
 * @throws OperationalError `config_invalid` for half an API key, for a first password that fails the policy, and where another role has the
 * name of a built-in one
 */
export async function bootstrap(
  config: BootstrapConfig,
  ports: BootstrapPorts,
): Promise<Bootstrapped> {
  const { apiKey, apiSecret } = config;
  if ((apiKey === undefined) !== (apiSecret === undefined)) {
    throw new OperationalError(
      'config_invalid',
      'bootstrap.apiKey and bootstrap.apiSecret must be set both or not at all',
    );
  }
  const bootstrapped = await addAdministrator(config, ports);
  if (apiKey !== undefined && apiSecret !== undefined) {
    await addApiKey({ id: apiKey, secret: apiSecret }, ports);
  }
  if (config.builtInRoles === true) await addBuiltInRoles(ports);
  return bootstrapped;
}

async function addAdministrator(
  { adminPassword, adminEmail }: BootstrapConfig,
  { executor, model, hasher, secretBox, clock, passwordPolicy }: BootstrapPorts,
): Promise<Bootstrapped> {
  if (model.reads.operatorCount() > 0) return { administratorAdded: false };
  if (adminPassword !== undefined) checkFirstPassword(passwordPolicy, adminPassword);
  const password = adminPassword ?? randomBytes(BOOTSTRAP_PASSWORD_BYTES).toString('base64url');
  const id = randomUUID();
  const verifier = await hasher.hashPassword(password);
  const passwordVerifier = secretBox.seal(verifier, sealingContext({ kind: 'operator', id }));
  const executed = await executor.execute(
    {
      type: 'Bootstrap',
      data: {
        id,
        name: BOOTSTRAP_ADMIN,
        ...(adminEmail === undefined ? {} : { email: adminEmail }),
        role: 'administrator',
        enabled: true,
        passwordVerifier,
      },
    },
    // A random id: two replicas must not take the other's password for their own.
    { commitId: randomUUID(), at: clock(), actor },
  );
  if (!executed.ok) {
    const { code, problems } = executed.rejection;
    if (code === 'already_bootstrapped') return { administratorAdded: false };
    const why = problems?.map((one) => `${one.pointer} ${one.detail}`).join('; ');
    throw new OperationalError('config_invalid', `bootstrap: ${code} ${why ?? ''}`);
  }
  return {
    administratorAdded: true,
    ...(adminPassword === undefined ? { generatedPassword: password } : {}),
  };
}

/** Not of a later start: a policy that has become stricter since asks nothing of passwords that are there. */
function checkFirstPassword(policy: PasswordPolicy, password: string): void {
  const rules = failedPasswordRules(policy, password);
  if (rules.length === 0) return;
  const why = passwordRulesText(policy, rules);
  throw new OperationalError('config_invalid', `bootstrap.adminPassword ${why}`);
}

/** A key that was made once is not made again: removing it must outlast the next restart. */
async function addApiKey(
  { id, secret }: { readonly id: string; readonly secret: string },
  { executor, model, hasher, secretBox, clock }: BootstrapPorts,
): Promise<void> {
  if (secret.length < API_SECRET_LENGTH_MIN) {
    throw new OperationalError(
      'config_invalid',
      `bootstrap.apiSecret must have at least ${API_SECRET_LENGTH_MIN} characters`,
    );
  }
  const commitId = `bootstrap-${createHash('sha256').update(id).digest('hex')}`;
  if (model.commitRevision(commitId) !== undefined) return;
  const verifier = hasher.machineVerifier(secret);
  const secretVerifier = secretBox.seal(verifier, sealingContext({ kind: 'api_key', id }));
  const executed = await executor.execute(
    {
      type: 'AddApiKey',
      data: { id, name: id, role: 'administrator', enabled: true, secretVerifier },
    },
    { commitId, at: clock(), actor },
  );
  if (!executed.ok && executed.rejection.code !== 'api_key_exists') {
    throw new OperationalError('config_invalid', `bootstrap.apiKey: ${executed.rejection.code}`);
  }
}

async function addBuiltInRoles({ executor, model, clock }: BootstrapPorts): Promise<void> {
  for (const data of BUILT_IN_ROLES) {
    if (model.reads.role(data.id)?.builtIn === true) continue;
    const meta = { commitId: `bootstrap-role-${data.id}`, at: clock(), actor };
    const executed = await executor.execute({ type: 'AddRole', data }, meta);
    if (executed.ok) continue;
    // Another replica was first.
    if (executed.rejection.code === 'role_exists') continue;
    const why = `${data.name}: ${executed.rejection.code}`;
    throw new OperationalError('config_invalid', `bootstrap.builtInRoles: ${why}`);
  }
}
