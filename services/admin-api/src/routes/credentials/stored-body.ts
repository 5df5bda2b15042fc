// Loads no schema: rows of an import are made ready by this on a thread that has to start soon.
import {
  type AccessSpec,
  type ApplyMode,
  type CredentialMatch,
  DYNSEC_PRIORITY_DEFAULT,
  type Grant,
  parseFingerprint,
  type Permission,
  type Validity,
} from '@sallyport/domain';
import type { CommandInputs } from '../../http/write.ts';

/** As the API writes it. */
export interface ValidityView {
  readonly from?: string;
  readonly until?: string;
}

/** What the API says of a credential in another form than the domain. */
interface Written {
  readonly match: CredentialMatch;
  readonly grants: readonly Grant[];
  readonly validity: ValidityView;
}

interface Stored {
  readonly match: CredentialMatch;
  readonly grants: readonly Grant[];
  readonly validity: Validity;
}

/** The members of a body, or those that are there, as the domain has them. What cannot be read stays, for the domain to refuse. */
export function storedFields<F extends Partial<Written>>(
  fields: F,
): Omit<F, keyof Written> & { [K in keyof F & keyof Stored]: Stored[K] } {
  const { match, validity } = fields;
  return {
    ...fields,
    ...(match !== undefined && { match: storedMatch(match) }),
    ...(validity !== undefined && { validity: storedValidity(validity) }),
  } as Omit<F, keyof Written> & { [K in keyof F & keyof Stored]: Stored[K] }; // Each key has got its other form.
}

export function storedMatch(match: CredentialMatch): CredentialMatch {
  const { fingerprint } = match;
  if (fingerprint === undefined) return match;
  return { ...match, fingerprint: parseFingerprint(fingerprint) ?? fingerprint };
}

export function storedValidity({ from, until }: ValidityView): Validity {
  return {
    ...(from !== undefined && { from: Date.parse(from) }),
    ...(until !== undefined && { until: Date.parse(until) }),
  };
}

export type SentPermission = Omit<Permission, 'id'> & { readonly id?: string };

/** Gives those without an id one, the same on every attempt of a request. */
export function withIds(
  sent: readonly SentPermission[],
  inputs: Pick<CommandInputs, 'id'>,
): readonly Permission[] {
  return sent.map(({ id, context, resource, operation }, index) => ({
    id: id ?? inputs.id(`permission-${index}`),
    context,
    resource,
    operation,
  }));
}

interface SentRolesAccess {
  readonly kind: 'roles';
  readonly roles?: readonly string[];
  readonly permissions?: readonly SentPermission[];
  readonly publishPrefix?: string;
  readonly apply?: ApplyMode;
}

/** The fields with an access that is whole. */
export function withWholeAccess<F extends { readonly access?: AccessSpec }>(
  fields: F,
  inputs: Pick<CommandInputs, 'id'>,
): F {
  const { access } = fields;
  if (access?.kind === 'roles') return { ...fields, access: wholeAccess(access, inputs) };
  return access?.kind === 'dynsec' ? { ...fields, access: wholeDynsecAccess(access) } : fields;
}

function wholeAccess(
  sent: Extract<AccessSpec, { kind: 'roles' }>,
  inputs: Pick<CommandInputs, 'id'>,
): AccessSpec {
  const { roles = [], permissions = [], publishPrefix = '', apply }: SentRolesAccess = sent; // `rolesAccessSchema` lets more be left out.
  return {
    kind: 'roles',
    roles,
    permissions: withIds(permissions, inputs),
    ...(publishPrefix === '' ? {} : { publishPrefix }),
    ...(apply === undefined ? {} : { apply }),
  };
}

interface SentDynsecAccess {
  readonly kind: 'dynsec';
  readonly roles?: readonly { readonly role: string; readonly priority?: number }[];
  readonly groups?: readonly { readonly group: string; readonly priority?: number }[];
  readonly apply?: ApplyMode;
}

/** Access by dynamic security, with what was left out. */
export function wholeDynsecAccess(sent: Extract<AccessSpec, { kind: 'dynsec' }>): AccessSpec {
  const { kind, roles = [], groups = [], apply }: SentDynsecAccess = sent; // `dynsecAccessSchema` lets more be left out.
  return {
    kind,
    roles: roles.map(({ role, priority = DYNSEC_PRIORITY_DEFAULT }) => ({ role, priority })),
    groups: groups.map(({ group, priority = DYNSEC_PRIORITY_DEFAULT }) => ({ group, priority })),
    ...(apply === undefined ? {} : { apply }),
  };
}
