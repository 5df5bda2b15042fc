import { DEFAULT_SETTINGS, type DynsecPlace } from '@sallyport/domain';
import { decidingFacts } from '@sallyport/policy-client';
import { GrpcPolicyClient } from '@sallyport/policy-client/grpc';
import { compilePolicy } from '@sallyport/rules';
import { silentLogger } from '@sallyport/telemetry';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { askPolicy } from '../../../test/cases/ask.ts';
import {
  answerOf,
  CASE_CREDENTIAL_ID,
  type DecisionCase,
  dynsecObjects,
  factsOf,
  leftOut,
  loadDecisionCases,
  matchOf,
  policySources,
  termsOfExpectation,
} from '../../../test/cases/load.ts';
import { type RunningGrpcServer, startGrpcServer } from './grpc/server.ts';
import { World } from './testing/world.ts';

const TOKEN = 'a-token-of-sixteen-or-more';

let world: World;
let server: RunningGrpcServer;
let client: GrpcPolicyClient;
const roleIds: string[] = [];
const groupIds: string[] = [];
/** Those that others name come last. */
let dynsecMade: readonly DynsecPlace[] = [];

beforeAll(async () => {
  world = await World.open();
  server = await startGrpcServer(
    world.policy,
    { listen: '127.0.0.1:0', token: TOKEN },
    silentLogger(),
  );
  client = new GrpcPolicyClient({ endpoints: [`127.0.0.1:${server.port}`], token: TOKEN });
});

afterAll(async () => {
  await client[Symbol.asyncDispose]();
  await server.close(0);
  await world[Symbol.asyncDispose]();
});

/** Roles and groups of the case, in place of those of an earlier one. */
async function setUpRoles({ roles = [] }: DecisionCase): Promise<void> {
  for (const id of roleIds.splice(0)) await world.run({ type: 'RemoveRole', data: { id } });
  for (const { id, permissions } of roles) {
    await world.run({ type: 'AddRole', data: { id, name: id, permissions } });
    roleIds.push(id);
  }
}

/** The same of dynamic security; nobody may name them any more. */
async function setUpDynsec(one: DecisionCase): Promise<void> {
  for (const { kind, id } of dynsecMade) {
    await world.run({ type: 'RemoveDynsecObject', data: { kind, id } });
  }
  const objects = dynsecObjects(one);
  for (const data of objects) await world.run({ type: 'AddDynsecObject', data });
  dynsecMade = objects.toReversed();
}

async function setUpGroups({ groups }: DecisionCase): Promise<void> {
  await world.run({ type: 'ReplaceGroupRules', data: { rules: [] } });
  for (const id of groupIds.splice(0)) await world.run({ type: 'RemoveGroup', data: { id } });
  if (groups === undefined) return;
  for (const [id, permissions] of Object.entries(groups.rows)) {
    await world.run({ type: 'AddGroup', data: { id, name: id, description: '', permissions } });
    groupIds.push(id);
  }
  const rules = groups.rules.map((rule, index) => ({ ...rule, id: String(index + 1) }));
  await world.run({ type: 'ReplaceGroupRules', data: { rules } });
}

/** Makes the world what the case says; what an earlier case left is overwritten. */
async function setUp(one: DecisionCase): Promise<void> {
  const { credential, tables, settings } = policySources(one);
  const { clientId, username } = one.facts;
  if (world.model.reads.credential(CASE_CREDENTIAL_ID) !== undefined) {
    await world.run({ type: 'RemoveCredential', data: { id: CASE_CREDENTIAL_ID } });
  }
  await setUpRoles(one);
  await setUpDynsec(one);
  await world.addCredential(CASE_CREDENTIAL_ID, undefined, {
    ...(credential.access.kind === 'mapping' && { kind: 'certificate' }),
    match: matchOf(one),
    access: credential.access,
    superuser: credential.superuser,
    attributes: one.credential?.attributes ?? {},
  });
  await setUpGroups(one);
  await world.run({
    type: 'ChangeSettings',
    data: { changes: { ...DEFAULT_SETTINGS, ...settings } },
  });
  const targets = [
    [{ kind: 'client', name: clientId }, tables.client],
    [{ kind: 'username', name: username ?? '' }, tables.username],
    [{ kind: 'everyone' }, tables.everyone],
  ] as const;
  for (const [target, table] of targets) {
    if (table === undefined && world.model.reads.aclTable(target) === undefined) continue;
    const rules = table?.rules ?? [];
    await world.run({ type: 'ReplaceAclRules', data: { target, rules } });
  }
}

const cases = loadDecisionCases().filter((one) => leftOut(one, 'grpc') === undefined);

describe.each(cases)('over gRPC, $file: $title', (one) => {
  test('every decision is the same, and so is what explains it', async () => {
    await setUp(one);
    const answer = await client.authenticate({
      facts: factsOf(one.facts),
      minRevision: world.model.revision,
    });
    if (!answer.ok) throw new Error(answer.reason);
    const policy = compilePolicy(answer.policy);
    const facts = decidingFacts(answer.principal, answer.resolved);
    for (const expectation of one.expectations) {
      const { action, topic } = expectation;
      const terms = termsOfExpectation(expectation);
      const decision = askPolicy(policy, facts, expectation);
      expect(decision, `${action} ${topic}`).toMatchObject(answerOf(expectation));
      const { principal } = answer;
      const explained = await client.explain({ principal, action, topic, terms, minRevision: 0 });
      expect(explained, `explained: ${action} ${topic}`).toMatchObject(decision);
    }
  });
});
