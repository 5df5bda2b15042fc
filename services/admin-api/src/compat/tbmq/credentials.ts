import {
  type Credential,
  evolveCredential,
  isLive,
  type Secret,
  type Store,
} from '@sallyport/domain';
import { assert } from '@sallyport/errors';
import { sealingContext } from '@sallyport/secrets';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { randomUUID } from 'node:crypto';
import type { ApiContext } from '../../http/context.ts';
import { parseJson } from '../../http/json-body.ts';
import { PAGE_SIZE_MAX } from '../../http/list-query.ts';
import { refused, RefusedError } from '../../http/problems.ts';
import type { CommandInputs, Done, Write, WriteContext } from '../../http/write.ts';
import { badRequest, notFoundItem } from './errors.ts';
import {
  accessOf,
  credentialView,
  generatedName,
  parseCredential,
  parseId,
  patternOf,
  refusalOf,
  type WantedCredential,
} from './translate.ts';

const STORE: Store = 'tbmq';
const BASE = '/api/mqtt/client/credentials';
const READ = { config: { permission: 'credentials:read' }, schema: { hide: true } } as const;
const WRITE = { config: { permission: 'credentials:write' }, schema: { hide: true } } as const;

/** `/api/mqtt/client/credentials`, era S. */
export function registerCredentials(app: FastifyInstance, context: ApiContext): void {
  const { model } = context.ports;
  app.post(BASE, WRITE, async (request) => {
    const wanted = parseCredential(parseBody(request.body), parseJson);
    const stored =
      wanted.id === undefined
        ? await create(context, request, wanted)
        : await update(context, request, wanted.id, wanted);
    return credentialView(stored);
  });
  app.get(BASE, READ, (request) => {
    if (Object.keys(request.query as object).length > 0) {
      throw badRequest('Paging and search are not supported yet, only the whole list is!');
    }
    return all(context).map(credentialView);
  });
  app.delete<{ Params: { id: string } }>(`${BASE}/:id`, WRITE, async (request, reply) => {
    const id = parseId(request.params.id);
    await run(context, request, {
      command: () => {
        if (model.reads.credential(id)?.store !== STORE) throw notFoundItem();
        return { type: 'RemoveCredential', data: { id } };
      },
    });
    return reply.code(200).send();
  });
}

function parseBody(body: unknown): unknown {
  try {
    return parseJson(String(body));
  } catch {
    throw badRequest('Invalid credentials body for mqtt credentials!');
  }
}

/** All credentials, oldest first, at one revision: pages are read without letting go of the thread. */
function all({ ports }: ApiContext): readonly Credential[] {
  const found: Credential[] = [];
  for (let page = 0; ; page++) {
    const { items } = ports.model.lists.credentials({
      page,
      pageSize: PAGE_SIZE_MAX,
      sort: 'createdAt',
      order: 'asc',
      store: STORE,
    });
    // What this era says of a certificate is not translated yet.
    found.push(...items.filter((one) => one.kind === 'password'));
    if (items.length < PAGE_SIZE_MAX) return found;
  }
}

function run(
  context: ApiContext,
  request: FastifyRequest,
  write: Omit<Write, 'answer'>,
): Promise<Done> {
  const { caller } = request;
  assert(caller !== null, 'a write is authenticated');
  const writeContext: WriteContext = { caller, identity: { commitId: randomUUID() } };
  return context.writer.run(writeContext, write);
}

async function passwordSecret(
  { ports }: ApiContext,
  id: string,
  password: string,
  inputs: CommandInputs,
): Promise<Secret> {
  const verifier = await ports.hasher.hashPassword(password);
  return {
    secretId: inputs.id('secret'),
    verifier: ports.secretBox.seal(verifier, sealingContext({ kind: 'credential', id })),
    createdAt: inputs.at,
  };
}

/** Turns what the domain refuses into TBMQ's words, where it has some. */
async function inTheirWords<T>(isUpdate: boolean, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof RefusedError)) throw error;
    throw refusalOf(error.rejection, isUpdate) ?? error;
  }
}

async function create(
  context: ApiContext,
  request: FastifyRequest,
  { match, password, pattern }: WantedCredential,
): Promise<Credential> {
  const command = async (inputs: CommandInputs) => {
    const id = inputs.id('credential');
    const secrets =
      password === undefined ? [] : [await passwordSecret(context, id, password, inputs)];
    return {
      type: 'AddCredential',
      data: {
        id,
        store: STORE,
        kind: 'password',
        name: generatedName(match),
        match,
        enabled: true,
        superuser: false,
        passwordRequired: password !== undefined,
        attributes: {},
        access: accessOf(pattern),
        secrets,
      },
    } as const;
  };
  const done = await inTheirWords(false, run(context, request, { command }));
  const event = done.events.find((one) => one.type === 'CredentialAdded');
  const credential = event && evolveCredential(undefined, event, done);
  assert(credential !== undefined, 'a commit of AddCredential adds a credential');
  return credential;
}

/** TBMQ knows nothing of it, so its clients leave it as it is. */
const appliedAs = ({ access: { apply } }: Credential) => (apply === undefined ? {} : { apply });

async function update(
  context: ApiContext,
  request: FastifyRequest,
  id: string,
  wanted: WantedCredential,
): Promise<Credential> {
  const { model } = context.ports;
  const { match, password, pattern } = wanted;
  const command = async (inputs: CommandInputs) => {
    const current = model.reads.credential(id);
    if (current?.store !== STORE) throw refused('credential_not_found');
    const changed =
      password !== undefined && !(await isPassword(context, current, password, inputs.at));
    const named = current.name === generatedName(current.match);
    const changes = {
      match,
      ...(named ? { name: generatedName(match) } : {}),
      // What a client posts back as it got it is left as it is, even where one pattern cannot say it.
      ...(pattern === patternOf(current.access)
        ? {}
        : { access: { ...accessOf(pattern), ...appliedAs(current) } }),
      ...(password === undefined ? {} : { passwordRequired: true }),
    };
    const secret = changed ? await passwordSecret(context, id, password, inputs) : undefined;
    return {
      type: 'ChangeCredential',
      data: {
        id,
        ifRevision: current.updatedRevision,
        changes,
        ...(secret === undefined ? {} : { secret }),
      },
    } as const;
  };
  await inTheirWords(true, run(context, request, { command, retryStale: true }));
  const stored = model.reads.credential(id);
  if (stored === undefined)
    throw badRequest('Unable to update non-existent MQTT Client credentials!');
  return stored;
}

/** Whether the posted password is the stored one already. */
async function isPassword(
  { ports }: ApiContext,
  credential: Credential,
  password: string,
  at: number,
): Promise<boolean> {
  const context = sealingContext({ kind: 'credential', id: credential.id });
  for (const secret of credential.secrets) {
    if (!isLive(secret, at) || secret.verifier === undefined) continue;
    const verifier = ports.secretBox.open(secret.verifier, context);
    if (await ports.hasher.verify(verifier, Buffer.from(password))) return true;
  }
  return false;
}
