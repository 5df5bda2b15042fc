import { evolveOperator, type Operator, withLengthMin } from '@sallyport/domain';
import { assert } from '@sallyport/errors';
import { sealingContext } from '@sallyport/secrets';
import type { ApiContext, Routes, TypedApp } from '../../http/context.ts';
import { lookupsOf, registerGetOne, registerRemoveOne } from '../../http/one-object.ts';
import { answers, READ_PROBLEMS, writeAnswers } from '../../http/openapi.ts';
import { checkChosenPassword } from '../../passwords.ts';
import {
  createBody,
  emptyQuery,
  idParams,
  OPERATOR_PASSWORD_LENGTH_MIN,
  operatorListSchema,
  operatorSchema,
  operatorView,
  patchBody,
  writeQuerySchema,
  writtenOperatorSchema,
} from './schema.ts';

const tags = ['operators'];
const READ = { permission: 'operators:read' } as const;
const WRITE = { permission: 'operators:write' } as const;

export const operatorRoutes: Routes = (app, context) => {
  registerReads(app, context);
  registerCreate(app, context);
  registerPatch(app, context);
  registerRemove(app, context);
};

const operators = lookupsOf<Operator>((reads, id) => reads.operator(id), 'operator_not_found');

async function sealedPassword(context: ApiContext, id: string, password: string): Promise<string> {
  const { hasher, secretBox, passwordPolicy } = context.ports;
  const policy = withLengthMin(passwordPolicy, OPERATOR_PASSWORD_LENGTH_MIN);
  checkChosenPassword(policy, password, 'invalid_request');
  const verifier = await hasher.hashPassword(password);
  return secretBox.seal(verifier, sealingContext({ kind: 'operator', id }));
}

function registerReads(app: TypedApp, context: ApiContext): void {
  app.get(
    '/operators',
    {
      config: READ,
      schema: {
        tags,
        operationId: 'listOperators',
        summary: 'List operators',
        querystring: emptyQuery,
        response: answers({ 200: operatorListSchema }, READ_PROBLEMS),
      },
    },
    () => {
      const items = context.ports.model.lists.operators().map(operatorView);
      return { items, total: items.length };
    },
  );
  registerGetOne(app, context, operators, {
    address: '/operators/:id',
    ...READ,
    tags,
    operationId: 'getOperator',
    summary: 'Read one operator',
    schema: operatorSchema,
    view: operatorView,
  });
}

function registerCreate(app: TypedApp, context: ApiContext): void {
  app.post(
    '/operators',
    {
      config: WRITE,
      schema: {
        tags,
        operationId: 'createOperator',
        summary: 'Add an operator',
        querystring: writeQuerySchema,
        body: createBody,
        response: writeAnswers(201, writtenOperatorSchema),
      },
    },
    (request, reply) => {
      const { password, ...members } = request.body;
      return context.writer.respond(request, reply, {
        command: async (inputs) => {
          const id = inputs.id('operator');
          const passwordVerifier = await sealedPassword(context, id, password);
          return { type: 'AddOperator', data: { ...members, id, passwordVerifier } };
        },
        answer: (done) => {
          const event = done.events.find((one) => one.type === 'OperatorAdded');
          const operator = event && evolveOperator(undefined, event, done);
          assert(operator !== undefined, 'a commit of AddOperator adds an operator');
          const { updatedRevision } = operator;
          const location = `/api/v1/operators/${operator.id}`;
          return { status: 201, body: operatorView(operator), updatedRevision, location };
        },
      });
    },
  );
}

function registerPatch(app: TypedApp, context: ApiContext): void {
  app.patch(
    '/operators/:id',
    {
      config: WRITE,
      schema: {
        tags,
        operationId: 'patchOperator',
        summary: 'Change an operator, and end its sessions',
        params: idParams,
        querystring: writeQuerySchema,
        body: patchBody,
        response: writeAnswers(200, writtenOperatorSchema),
      },
    },
    (request, reply) => {
      const { id } = request.params;
      const { password, ...changes } = request.body;
      return context.writer.respond(request, reply, {
        command: async () => {
          const condition = operators.conditionOf(context, request, id);
          if (password === undefined) {
            return { type: 'ChangeOperator', data: { id, changes, ...condition } };
          }
          const passwordVerifier = await sealedPassword(context, id, password);
          return { type: 'ChangeOperator', data: { id, changes, passwordVerifier, ...condition } };
        },
        current: operators.currentOf(context, id),
        answer: () => {
          const operator = operators.found(context, id);
          const { updatedRevision } = operator;
          return { status: 200, body: operatorView(operator), updatedRevision };
        },
      });
    },
  );
}

function registerRemove(app: TypedApp, context: ApiContext): void {
  registerRemoveOne(app, context, operators, {
    address: '/operators/:id',
    ...WRITE,
    tags,
    operationId: 'deleteOperator',
    summary: 'Remove an operator',
    command: (id, condition) => ({ type: 'RemoveOperator', data: { id, ...condition } }),
  });
}
