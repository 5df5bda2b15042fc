import { Readable } from 'node:stream';
import { assert } from '@sallyport/errors';
import type { Snapshot } from '@sallyport/read-model';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { type Static, Type } from 'typebox';
import { stringify } from 'yaml';
import { registerFileParser, YAML_MEDIA_TYPES } from '../../config-file/file-body.ts';
import { lintPlan } from '../../config-file/lint-plan.ts';
import { changeView, type Plan, planOf, rehearse } from '../../config-file/plan.ts';
import { CONFIG_FILE_VERSION, SECTIONS } from '../../config-file/sections.ts';
import type { ApiContext, Routes, TypedApp } from '../../http/context.ts';
import { answers, READ_PROBLEMS, writeAnswers } from '../../http/openapi.ts';
import { callerText } from '../../http/permissions.ts';
import { apply, planCounts } from './apply.ts';
import {
  appliedSchema,
  applyQuery,
  diffQuery,
  emptyQuery,
  exportQuery,
  fileBody,
  fileSchema,
  planSchema,
} from './schema.ts';
import { openSnapshot } from '../../bulk/row-export.ts';
import { turn } from '../../bulk/turn.ts';

const tags = ['config'];
const READ = { permission: 'config:read' } as const;
const WRITE = { permission: 'config:write' } as const;

export const configRoutes: Routes = (app, context) => {
  registerSchema(app);
  registerExport(app, context);
  // In a scope of its own, because parsers are of a scope.
  void app.register((scoped, _options, done) => {
    registerFileParser(scoped);
    registerDiff(scoped, context);
    registerApply(scoped, context);
    done();
  });
};

/** `fileBody` has been checked. */
const fileOf = (request: FastifyRequest) => request.body as Readonly<Record<string, unknown>>;

export const planView = ({ changes, revision }: Plan) => ({
  ...planCounts(changes),
  changes: changes.map(changeView),
  revision,
});

function registerDiff(app: TypedApp, context: ApiContext): void {
  app.post(
    '/config/diff',
    {
      config: READ,
      schema: {
        tags,
        operationId: 'diffConfig',
        summary: 'Compare a configuration file with what is there',
        description: 'The entity tag names the plan: sent as `If-Match`, exactly this is applied.',
        querystring: diffQuery,
        body: fileBody,
        response: answers({ 200: planSchema }, [...READ_PROBLEMS, 409, 422]),
      },
    },
    async (request, reply) => {
      const { prune } = request.query;
      const { caller } = request;
      assert(caller !== null, 'the route is not public');
      const plan = await planOf(context, fileOf(request), { prune, by: callerText(caller) });
      const rehearsed = await rehearse(context, plan);
      void reply.header('etag', plan.tag);
      return { ...planView(plan), ...(await lintPlan(context.ports.model.reads, rehearsed)) };
    },
  );
}

function registerApply(app: TypedApp, context: ApiContext): void {
  app.post(
    '/config/apply',
    {
      config: WRITE,
      schema: {
        tags,
        operationId: 'applyConfig',
        summary: 'Make everything as a configuration file says',
        description:
          'In one commit when it fits, else in several; what was not reached is made by applying the file again.',
        querystring: applyQuery,
        body: fileBody,
        response: writeAnswers(200, appliedSchema),
      },
    },
    async (request: FastifyRequest, reply: FastifyReply) => {
      const query = request.query as Static<typeof applyQuery>; // The route's schema.
      return apply(context, request, reply, fileOf(request), query);
    },
  );
}

function registerSchema(app: TypedApp): void {
  const document = {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    $id: 'urn:sallyport:config:1',
    ...fileSchema,
  };
  app.get(
    '/config/schema.json',
    {
      config: READ,
      schema: {
        tags,
        operationId: 'getConfigSchema',
        summary: 'Read the JSON Schema of the configuration file',
        querystring: emptyQuery,
        response: answers({ 200: Type.Unsafe<unknown>({ type: 'object' }) }, READ_PROBLEMS),
      },
    },
    () => document,
  );
}

const found: Readonly<Record<string, unknown>> = {
  200: {
    description: 'The configuration file',
    content: {
      'application/yaml': { schema: Type.String() },
      'application/json': { schema: fileSchema },
    },
  },
};

function registerExport(app: TypedApp, { ports }: ApiContext): void {
  app.get(
    '/config/export',
    {
      config: READ,
      schema: {
        tags,
        operationId: 'exportConfig',
        summary: 'Read everything as a configuration file, at one revision',
        description: 'Without secrets. The revision is told as `Sallyport-Revision`.',
        querystring: exportQuery,
        response: { ...answers({}, READ_PROBLEMS), ...found },
      },
    },
    (request, reply) => {
      const { format } = request.query;
      const snapshot = openSnapshot(ports.model, reply);
      const at = ports.clock();
      const text = format === 'yaml' ? yamlOf(snapshot, at) : jsonOf(snapshot, at);
      return reply
        .type(format === 'yaml' ? YAML_MEDIA_TYPES[0] : 'application/json')
        .send(Readable.from(text));
    },
  );
}

const SECRETS_NOTE = `# Secrets are not in this file. Where none is written the present one stays: password of credentials, serverKey of certificates.
`;

/**
 * The text of a value; each line ends where the next one begins. Texts that readers of YAML 1.1, such as PyYAML, would take for a
 * time, a boolean or a number are quoted.
 */
const yamlText = (value: unknown): string =>
  stringify(value, { aliasDuplicateObjects: false, compat: 'yaml-1.1' }).replace(/\n$/, '');

async function* yamlOf(snapshot: Snapshot, at: number): AsyncGenerator<string> {
  yield `# Sallyport at revision ${snapshot.revision}\n${SECRETS_NOTE}version: ${CONFIG_FILE_VERSION}\n`;
  for (const section of SECTIONS) {
    let text = `${section.name}:`;
    for (const page of section.export(snapshot, at)) {
      if (Array.isArray(page) && page.length === 0) continue;
      // A page of a list goes on with the one before it.
      text += `\n${yamlText(page).replaceAll(/^/gm, Array.isArray(page) ? '' : '  ')}`;
      yield text;
      text = '';
      await turn();
    }
    yield text === '' ? '\n' : `${text} []\n`;
  }
}

async function* jsonOf(snapshot: Snapshot, at: number): AsyncGenerator<string> {
  yield `{"version":${CONFIG_FILE_VERSION}`;
  for (const section of SECTIONS) {
    yield `,\n"${section.name}":`;
    let between = '[';
    for (const page of section.export(snapshot, at)) {
      if (Array.isArray(page)) {
        const rows = page.map((one) => JSON.stringify(one)).join(',\n');
        if (rows !== '') yield between + rows;
        if (rows !== '') between = ',\n';
      } else {
        yield JSON.stringify(page);
        between = '';
      }
      await turn();
    }
    if (between !== '') yield between === '[' ? '[]' : ']';
  }
  yield '}\n';
}
