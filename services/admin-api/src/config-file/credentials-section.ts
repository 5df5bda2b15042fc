import type { Credential } from '@sallyport/domain';
import { type Static, Type } from 'typebox';
import { proves } from '../bulk/import-rows.ts';
import type { ApiContext } from '../http/context.ts';
import { turn } from '../bulk/turn.ts';
import { refused } from '../http/problems.ts';
import type { CommandInputs } from '../http/write.ts';
import { exportedFields } from '../routes/credentials/export.ts';
import { createSecret, presentMechanisms } from '../routes/credentials/lookup.ts';
import { type CreateBody, placeholder, prepareCredential } from '../routes/credentials/prepare.ts';
import { storedFields } from '../routes/credentials/proof-schema.ts';
import { withWholeAccess } from '../routes/credentials/roles-access.ts';
import { replaceBody } from '../routes/credentials/schema.ts';
import {
  type Change,
  type ComparedWith,
  type ConfigSection,
  fieldChanges,
  pages,
} from './section.ts';

/** Of the native store; a credential that does not say otherwise is opened by a password. */
const entrySchema = Type.Object(
  { kind: Type.Optional(Type.Enum(['password', 'certificate'])), ...replaceBody.properties },
  { additionalProperties: false },
);

type Entry = Static<typeof entrySchema>;

/** Secrets are named, never told. */
const HIDDEN = '(secret)';

/** Credentials of the native store, by their names. An entry without a password leaves the secrets alone. */
export const credentialsSection: ConfigSection = {
  name: 'credentials',
  schema: Type.Array(entrySchema),

  async compare(value, against) {
    const { reads } = against.context.ports.model;
    const changes: Change[] = [];
    const named = new Set<string>();
    for (const [index, entry] of (value as readonly Entry[]).entries()) {
      const pointer = `/credentials/${index}`;
      if (named.has(entry.name)) throw twice(`${pointer}/name`);
      named.add(entry.name);
      checkMembers(entry, pointer);
      const id = reads.credentialIdByName('native', entry.name);
      const present = id === undefined ? undefined : reads.credential(id);
      if (present === undefined) changes.push(creation(against.context, pointer, entry));
      else changes.push(...(await update(against, pointer, entry, present)));
      if (index % 100 === 99) await turn();
    }
    if (against.prune) changes.push(...(await unnamed(against, named)));
    return changes;
  },

  *export(snapshot) {
    for (const page of credentialPages(snapshot)) {
      yield page.filter((one) => one.store === 'native').map(entryOf);
    }
  },
};

const entryOf = (credential: Credential) => ({
  ...(credential.kind === 'password' ? {} : { kind: credential.kind }),
  ...exportedFields(credential),
});

const credentialPages = (snapshot: Parameters<ConfigSection['export']>[0]) =>
  pages(
    (after, limit) => snapshot.credentials(after, limit),
    (one) => one.id,
  );

const twice = (pointer: string): Error =>
  refused('invalid_request', { problems: [{ pointer, detail: 'is there twice' }] });

const otherKind = (pointer: string): Error =>
  refused('invalid_request', {
    problems: [{ pointer: `${pointer}/kind`, detail: 'cannot be changed; remove it first' }],
  });

function checkMembers({ scram, password }: Entry, pointer: string): void {
  if ((scram?.length ?? 0) === 0 || password !== undefined) return;
  const detail = 'needs a password, because keys are made from it';
  throw refused('invalid_request', { problems: [{ pointer: `${pointer}/scram`, detail }] });
}

function creation(context: ApiContext, pointer: string, entry: Entry): Change {
  const body: CreateBody = {
    ...entry,
    ...{ store: 'native', kind: entry.kind ?? 'password' },
    ...{ generateSecret: false, scramOnly: false },
  };
  const { password, ...fields } = entry;
  return {
    section: 'credentials',
    action: 'create',
    key: entry.name,
    pointer,
    after: { ...fields, ...(password === undefined ? {} : { password: HIDDEN }) },
    ...secretTag(context, password),
    command: async (inputs) => {
      const own = { ...inputs, id: (purpose: string) => inputs.id(`${pointer}/${purpose}`) };
      const { credential } = await prepareCredential(context, body, own);
      return { type: 'AddCredential', data: credential };
    },
    rehearsal: (inputs) => {
      const own = { ...inputs, id: (purpose: string) => inputs.id(`${pointer}/${purpose}`) };
      return { type: 'AddCredential', data: placeholder(body, own) };
    },
  };
}

const secretTag = ({ ports }: ApiContext, password: string | undefined) =>
  password === undefined ? {} : { secretTag: ports.secretBox.fingerprint(password) };

async function update(
  { context, at }: ComparedWith,
  pointer: string,
  entry: Entry,
  present: Credential,
): Promise<readonly Change[]> {
  const { kind = 'password', password, scram, ...wanted } = entry;
  if (kind !== present.kind) throw otherKind(pointer);
  const newSecret = password !== undefined && !(await proves(context, present, password, at));
  const fields = [...fieldChanges({ ...exportedFields(present) }, wanted)];
  if (newSecret) fields.push({ pointer: '/password', before: HIDDEN, after: HIDDEN });
  if (fields.length === 0) return [];
  const { id, updatedRevision } = present;
  const ids = { id: (purpose: string) => `${pointer}/${purpose}` };
  const changes = storedFields(withWholeAccess(wanted, ids));
  const data = { id, changes, ifRevision: updatedRevision };
  const mechanisms = scram ?? presentMechanisms(present, at);
  const secretOf = async (inputs: CommandInputs) => {
    if (!newSecret) return {};
    const own = { ...inputs, id: (purpose: string) => inputs.id(`${pointer}/${purpose}`) };
    const asked = { credentialId: id, password, mechanisms, username: wanted.match.username };
    return { secret: (await createSecret(context, asked, own)).secret };
  };
  const change: Change = {
    section: 'credentials',
    action: 'update',
    key: entry.name,
    pointer,
    fields,
    updatedRevision,
    ...secretTag(context, newSecret ? password : undefined),
    command: async (inputs) => ({
      type: 'ChangeCredential',
      data: { ...data, ...(await secretOf(inputs)) },
    }),
    rehearsal: () => {
      const keys = mechanisms.map((mechanism) => ({ mechanism, verifier: '' }));
      const scramKeys = keys.length === 0 ? {} : { scram: keys };
      const secret = { secretId: '', verifier: '', createdAt: at, ...scramKeys };
      return { type: 'ChangeCredential', data: { ...data, ...(newSecret ? { secret } : {}) } };
    },
  };
  return [change];
}

async function unnamed(
  { context }: ComparedWith,
  named: ReadonlySet<string>,
): Promise<readonly Change[]> {
  const changes: Change[] = [];
  using snapshot = context.ports.model.snapshot();
  for (const page of credentialPages(snapshot)) {
    for (const one of page) {
      if (one.store === 'native' && !named.has(one.name)) changes.push(deletion(one));
    }
    await turn();
  }
  return changes;
}

function deletion(credential: Credential): Change {
  const { id, updatedRevision, name } = credential;
  const rehearsal = () =>
    ({ type: 'RemoveCredential', data: { id, ifRevision: updatedRevision } }) as const;
  return {
    section: 'credentials',
    action: 'delete',
    key: name,
    pointer: '/credentials',
    before: exportedFields(credential),
    updatedRevision,
    command: async () => rehearsal(),
    rehearsal,
  };
}
