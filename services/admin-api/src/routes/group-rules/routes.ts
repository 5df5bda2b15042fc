import { evolveGroupRules, NO_GROUP_RULES } from '@sallyport/domain';
import { assert } from '@sallyport/errors';
import type { Routes } from '../../http/context.ts';
import { etagOf, ifRevisionOf } from '../../http/etag.ts';
import { answers, READ_PROBLEMS, writeAnswers } from '../../http/openapi.ts';
import {
  documentSchema,
  documentView,
  emptyQuery,
  replaceBody,
  writeQuerySchema,
  writtenDocumentSchema,
} from './schema.ts';

const tags = ['groups'];
const ADDRESS = '/group-rules';

export const groupRuleRoutes: Routes = (app, { ports, writer }) => {
  const { reads } = ports.model;
  const current = () => reads.groupRules();
  const view = (rules: ReturnType<typeof current>) =>
    documentView(rules, (id) => reads.credential(id));
  app.get(
    ADDRESS,
    {
      config: { permission: 'group-rules:read' },
      schema: {
        tags,
        operationId: 'getGroupRules',
        summary: 'Read the rules that give connections their groups',
        querystring: emptyQuery,
        response: answers({ 200: documentSchema }, READ_PROBLEMS),
      },
    },
    (_request, reply) => {
      void reply.header('etag', etagOf(current().updatedRevision));
      return view(current());
    },
  );
  app.put(
    ADDRESS,
    {
      config: { permission: 'group-rules:write' },
      schema: {
        tags,
        operationId: 'replaceGroupRules',
        summary: 'Replace the rules that give connections their groups',
        querystring: writeQuerySchema,
        body: replaceBody,
        response: writeAnswers(200, writtenDocumentSchema),
      },
    },
    (request, reply) =>
      writer.respond(request, reply, {
        command: (inputs) => {
          const ifRevision = ifRevisionOf(request, current().updatedRevision);
          const rules = request.body.rules.map(({ id, matchBy, value, groups }, index) => ({
            id: id ?? inputs.id(`rule-${index}`),
            matchBy,
            value,
            groups,
          }));
          const condition = ifRevision === undefined ? {} : { ifRevision };
          return { type: 'ReplaceGroupRules', data: { rules, ...condition } };
        },
        current: () => current().updatedRevision,
        answer: (done) => {
          const event = done.events.find((one) => one.type === 'GroupRulesReplaced');
          assert(event !== undefined, 'a commit of ReplaceGroupRules replaces rules');
          const replaced = evolveGroupRules(NO_GROUP_RULES, event, done);
          const { updatedRevision } = replaced;
          return { status: 200, body: view(replaced), updatedRevision };
        },
      }),
  );
};
