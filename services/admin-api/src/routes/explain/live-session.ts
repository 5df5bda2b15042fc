import {
  type AuthChain,
  type Credential,
  type Revision,
  unboundCertificateOf,
} from '@sallyport/domain';
import { Scatter } from '@sallyport/node-registry';
import { ANONYMOUS_ID, type ExplainAnswer } from '@sallyport/policy-client';
import {
  type Action,
  type ApplyMode,
  DEFAULT_ZONE,
  type Facts,
  type Terms,
} from '@sallyport/rules';
import { instant } from '../../http/list-query.ts';
import { refused } from '../../http/problems.ts';
import type { AdminApiPorts } from '../../ports.ts';
import { NODE_TIMEOUT_MS } from '../connections/node-timeout.ts';
import { anonymousOriginOf, lettingIn, type Origin, originOf } from './origin.ts';
import type { PastStates } from './past-state.ts';
import type { ExplainBody } from './schema.ts';

/** Longest wait for this process to hear of what a node has heard of. */
const CATCH_UP_MS = 2_000;

/** What a node tells of one of its live sessions (`desk/explain-connection.ts` of the broker). */
interface ExplainedConnection {
  readonly explanation: Omit<ExplainAnswer, 'revision'>;
  readonly revision: Revision;
  readonly enforcedRevision: Revision;
  readonly applyMode: ApplyMode;
  readonly credentialId: string;
  readonly secretId?: string;
  readonly facts: Facts;
  readonly groups?: readonly string[];
  readonly tags: readonly string[];
  readonly connectedAt: number;
  readonly nodeId: string;
}

export interface Asked {
  readonly action: Action;
  readonly topic: string;
  readonly terms: Terms;
}

/** Who is asked about, and where in the body that is said. */
interface Sought {
  readonly clientId: string;
  readonly node: string | undefined;
  readonly pointer: string;
}

function soughtOf(connection: NonNullable<ExplainBody['connection']>): Sought {
  if (typeof connection === 'string') {
    return { clientId: connection, node: undefined, pointer: '/connection' };
  }
  const { clientId, node } = connection;
  return { clientId, node, pointer: '/connection/clientId' };
}

/** What the node of a live session answers for it. @throws RefusedError `connection_not_found`, `node_silent` */
async function askNode(
  { calls, registry }: AdminApiPorts,
  { clientId, node, pointer }: Sought,
  { action, topic, terms }: Asked,
): Promise<ExplainedConnection> {
  const nodeIds = registry.nodes().map(({ nodeId }) => nodeId);
  if (node !== undefined && !nodeIds.includes(node)) {
    const problems = [{ pointer: '/connection/node', detail: 'is no node that is alive' }];
    throw refused('connection_not_found', { problems });
  }
  const scatter = new Scatter(calls, node === undefined ? nodeIds : [node], NODE_TIMEOUT_MS);
  const told = await scatter.ask<{ readonly explained?: ExplainedConnection }>({
    op: 'explain',
    clientId,
    action,
    topic,
    ...terms,
  });
  const [newest] = told
    .flatMap(({ explained }) => explained ?? [])
    .sort((a, b) => b.connectedAt - a.connectedAt);
  if (newest !== undefined) return newest;
  if (scatter.silentNodes.length > 0) {
    const detail = `No answer came from ${scatter.silentNodes.join(', ')}; nobody else knows the client.`;
    throw refused('node_silent', { detail });
  }
  const where = node === undefined ? 'on any node' : `on the node ${node}`;
  const problems = [{ pointer, detail: `is not connected ${where}` }];
  throw refused('connection_not_found', { problems });
}

export interface ExplainedLive {
  readonly answer: ExplainAnswer;
  /** As it was at the session's revision; undefined when that cannot be told any more. */
  readonly credential: Credential | undefined;
  readonly origin: Origin | undefined;
  /** Of a connection without a credential: the chain that lets it in, as it was at that revision. */
  readonly admittedBy?: AuthChain | undefined;
  readonly connection: object;
  readonly facts: Facts;
  readonly credentialId: string;
}

/** What the node of a live session decides for it, and the object that says so, as it was at the session's revision. */
export async function explainLive(
  ports: AdminApiPorts,
  past: PastStates,
  connection: NonNullable<ExplainBody['connection']>,
  asked: Asked,
): Promise<ExplainedLive> {
  const told = await askNode(ports, soughtOf(connection), asked);
  const answer = { ...told.explanation, revision: told.revision };
  const objects = await objectsBehind(ports, past, told, asked.action);
  const { facts, credentialId } = told;
  return { answer, ...objects, connection: viewOf(told), facts, credentialId };
}

const NOTHING = { credential: undefined, origin: undefined };

/** Of the newest of the objects that an origin names. */
const revisionOf = ({ objectRevision, revision = 0, via }: Origin): number =>
  Math.max(objectRevision ?? revision, via === undefined ? 0 : revisionOf(via));

async function objectsBehind(
  { model, log, clock }: AdminApiPorts,
  past: PastStates,
  told: ExplainedConnection,
  action: Action,
): Promise<Pick<ExplainedLive, 'credential' | 'origin' | 'admittedBy'>> {
  const { credentialId, facts, explanation: answer, revision, tags } = told;
  const at = clock();
  await model.waitFor(revision, CATCH_UP_MS);
  if (credentialId === ANONYMOUS_ID)
    return behindAnonymous({ model, log, clock }, past, told, action);
  const { reads } = model;
  const credential = reads.credential(credentialId) ?? unboundCertificateOf(credentialId);
  if (credential !== undefined && credential.updatedRevision <= revision) {
    const origin = originOf({ reads, credential, facts, action, answer, at });
    // What is older than the session's policy was the same then.
    if (origin !== undefined && revisionOf(origin) <= revision) return { credential, origin };
  }
  const state = await past.at(log, revision, new Set(tags));
  const then = state?.credential(credentialId) ?? unboundCertificateOf(credentialId);
  if (state === undefined || then === undefined) return NOTHING;
  const origin = originOf({ reads: state, credential: then, facts, action, answer, at });
  return { credential: then, origin };
}

type AnonymousReads = Parameters<typeof anonymousOriginOf>[0]['reads'];

/** No revision has a credential for it: a chain lets it in. */
async function behindAnonymous(
  { model, log, clock }: Pick<AdminApiPorts, 'model' | 'log' | 'clock'>,
  past: PastStates,
  { facts, explanation: answer, revision, tags }: ExplainedConnection,
  action: Action,
): Promise<Pick<ExplainedLive, 'credential' | 'origin' | 'admittedBy'>> {
  const asOf = (reads: AnonymousReads) => ({
    credential: undefined,
    origin: anonymousOriginOf({ reads, facts, action, answer, at: clock() }),
    // Where the listener asks nobody, no chain does.
    admittedBy: facts.open === true ? undefined : lettingIn(reads, facts),
  });
  const { origin, admittedBy } = asOf(model.reads);
  const known = origin !== undefined && (admittedBy !== undefined || facts.open === true);
  // What is older than the session's policy was the same then.
  if (known && Math.max(revisionOf(origin), admittedBy?.updatedRevision ?? 0) <= revision) {
    return { credential: undefined, origin, admittedBy };
  }
  const state = await past.at(log, revision, new Set(tags));
  return state === undefined ? NOTHING : asOf(state);
}

function viewOf(told: ExplainedConnection): object {
  const { facts, nodeId, connectedAt, applyMode, enforcedRevision, secretId, groups } = told;
  const { clientId, username, listener, zone = DEFAULT_ZONE, peer, certificate } = facts;
  const { attributes } = facts;
  return {
    clientId,
    nodeId,
    connectedAt: instant(connectedAt),
    listener,
    zone,
    ...(username !== undefined && { username }),
    ...(peer !== undefined && { peer }),
    ...(certificate !== undefined && {
      certificate: {
        fingerprint: certificate.fingerprintSha256,
        ...(certificate.commonName !== undefined && { commonName: certificate.commonName }),
        chainCommonNames: certificate.chainCommonNames,
      },
    }),
    ...(attributes !== undefined && { attributes }),
    ...(groups !== undefined && { groups }),
    ...(secretId !== undefined && { secretId }),
    applyMode,
    enforcedRevision,
  };
}
