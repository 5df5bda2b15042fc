import {
  type Credential,
  type CredentialFields,
  scramNameOf,
  type ScramMechanism,
  type Secret,
} from '@sallyport/domain';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { ApiContext, TypedApp } from '../../http/context.ts';
import { ifRevisionOf } from '../../http/etag.ts';
import { writeAnswers } from '../../http/openapi.ts';
import { refused } from '../../http/problems.ts';
import { createChecker } from '../../http/validation.ts';
import type { CommandInputs } from '../../http/write.ts';
import { algorithmFor, createSecret, credentials, presentMechanisms } from './lookup.ts';
import { exportedFields } from './export.ts';
import { storedFields, type ValidityView } from './stored-body.ts';
import { type JsonObject, mergePatch } from './merge-patch.ts';
import { withWholeAccess } from './stored-body.ts';
import {
  credentialView,
  fieldsSchema,
  idParams,
  patchBody,
  replaceBody,
  writeQuerySchema,
  writtenCredentialSchema,
} from './schema.ts';

const tags = ['credentials'];
const WRITE = { permission: 'credentials:write' } as const;
const ADDRESS = '/credentials/:id';

interface Change {
  readonly id: string;
  /** Made from the credential as it is when the command is made. */
  readonly changes: (current: Credential) => Partial<CredentialFields>;
  /** The outcome depends on what was there, so nothing may come between reading and writing. */
  readonly optimistic: boolean;
  readonly password: string | undefined;
  /** As the present secret has it when undefined. */
  readonly scram: readonly ScramMechanism[] | undefined;
}

/** The secret that a change brings: only with a password, from which SCRAM keys are made too. */
async function newSecret(
  context: ApiContext,
  { password, scram }: Pick<Change, 'password' | 'scram'>,
  { current, next }: { readonly current: Credential; readonly next: Partial<CredentialFields> },
  inputs: CommandInputs,
): Promise<Secret | undefined> {
  if (password === undefined) return undefined;
  const username = scramNameOf(next.match ?? current.match);
  const mechanisms = scram ?? presentMechanisms(current, inputs.at);
  const algorithm = algorithmFor(context, current);
  const wanted = { credentialId: current.id, password, mechanisms, username, algorithm };
  return (await createSecret(context, wanted, inputs)).secret;
}

function change(
  context: ApiContext,
  request: FastifyRequest,
  reply: FastifyReply,
  { id, changes, optimistic, ...wantedSecret }: Change,
): Promise<unknown> {
  if (wantedSecret.scram !== undefined && wantedSecret.password === undefined) {
    const detail = 'needs a new password, because keys are made from it';
    throw refused('invalid_request', { problems: [{ pointer: '/scram', detail }] });
  }
  return context.writer.respond(request, reply, {
    command: async (inputs) => {
      const current = credentials.found(context, id);
      const ifRevision =
        ifRevisionOf(request, current.updatedRevision) ??
        (optimistic ? current.updatedRevision : undefined);
      const wanted = withWholeAccess(changes(current), inputs);
      const secret = await newSecret(context, wantedSecret, { current, next: wanted }, inputs);
      return {
        type: 'ChangeCredential',
        data: {
          id,
          changes: wanted,
          ...(ifRevision === undefined ? {} : { ifRevision }),
          ...(secret === undefined ? {} : { secret }),
        },
      };
    },
    current: credentials.currentOf(context, id),
    retryStale: optimistic && request.headers['if-match'] === undefined,
    answer: () => {
      const credential = credentials.found(context, id);
      return {
        status: 200,
        body: credentialView(credential, context.ports.clock()),
        updatedRevision: credential.updatedRevision,
      };
    },
  });
}

export function registerReplace(app: TypedApp, context: ApiContext): void {
  app.put(
    ADDRESS,
    {
      config: WRITE,
      schema: {
        tags,
        operationId: 'replaceCredential',
        summary: 'Replace a credential',
        params: idParams,
        querystring: writeQuerySchema,
        body: replaceBody,
        response: writeAnswers(200, writtenCredentialSchema),
      },
    },
    (request, reply) => {
      const { password, scram, kind, ...fields } = request.body;
      return change(context, request, reply, {
        id: request.params.id,
        changes: () => ({ ...storedFields(fields), ...kindMember(kind) }),
        optimistic: false,
        password,
        scram,
      });
    },
  );
}

type WrittenFields = Partial<
  Omit<CredentialFields, 'validity' | 'kind'> & { validity: ValidityView }
>;

const checkFields = createChecker(fieldsSchema);

type Kind = Credential['kind'];

const kindMember = (kind: Kind | undefined): { readonly kind?: Kind } =>
  kind === undefined ? {} : { kind };

/** The fields that a merge patch changes, as they are after it. @throws RefusedError `invalid_request` when they are none any more */
function patched(
  current: Credential,
  patch: JsonObject,
  kind: Kind | undefined,
): Partial<CredentialFields> {
  const before = exportedFields(current);
  const wanted = patch['access'] as { readonly kind?: unknown } | null | undefined; // Checked below, merged.
  const otherKind = wanted?.kind !== undefined && wanted.kind !== current.access.kind;
  // What is of one kind means nothing for another.
  const kept = {
    ...before,
    ...(otherKind && { access: {} }),
    ...(kind !== undefined &&
      kind !== current.kind &&
      patch['match'] !== undefined && { match: {} }),
  };
  const after = mergePatch(kept, patch);
  const required = Object.keys(before).filter((key) => patch[key] === null);
  if (required.length > 0) {
    const problems = required.map((key) => ({ pointer: `/${key}`, detail: 'cannot be removed' }));
    throw refused('invalid_request', { problems });
  }
  const problems = checkFields(after);
  if (problems.length > 0) throw refused('invalid_request', { problems });
  const touched = Object.entries(after as object).filter(([key]) => key in patch);
  const changes = Object.fromEntries(touched) as WrittenFields; // `checkFields` has found that it is.
  return { ...storedFields(changes), ...kindMember(kind) };
}

export function registerPatch(app: TypedApp, context: ApiContext): void {
  app.patch(
    ADDRESS,
    {
      config: WRITE,
      schema: {
        tags,
        operationId: 'patchCredential',
        summary: 'Change parts of a credential',
        params: idParams,
        querystring: writeQuerySchema,
        body: patchBody,
        response: writeAnswers(200, writtenCredentialSchema),
      },
    },
    (request, reply) => {
      const { password, scram, kind, ...patch } = request.body;
      return change(context, request, reply, {
        id: request.params.id,
        changes: (current) => patched(current, patch, kind as Kind | undefined), // `patchBody`
        optimistic: true,
        password: password as string | undefined, // `passwordSchema`
        scram: scram as ScramMechanism[] | undefined, // `scramSchema`
      });
    },
  );
}
