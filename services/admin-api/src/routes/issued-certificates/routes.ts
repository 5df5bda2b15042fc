import { randomUUID } from 'node:crypto';
import { evolveIssuedCertificate, type IssuedCertificate } from '@sallyport/domain';
import { assert } from '@sallyport/errors';
import type { IssuedCertificateSort } from '@sallyport/read-model';
import type { FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import { type ApiContext, type Routes, sourceOf, type TypedApp } from '../../http/context.ts';
import { etagOf, ifRevisionOf } from '../../http/etag.ts';
import { pageRequestOf } from '../../http/list-query.ts';
import { answers, READ_PROBLEMS, writeAnswers } from '../../http/openapi.ts';
import { callerText } from '../../http/permissions.ts';
import { RefusedError, refused } from '../../http/problems.ts';
import type { Done } from '../../http/write.ts';
import { isSignedBy, issuedCertificateOf, renewCommand } from '../../issuing/renewal.ts';
import {
  pemOfList,
  planRevocation,
  revocationListOf,
  type RevocationPlan,
} from '../../issuing/revocations.ts';
import {
  deviceRenewBody,
  deviceRenewedSchema,
  emptyQuery,
  fingerprintParams,
  issuedPageSchema,
  issuedSchema,
  issuedView,
  listQuery,
  renewBody,
  revokeBody,
  revokedSchema,
  writeQuerySchema,
  writtenIssuedSchema,
} from './schema.ts';

const tags = ['certificates'];
const READ = { permission: 'certificates:read' } as const;
const WRITE = { permission: 'certificates:write' } as const;
const BASE = '/certificates/issued';
const ADDRESS = `${BASE}/:fingerprint`;

/** Who makes the commits of devices that renew what they have. */
const DEVICE_ACTOR = { kind: 'system', id: 'certificate-renewal' } as const;

/** Most bytes of what a stranger may send. */
const RENEW_BODY_BYTES_MAX = 32 * 1024;

/** Certificates that were made here, for those who asked for one. */
export const issuedCertificateRoutes: Routes = (app, context) => {
  registerReads(app, context);
  registerList(app, context);
  registerRenew(app, context);
  registerDeviceRenew(app, context);
  registerRevoke(app, context);
};

function registerReads(app: TypedApp, context: ApiContext): void {
  const { ports } = context;
  const { model, clock } = ports;
  app.get(
    BASE,
    {
      config: READ,
      schema: {
        tags,
        operationId: 'listIssuedCertificates',
        summary: 'List certificates that were made here',
        querystring: listQuery,
        response: answers({ 200: issuedPageSchema }, READ_PROBLEMS),
      },
    },
    ({ query }) => {
      const at = clock();
      const { credentialId, state } = query;
      const wanted = pageRequestOf<IssuedCertificateSort>(query);
      const { items, total } = model.lists.issuedCertificates({
        ...wanted,
        ...(credentialId !== undefined && { credentialId }),
        ...(state !== undefined && { state }),
        at,
      });
      const { page, pageSize } = wanted;
      return { items: items.map((one) => issuedView(one, at)), total, page, pageSize };
    },
  );
  app.get(
    ADDRESS,
    {
      config: READ,
      schema: {
        tags,
        operationId: 'getIssuedCertificate',
        summary: 'Read one certificate that was made here',
        params: fingerprintParams,
        querystring: emptyQuery,
        response: answers({ 200: issuedSchema }, READ_PROBLEMS),
      },
    },
    (request, reply) => {
      const found = issuedCertificateOf(ports, request.params.fingerprint);
      void reply.header('etag', etagOf(found.updatedRevision));
      return issuedView(found, clock());
    },
  );
}

const list: Readonly<Record<string, unknown>> = {
  200: {
    description: 'The list, signed now',
    content: {
      'application/x-pem-file': { schema: Type.String() },
    },
  },
};

function registerList(app: TypedApp, { ports }: ApiContext): void {
  const { model, clock } = ports;
  app.get(
    `${BASE}/revocation-list`,
    {
      config: READ,
      schema: {
        tags,
        operationId: 'getRevocationList',
        summary: 'Read the revocation list of the issuing authority',
        description:
          'In PEM, as `mqtt.tls.crlFile` of a broker takes it. It does not end before the authority does.',
        querystring: emptyQuery,
        response: { ...answers({}, [...READ_PROBLEMS, 409]), ...list },
      },
    },
    (_request, reply) => {
      const { issuer } = ports;
      if (issuer?.maySignLists !== true) {
        const detail = 'No issuing authority that may sign lists is configured.';
        throw refused('registration_unsigned', { detail });
      }
      const text = pemOfList(revocationListOf(model, issuer, { at: clock() }));
      return reply.type('application/x-pem-file').send(text);
    },
  );
}

const byCaller = ({ caller }: FastifyRequest): string => {
  assert(caller !== null, 'a write is authenticated');
  return callerText(caller);
};

/** The certificate as a commit made it. */
function made(done: Done): IssuedCertificate {
  const event = done.events.find((one) => one.type === 'CertificateIssued');
  const issued = event && evolveIssuedCertificate(undefined, event, done);
  assert(issued !== undefined, 'a renewal makes a certificate');
  return issued;
}

function registerRenew(app: TypedApp, context: ApiContext): void {
  const { ports } = context;
  app.post(
    `${ADDRESS}/renew`,
    {
      config: WRITE,
      schema: {
        tags,
        operationId: 'renewCertificate',
        summary: 'Make a certificate in the place of one; that one goes on until it ends',
        params: fingerprintParams,
        querystring: writeQuerySchema,
        body: renewBody,
        response: writeAnswers(201, writtenIssuedSchema),
      },
    },
    (request, reply) => {
      const { csr } = request.body;
      const by = byCaller(request);
      return context.writer.respond(request, reply, {
        command: ({ at }) => {
          const present = issuedCertificateOf(ports, request.params.fingerprint);
          return renewCommand(ports, present, { csr, by, byDevice: false, at });
        },
        answer: (done) => {
          const issued = made(done);
          return {
            status: 201,
            body: issuedView(issued, ports.clock()),
            updatedRevision: issued.updatedRevision,
            location: `/api/v1${BASE}/${issued.fingerprint}`,
          };
        },
      });
    },
  );
}

function registerDeviceRenew(app: TypedApp, { ports, registration, barrier }: ApiContext): void {
  const { model, executor, clock } = ports;
  app.post(
    '/registration/renew',
    {
      config: { permission: 'public' },
      bodyLimit: RENEW_BODY_BYTES_MAX,
      onRequest: async (request) => registration.admit(sourceOf(request)),
      schema: {
        tags: ['registration'],
        operationId: 'renewOwnCertificate',
        summary: 'Have a certificate made in the place of the one that is shown to be held',
        querystring: emptyQuery,
        body: deviceRenewBody,
        response: answers({ 201: deviceRenewedSchema }, [...READ_PROBLEMS, 409]),
      },
    },
    async (request, reply) => {
      await barrier.pass();
      const { csr, signature, fingerprint } = request.body;
      const present = provenCertificate(ports, fingerprint, csr, signature);
      const at = clock();
      const by = `credential:${present.credentialId}`;
      const command = renewCommand({ ...ports, model }, present, { csr, by, byDevice: true, at });
      const commit = { commitId: randomUUID(), at, actor: DEVICE_ACTOR };
      const executed = await executor.execute(command, commit);
      if (!executed.ok) throw new RefusedError(executed.rejection);
      return reply.code(201).send({ certificate: command.data.issued.certificate });
    },
  );
}

/** Nobody learns of certificates that are not theirs. @throws RefusedError `certificate_unproven` */
function provenCertificate(
  ports: ApiContext['ports'],
  fingerprint: string,
  csr: string,
  signature: string,
): IssuedCertificate {
  let found: IssuedCertificate;
  try {
    found = issuedCertificateOf(ports, fingerprint);
  } catch {
    throw refused('certificate_unproven');
  }
  if (isSignedBy(found.certificate, csr, signature)) return found;
  throw refused('certificate_unproven');
}

function registerRevoke(app: TypedApp, context: ApiContext): void {
  const { ports } = context;
  app.post(
    `${ADDRESS}/revoke`,
    {
      config: WRITE,
      preValidation: async (request) => {
        request.body ??= {};
      },
      schema: {
        tags,
        operationId: 'revokeCertificate',
        summary: 'Revoke a certificate for good; who came in with it is disconnected',
        description:
          'It is put on the revocation lists of the listeners that trust its authority, and refused at CONNECT everywhere.',
        params: fingerprintParams,
        querystring: writeQuerySchema,
        body: revokeBody,
        response: writeAnswers(200, revokedSchema),
      },
    },
    (request, reply) => {
      const { fingerprint: text } = request.params;
      const { reason } = request.body;
      const by = byCaller(request);
      let planned: RevocationPlan | undefined;
      return context.writer.respond(request, reply, {
        command: ({ at }) => {
          const certificate = issuedCertificateOf(ports, text);
          const { fingerprint, updatedRevision } = certificate;
          const ifRevision = ifRevisionOf(request, updatedRevision);
          planned = planRevocation(ports.model, ports.issuer, { certificate, at });
          const said = { by, ...(reason !== undefined && { reason }) };
          const condition = ifRevision === undefined ? {} : { ifRevision };
          const data = { fingerprint, ...said, ...condition, lists: planned.lists };
          return { type: 'RevokeCertificate', data };
        },
        current: () => issuedCertificateOf(ports, text).updatedRevision,
        retryStale: request.headers['if-match'] === undefined,
        answer: (done) => {
          const revoked = issuedCertificateOf(ports, text);
          const listed = done.events.flatMap((one) =>
            one.type === 'TrustReplaced' ? [one.data.listener] : [],
          );
          const listeners = planned?.listeners ?? listed.map((listener) => ({ listener }));
          return {
            status: 200,
            body: {
              ...issuedView(revoked, ports.clock()),
              listeners: listeners.map((one) => ({
                listener: one.listener,
                listed: !('unlisted' in one),
                ...('unlisted' in one && { reason: one.unlisted }),
              })),
            },
            updatedRevision: revoked.updatedRevision,
          };
        },
      });
    },
  );
}
