import {
  type AccessSpec,
  AUTHENTICATOR_IDS,
  type ChainMember,
  type Credential,
  loginKey,
  NAME_BYTES_MAX,
  realmOf,
  scramNameOf,
  type Store,
  STORES,
} from '@sallyport/domain';
import { type Static, Type } from 'typebox';
import { proves } from '../bulk/credential-rows.ts';
import { pages } from '../bulk/pages.ts';
import type { ApiContext } from '../http/context.ts';
import { defaulted } from '../http/list-query.ts';
import type { CommandInputs } from '../http/write.ts';
import { checkChosenPassword } from '../passwords.ts';
import { exportedFields } from '../routes/credentials/export.ts';
import { algorithmFor, createSecret, presentMechanisms } from '../routes/credentials/lookup.ts';
import { placeholder, prepareCredential } from '../routes/credentials/prepare.ts';
import { type CreateBody } from '../routes/credentials/ready.ts';
import { validityView } from '../routes/credentials/proof-schema.ts';
import { storedFields } from '../routes/credentials/stored-body.ts';
import { dynsecAccessOf } from '../routes/credentials/dynsec-access.ts';
import { rolesAccessOf } from '../routes/credentials/roles-access.ts';
import { withWholeAccess, wholeDynsecAccess } from '../routes/credentials/stored-body.ts';
import { accessSchemaOf, chainSchema, replacedBody } from '../routes/credentials/schema.ts';
import {
  type AccessReferences,
  accessReferences,
  accessWithIds,
  accessWithNames,
} from './access-names.ts';
import { type EntryComparedWith, entryProblem, listSection, type Wanted } from './list-section.ts';
import { withKeptPermissionIds } from './roles-section.ts';
import { type ComparedWith, fieldChanges, HIDDEN, type Names } from './section.ts';

const nameOf = (what: string) =>
  Type.String({ maxLength: NAME_BYTES_MAX, description: `Name of a ${what}.` });

const access = accessSchemaOf(
  rolesAccessOf(nameOf('role')),
  dynsecAccessOf(nameOf('role of dynamic security'), nameOf('group of dynamic security')),
);

const entrySchema = Type.Object(
  {
    store: defaulted(Type.Enum([...STORES], { default: 'native' })),
    kind: defaulted(Type.Enum(['password', 'certificate'], { default: 'password' })),
    chain: Type.Optional(chainSchema),
    ...replacedBody.properties,
    access: defaulted(Type.Unsafe<AccessSpec>({ ...access, default: { kind: 'acl' } })),
  },
  {
    additionalProperties: false,
    description:
      'Without a `password` the secrets stay as they are; a new credential that needs one is refused without. Secrets are never exported.',
  },
);

type Entry = Static<typeof entrySchema>;

interface Place {
  readonly store: Store;
  readonly chain?: ChainMember;
  readonly name: string;
}

export const credentialKey = ({ name, ...where }: Place): string => `${realmOf(where)}:${name}`;

/** What a key was made from. */
function placeOf(key: string): Place | undefined {
  const store = STORES.find((one) => key.startsWith(`${one}:`));
  if (store !== undefined) return { store, name: key.slice(store.length + 1) };
  // No scope has a slash in it.
  const [, scope, rest = ''] = /^emqx@([^/]+)\/(.*)$/s.exec(key) ?? [];
  const authenticator = AUTHENTICATOR_IDS.find((one) => rest.startsWith(`${one}:`));
  if (scope === undefined || authenticator === undefined) return undefined;
  const name = rest.slice(authenticator.length + 1);
  return { store: 'emqx', chain: { scope, authenticator }, name };
}

/** Credentials, by their stores, chains and names. Roles are called by their names. */
export const credentialsSection = listSection<Entry, Credential>({
  name: 'credentials',
  entry: entrySchema,
  keyPointer: '/name',
  naming: {
    noun: 'credential',
    keyOf: (entry) => credentialKey(entry as Entry),
    find(reads, key) {
      const place = placeOf(key);
      return place && reads.credentialIdByName(place.store, place.name, place.chain);
    },
  },
  keyOf: credentialKey,
  keyOfPresent: credentialKey,
  labelOf: (key) => key.replace(/^native:/, ''),
  find(reads, { store, name, chain }) {
    const id = reads.credentialIdByName(store, name, chain);
    return id === undefined ? undefined : reads.credential(id);
  },
  pages: (snapshot) =>
    pages((after: Credential | undefined, limit) => snapshot.credentialsByName(after, limit)),

  written: (credential, names) => ({
    ...(credential.store === 'native' ? {} : { store: credential.store }),
    ...(credential.kind === 'password' ? {} : { kind: credential.kind }),
    ...(credential.chain === undefined ? {} : { chain: credential.chain }),
    ...writtenFields(credential, names),
  }),

  compare(entry, present, against) {
    checkScram(entry);
    const named = accessReferences(entry.access, against);
    if (present === undefined) {
      checkPassword(entry, against);
      return creation(entry, named, against);
    }
    return update(entry, present, named, against);
  },
  remove: ({ id, updatedRevision: ifRevision }) => ({
    type: 'RemoveCredential',
    data: { id, ifRevision },
  }),
});

function writtenFields(credential: Credential, names: Names) {
  const fields = exportedFields(credential);
  return { ...fields, access: accessWithNames(fields.access, names) };
}

function checkScram({ scram, password }: Entry): void {
  if ((scram?.length ?? 0) === 0 || password !== undefined) return;
  const detail = 'needs a password, because keys are made from it';
  throw entryProblem('invalid_request', '/scram', detail);
}

/** Here, so that a plan says it too. A password that opens the credential already stays, whatever it is. */
function checkPassword(
  { password }: Entry,
  { context: { ports } }: Pick<ComparedWith, 'context'>,
): void {
  if (password === undefined) return;
  checkChosenPassword(ports.passwordPolicy, password, 'credential_invalid');
}

function creation(
  entry: Entry,
  named: AccessReferences,
  { context, own }: EntryComparedWith,
): Wanted {
  const { password, ...fields } = entry;
  const bodyOf = (inputs: CommandInputs): CreateBody => ({
    ...entry,
    access: accessWithIds(entry.access, named, inputs),
    ...{ generateSecret: false, scramOnly: false },
  });
  return {
    after: { ...fields, ...(password === undefined ? {} : { password: HIDDEN }) },
    ...secretTag(context, password),
    command: async (inputs) => {
      const { credential } = await prepareCredential(context, bodyOf(inputs), own(inputs));
      return { type: 'AddCredential', data: credential };
    },
    rehearsal: (inputs) => ({
      type: 'AddCredential',
      data: placeholder(context, bodyOf(inputs), own(inputs)),
    }),
  };
}

const secretTag = ({ ports }: ApiContext, password: string | undefined) =>
  password === undefined ? {} : { secretTag: ports.secretBox.fingerprint(password) };

/** Fields as they are compared: in the forms in which they are kept, with the ids of permissions that are there. */
function comparedFields(
  { store: _store, chain: _chain, password: _p, scram: _s, ...sent }: Entry,
  present: Credential,
) {
  const stored = storedFields(sent);
  const fields = { ...stored, validity: validityView(stored.validity) };
  const own = present.access.kind === 'roles' ? present.access.permissions : [];
  if (sent.access.kind === 'dynsec') {
    return { ...fields, access: wholeDynsecAccess(sent.access) };
  }
  if (sent.access.kind !== 'roles') return fields;
  const {
    roles = [],
    permissions = [],
    publishPrefix = '',
    apply,
  }: Partial<typeof sent.access> = sent.access; // The schema lets them be left out.
  const whole: AccessSpec = {
    ...{ kind: 'roles', roles },
    permissions: withKeptPermissionIds(permissions, own) as typeof permissions,
    ...(publishPrefix === '' ? {} : { publishPrefix }),
    ...(apply === undefined ? {} : { apply }),
  };
  return { ...fields, access: whole };
}

/** What a CONNECT finds the credential by, if that changes. */
function movedMatch(present: Credential, { match }: Pick<Credential, 'match'>) {
  const [frees, takes] = [present.match, match].map(
    (one) => `${realmOf(present)}:${loginKey(one)}`,
  );
  return frees === takes || frees === undefined || takes === undefined ? {} : { frees, takes };
}

async function update(
  entry: Entry,
  present: Credential,
  named: AccessReferences,
  { context, at, own }: EntryComparedWith,
): Promise<Wanted | undefined> {
  const { password, scram } = entry;
  const wanted = comparedFields(entry, present);
  const before = { kind: present.kind, ...writtenFields(present, context.ports.model.reads) };
  const newSecret = password !== undefined && !(await proves(context, present, password, at));
  if (newSecret) checkPassword(entry, { context });
  const fields = [...fieldChanges(before, wanted)];
  if (newSecret) fields.push({ pointer: '/password', before: HIDDEN, after: HIDDEN });
  if (fields.length === 0) return undefined;
  const { id, updatedRevision: ifRevision } = present;
  const mechanisms = scram ?? presentMechanisms(present, at);
  const dataOf = (inputs: CommandInputs) => {
    const sent = { ...wanted, access: accessWithIds(wanted.access, named, inputs) };
    return { id, changes: storedFields(withWholeAccess(sent, own(inputs))), ifRevision };
  };
  const rehearsal: Wanted['rehearsal'] = (inputs) => {
    const keys = mechanisms.map((mechanism) => ({ mechanism, verifier: '' }));
    const scramKeys = keys.length === 0 ? {} : { scram: keys };
    const secret = { secretId: '', verifier: '', createdAt: at, ...scramKeys };
    return {
      type: 'ChangeCredential',
      data: { ...dataOf(inputs), ...(newSecret ? { secret } : {}) },
    };
  };
  const moved = movedMatch(present, wanted);
  if (!newSecret) return { fields, ...moved, rehearsal };
  return {
    fields,
    ...moved,
    ...secretTag(context, password),
    rehearsal,
    command: async (inputs) => {
      const username = scramNameOf(wanted.match);
      const algorithm = algorithmFor(context, present);
      const asked = { credentialId: id, password, mechanisms, username, algorithm };
      const { secret } = await createSecret(context, asked, own(inputs));
      return { type: 'ChangeCredential', data: { ...dataOf(inputs), secret } };
    },
  };
}
