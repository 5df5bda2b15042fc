import { type Ban, canonicalBanValue, evolveBan } from '@sallyport/domain';
import { assert } from '@sallyport/errors';
import type { BanSort } from '@sallyport/read-model';
import type { FastifyRequest } from 'fastify';
import type { ApiContext, Routes, TypedApp } from '../../http/context.ts';
import { failed, ifRevisionOf, mustBeAbsent } from '../../http/etag.ts';
import { pageRequestOf } from '../../http/list-query.ts';
import { lookupsOf, registerGetOne, registerRemoveOne } from '../../http/one-object.ts';
import { answers, READ_PROBLEMS, writeAnswers } from '../../http/openapi.ts';
import { callerText } from '../../http/permissions.ts';
import type { Answer, Done } from '../../http/write.ts';
import {
  banPageSchema,
  banSchema,
  banView,
  createBody,
  idParams,
  listQuery,
  replaceBody,
  timesOf,
  writeQuerySchema,
  writtenBanSchema,
} from './schema.ts';

const tags = ['bans'];
const READ = { permission: 'bans:read' } as const;
const WRITE = { permission: 'bans:write' } as const;
const BASE = '/bans';

export const banRoutes: Routes = (app, context) => {
  registerReads(app, context);
  registerCreate(app, context);
  registerReplace(app, context);
  registerRemove(app, context);
};

const bans = lookupsOf<Ban>((reads, id) => reads.ban(id), 'ban_not_found');

function byOf({ caller }: FastifyRequest): string {
  assert(caller !== null, 'a write is authenticated');
  return callerText(caller);
}

function registerReads(app: TypedApp, context: ApiContext): void {
  const { model, clock } = context.ports;
  app.get(
    BASE,
    {
      config: READ,
      schema: {
        tags,
        operationId: 'listBans',
        summary: 'List who may not connect',
        querystring: listQuery,
        response: answers({ 200: banPageSchema }, READ_PROBLEMS),
      },
    },
    (request) => {
      const wanted = pageRequestOf<BanSort>(request.query);
      const { kind } = request.query;
      const { items, total } = model.lists.bans({ ...wanted, ...(kind && { kind }) });
      const at = clock();
      const { page, pageSize } = wanted;
      return { items: items.map((one) => banView(one, at)), total, page, pageSize };
    },
  );
  registerGetOne(app, context, bans, {
    address: `${BASE}/:id`,
    ...READ,
    tags,
    operationId: 'getBan',
    summary: 'Read one ban',
    schema: banSchema,
    view: (ban) => banView(ban, clock()),
  });
}

/** The ban that a commit made or found; as it was made when somebody has removed it since. */
function banOf({ ports }: ApiContext, done: Done, there: () => Ban | undefined): Ban {
  const event = done.events.find((one) => one.type === 'BanAdded');
  const ban = event && (ports.model.reads.ban(event.data.id) ?? evolveBan(undefined, event, done));
  const answer = ban ?? there();
  assert(answer !== undefined, 'a ban was added, or there was one like it');
  return answer;
}

function answerOf({ ports }: ApiContext, ban: Ban, status: 200 | 201): Answer {
  return {
    status,
    body: banView(ban, ports.clock()),
    updatedRevision: ban.updatedRevision,
    ...(status === 201 && { location: `/api/v1${BASE}/${ban.id}` }),
  };
}

function registerCreate(app: TypedApp, context: ApiContext): void {
  const { reads } = context.ports.model;
  app.post(
    BASE,
    {
      config: WRITE,
      schema: {
        tags,
        operationId: 'createBan',
        summary:
          'Ban a client id, user name, address or network; one that is banned is banned anew',
        querystring: writeQuerySchema,
        body: createBody,
        response: {
          ...writeAnswers(201, writtenBanSchema),
          ...answers({ 200: writtenBanSchema }, []),
        },
      },
    },
    (request, reply) => {
      const { until, bannedAt, kind, value, ...members } = request.body;
      const times = timesOf({ until, bannedAt });
      const there = (): Ban | undefined =>
        reads.banByValue(kind, canonicalBanValue(kind, value) ?? value);
      return context.writer.respond(request, reply, {
        command: (inputs) => {
          if (mustBeAbsent(request) && there() !== undefined) {
            throw failed(there()?.updatedRevision);
          }
          const condition = mustBeAbsent(request) ? { ifRevision: 0 } : {};
          const fields = { ...members, kind, value, ...times, by: byOf(request) };
          return { type: 'AddBan', data: { id: inputs.id('ban'), ...fields, ...condition } };
        },
        current: () => there()?.updatedRevision,
        answer: (done) => {
          const ban = banOf(context, done, there);
          const isNew = done.events.length > 0 && ban.createdRevision === done.revision;
          return answerOf(context, ban, isNew ? 201 : 200);
        },
      });
    },
  );
}

function registerReplace(app: TypedApp, context: ApiContext): void {
  app.put(
    `${BASE}/:id`,
    {
      config: WRITE,
      schema: {
        tags,
        operationId: 'replaceBan',
        summary: 'Replace the reason and the end of a ban',
        params: idParams,
        querystring: writeQuerySchema,
        body: replaceBody,
        response: writeAnswers(200, writtenBanSchema),
      },
    },
    (request, reply) => {
      const { id } = request.params;
      const { until, bannedAt, ...members } = request.body;
      const times = timesOf({ until, bannedAt });
      return context.writer.respond(request, reply, {
        command: () => {
          const { kind, value, updatedRevision } = bans.found(context, id);
          const condition = ifRevisionOf(request, updatedRevision);
          // Without a condition too: a ban that was removed meanwhile must not come back.
          const ifRevision = condition ?? updatedRevision;
          const fields = { ...members, kind, value, ...times, by: byOf(request) };
          return { type: 'AddBan', data: { id, ...fields, ifRevision } };
        },
        current: bans.currentOf(context, id),
        retryStale: request.headers['if-match'] === undefined,
        answer: (done) =>
          answerOf(
            context,
            banOf(context, done, () => context.ports.model.reads.ban(id)),
            200,
          ),
      });
    },
  );
}

function registerRemove(app: TypedApp, context: ApiContext): void {
  registerRemoveOne(app, context, bans, {
    address: `${BASE}/:id`,
    ...WRITE,
    tags,
    operationId: 'deleteBan',
    summary: 'Lift a ban',
    command: (id, condition) => ({ type: 'RemoveBan', data: { id, ...condition } }),
  });
}
