import type { ChainMember } from '@sallyport/domain';
import { GrpcPolicyClient } from '@sallyport/policy-client/grpc';
import type { AuthenticateAnswer } from '@sallyport/policy-client';
import { silentLogger } from '@sallyport/telemetry';
import { describe, expect, test } from 'vitest';
import {
  type CaseCredential,
  type ConnectCase,
  type ConnectExpectation,
  type ConnectFile,
  listenerOf,
  loadConnectCases,
} from '../../../test/cases/connects.ts';
import { startGrpcServer } from './grpc/server.ts';
import { bytes, World } from './testing/world.ts';

const TOKEN = 'a-token-of-sixteen-or-more';
const FINGERPRINT = 'ab'.repeat(32);

const memberOf = (scope: string): ChainMember => ({
  scope,
  authenticator: 'password_based:built_in_database',
});

async function add(world: World, credential: CaseCredential): Promise<void> {
  const { id, password, chain, ...more } = credential;
  const member = chain === undefined ? {} : { chain: memberOf(chain) };
  await world.addCredential(id, password, { ...more, ...member });
}

/** What the listener tells of who connects. */
function askedOf(expectation: ConnectExpectation, { clientCertificate, stores }: ConnectFile) {
  const { clientId = 'pump-7', username, password, certificate } = expectation;
  // A listener that asks for no certificate sees none.
  const seen = clientCertificate === 'none' ? undefined : certificate;
  const chain = seen?.chainCommonNames ?? [seen?.commonName ?? ''];
  const [commonName = ''] = chain;
  return {
    facts: {
      clientId,
      listener: listenerOf(expectation),
      ...(username !== undefined && { username }),
      ...(seen && {
        certificate: {
          fingerprintSha256: FINGERPRINT,
          chainCommonNames: chain,
          ...(commonName !== '' && { commonName }),
        },
      }),
    },
    ...(password !== undefined && { password: bytes(password) }),
    stores,
  };
}

function outcomeOf(answer: AuthenticateAnswer): object {
  if (!answer.ok) return { allowed: false, reason: answer.reason };
  const { credentialId } = answer.principal;
  return { allowed: true, as: credentialId === `cert:${FINGERPRINT}` ? 'unbound' : credentialId };
}

async function run(one: ConnectCase, file: ConnectFile): Promise<void> {
  await using world = await World.open();
  const options = { listen: '127.0.0.1:0', token: TOKEN };
  const server = await startGrpcServer(world.policy, options, silentLogger());
  const client = new GrpcPolicyClient({ endpoints: [`127.0.0.1:${server.port}`], token: TOKEN });
  try {
    for (const [scope, { authenticators, ...unproven }] of Object.entries(one.chains ?? {})) {
      await world.chain(scope, authenticators, unproven);
    }
    for (const credential of one.credentials) await add(world, credential);
    const { settings: changes } = one;
    if (changes !== undefined) await world.run({ type: 'ChangeSettings', data: { changes } });
    for (const expectation of one.expectations) {
      if (expectation.handshake === 'fails') continue; // Nobody is asked.
      const { allowed, as, reason } = expectation;
      const wanted = { allowed, ...(as && { as }), ...(reason && { reason }) };
      const minRevision = world.model.revision;
      const request = { ...askedOf(expectation, file), minRevision };
      const said = JSON.stringify(expectation);
      expect(outcomeOf(await world.policy.authenticate(request)), said).toMatchObject(wanted);
      expect(outcomeOf(await client.authenticate(request)), `gRPC: ${said}`).toMatchObject(wanted);
    }
  } finally {
    await client[Symbol.asyncDispose]();
    await server.close(0);
  }
}

describe.each(loadConnectCases())('in process and over gRPC, $file', (file) => {
  test.each(file.cases)('$title', (one) => run(one, file));
});
