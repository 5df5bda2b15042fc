import type { AclRule, AclTable, AclTarget, Revision } from '@sallyport/domain';
import { assert } from '@sallyport/errors';
import type { FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import type { ApiContext, Routes, TypedApp } from '../../http/context.ts';
import { etagOf, failed, ifRevisionOf, mustBeAbsent } from '../../http/etag.ts';
import { pageRequestOf } from '../../http/list-query.ts';
import { answers, READ_PROBLEMS, writeAnswers } from '../../http/openapi.ts';
import { refused } from '../../http/problems.ts';
import type { Done } from '../../http/write.ts';
import { registerExport } from './export.ts';
import { withKeptRuleIds } from './kept-ids.ts';
import {
  emptyQuery,
  listQuery,
  paramsOf,
  replaceBody,
  ruleBody,
  tablePageSchema,
  tableSchema,
  tableView,
  type TargetRoute,
  targetOf,
  TARGETS,
  writeQuerySchema,
  writtenRuleSchema,
  writtenTableSchema,
} from './schema.ts';

const tags = ['acl'];
const READ = { permission: 'acl:read' } as const;
const WRITE = { permission: 'acl:write' } as const;

export const aclRoutes: Routes = (app, context) => {
  registerList(app, context);
  registerExport(app, context);
  for (const route of TARGETS) {
    registerGet(app, context, route);
    registerReplace(app, context, route);
    registerRemove(app, context, route);
    registerAddRule(app, context, route);
    registerRemoveRule(app, context, route);
  }
};

function registerList(app: TypedApp, context: ApiContext): void {
  app.get(
    '/acl',
    {
      config: READ,
      schema: {
        tags,
        operationId: 'listAcl',
        summary: 'List the rule lists of all targets',
        querystring: listQuery,
        response: answers({ 200: tablePageSchema }, READ_PROBLEMS),
      },
    },
    (request) => {
      const wanted = pageRequestOf<'target'>(request.query);
      const { kind } = request.query;
      const found = context.ports.model.lists.aclTables({ ...wanted, ...(kind && { kind }) });
      const { items, total } = found;
      const { page, pageSize } = wanted;
      return { items: items.map(tableView), total, page, pageSize };
    },
  );
}

const tableOf = (context: ApiContext, target: AclTarget): AclTable | undefined =>
  context.ports.model.reads.aclTable(target);

const currentOf = (context: ApiContext, target: AclTarget) => (): Revision | undefined =>
  tableOf(context, target)?.updatedRevision;

/** What a command must find: what `If-Match` or `If-None-Match: *` says, else nothing. */
function conditionOf(
  context: ApiContext,
  request: FastifyRequest,
  target: AclTarget,
): { readonly ifRevision?: Revision } {
  const current = currentOf(context, target)();
  if (mustBeAbsent(request)) {
    if (current !== undefined) throw failed(current);
    return { ifRevision: 0 };
  }
  const ifRevision = ifRevisionOf(request, current);
  return ifRevision === undefined ? {} : { ifRevision };
}

function registerGet(app: TypedApp, context: ApiContext, route: TargetRoute): void {
  app.get(
    route.address,
    {
      config: READ,
      schema: {
        tags,
        operationId: `get${route.noun}Acl`,
        summary: `Read the rules of ${described(route)}`,
        params: paramsOf(route),
        querystring: emptyQuery,
        response: answers({ 200: tableSchema }, READ_PROBLEMS),
      },
    },
    (request, reply) => {
      const table = tableOf(context, targetOf(route, request.params));
      if (table === undefined) throw refused('acl_table_not_found');
      void reply.header('etag', etagOf(table.updatedRevision));
      return tableView(table);
    },
  );
}

function described({ kind }: TargetRoute): string {
  if (kind === 'everyone') return 'everyone';
  return kind === 'client' ? 'one client id' : 'one username';
}

function registerReplace(app: TypedApp, context: ApiContext, route: TargetRoute): void {
  app.put(
    route.address,
    {
      config: WRITE,
      schema: {
        tags,
        operationId: `replace${route.noun}Acl`,
        summary: `Replace the rules of ${described(route)}`,
        params: paramsOf(route),
        querystring: writeQuerySchema,
        body: replaceBody,
        response: writeAnswers(200, writtenTableSchema),
      },
    },
    (request, reply) => {
      const target = targetOf(route, request.params);
      return context.writer.respond(request, reply, {
        command: (inputs) => {
          const before = tableOf(context, target)?.rules ?? [];
          const newId = (index: number) => inputs.id(`rule-${index}`);
          const rules = withKeptRuleIds(request.body.rules, before, newId);
          const condition = conditionOf(context, request, target);
          const { keepEmpty = false } = request.body;
          return { type: 'ReplaceAclRules', data: { target, rules, keepEmpty, ...condition } };
        },
        current: currentOf(context, target),
        answer: (done) => {
          const { rules, keptEmpty } = replaced(done);
          const updatedRevision = done.revision;
          const updatedAt = new Date(done.at).toISOString();
          return {
            status: 200,
            body: { target, rules, updatedAt, updatedRevision },
            ...(rules.length === 0 && keptEmpty !== true ? {} : { updatedRevision }),
          };
        },
      });
    },
  );
}

function replaced(done: Done): { readonly rules: readonly AclRule[]; readonly keptEmpty?: true } {
  const event = done.events.find((one) => one.type === 'AclRulesReplaced');
  assert(event !== undefined, 'a commit of ReplaceAclRules replaces rules');
  return event.data;
}

function registerRemove(app: TypedApp, context: ApiContext, route: TargetRoute): void {
  app.delete(
    route.address,
    {
      config: WRITE,
      schema: {
        tags,
        operationId: `delete${route.noun}Acl`,
        summary: `Remove all rules of ${described(route)}`,
        params: paramsOf(route),
        querystring: writeQuerySchema,
        response: writeAnswers(204, null),
      },
    },
    (request, reply) => {
      const target = targetOf(route, request.params);
      return context.writer.respond(request, reply, {
        command: () => ({
          type: 'RemoveAclRules',
          data: { target, ...conditionOf(context, request, target) },
        }),
        current: currentOf(context, target),
        answer: () => ({ status: 204 }),
      });
    },
  );
}

function registerAddRule(app: TypedApp, context: ApiContext, route: TargetRoute): void {
  app.post(
    `${route.address}/rules`,
    {
      config: WRITE,
      schema: {
        tags,
        operationId: `add${route.noun}AclRule`,
        summary: `Add a rule for ${described(route)}`,
        params: paramsOf(route),
        querystring: writeQuerySchema,
        body: ruleBody,
        response: writeAnswers(201, writtenRuleSchema),
      },
    },
    (request, reply) => {
      const target = targetOf(route, request.params);
      const { position, ruleId, ...members } = request.body;
      return context.writer.respond(request, reply, {
        command: (inputs) => ({
          type: 'AddAclRule',
          data: {
            target,
            rule: { ...members, ruleId: ruleId ?? inputs.id('rule') },
            ...(position === undefined ? {} : { position }),
            ...conditionOf(context, request, target),
          },
        }),
        current: currentOf(context, target),
        answer: (done) => {
          const event = done.events.find((one) => one.type === 'AclRuleAdded');
          assert(event !== undefined, 'a commit of AddAclRule adds a rule');
          const { rule, position: at } = event.data;
          const updatedRevision = done.revision;
          return { status: 201, body: { ...rule, position: at }, updatedRevision };
        },
      });
    },
  );
}

function registerRemoveRule(app: TypedApp, context: ApiContext, route: TargetRoute): void {
  app.delete(
    `${route.address}/rules/:ruleId`,
    {
      config: WRITE,
      schema: {
        tags,
        operationId: `delete${route.noun}AclRule`,
        summary: `Remove one rule of ${described(route)}`,
        params: paramsOf(route, { ruleId: Type.String() }),
        querystring: writeQuerySchema,
        response: writeAnswers(204, null),
      },
    },
    (request, reply) => {
      const target = targetOf(route, request.params);
      const params: unknown = request.params;
      const { ruleId } = params as { readonly ruleId: string }; // `paramsOf`
      return context.writer.respond(request, reply, {
        command: () => ({
          type: 'RemoveAclRule',
          data: { target, ruleId, ...conditionOf(context, request, target) },
        }),
        current: currentOf(context, target),
        answer: () => ({ status: 204 }),
      });
    },
  );
}
