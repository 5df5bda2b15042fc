import { addressOfPeer } from '@sallyport/domain';
import type { ConnectedClient } from '@sallyport/mqtt-session';
import type { Principal } from '@sallyport/policy-client';
import { DEFAULT_ZONE } from '@sallyport/rules';
import type { LiveSession } from '../access/live-sessions.ts';
import { ClientRights } from '../hooks/client-rights.ts';

/** What an administrator sees of a connection. */
export interface ConnectionView {
  readonly clientId: string;
  readonly username?: string;
  readonly credentialId?: string;
  readonly address: string;
  /** `address:port` */
  readonly peer: string;
  readonly protocolVersion: '3.1' | '3.1.1' | '5.0';
  readonly transport: string;
  readonly listener: string;
  /** Of that listener. */
  readonly zone: string;
  /** 0 = none. */
  readonly keepAliveSeconds: number;
  /** Milliseconds since 1970. */
  readonly connectedAt: number;
  readonly nodeId: string;
  /** Ids of its groups; absent when it has none. */
  readonly groups?: readonly string[];
}

const versions = { 3: '3.1', 4: '3.1.1', 5: '5.0' } as const;

/** Other rights than ours are not given to the engine. */
export const sessionOf = ({ rights }: ConnectedClient): LiveSession | undefined =>
  rights instanceof ClientRights ? rights.session : undefined;

const principalOf = (connected: ConnectedClient): Principal | undefined =>
  sessionOf(connected)?.principal;

const transportOf = (listener: string): string => listener.split(':', 1)[0] ?? '';

export function connectionView(connected: ConnectedClient, nodeId: string): ConnectionView {
  const { client, keepAliveSeconds, connectedAt } = connected;
  const { clientId, version, origin } = client;
  const { listener, peer } = origin;
  const principal = principalOf(connected);
  const username = principal?.facts.username;
  const groups = sessionOf(connected)?.groups;
  return {
    clientId,
    ...(username !== undefined && { username }),
    ...(principal !== undefined && { credentialId: principal.credentialId }),
    address: addressOfPeer(peer) ?? '',
    peer,
    protocolVersion: versions[version],
    transport: transportOf(listener),
    listener,
    zone: principal?.facts.zone ?? DEFAULT_ZONE,
    keepAliveSeconds,
    connectedAt,
    nodeId,
    ...(groups !== undefined && { groups }),
  };
}

/** What connections are sorted by: a value for each, without making the whole view of it. */
export const connectionValues: ReadonlyMap<
  string,
  (connected: ConnectedClient, nodeId: string) => string | number
> = new Map<keyof ConnectionView, (connected: ConnectedClient, nodeId: string) => string | number>([
  ['clientId', ({ client }) => client.clientId],
  ['username', (connected) => principalOf(connected)?.facts.username ?? ''],
  ['address', ({ client }) => addressOfPeer(client.origin.peer) ?? ''],
  ['protocolVersion', ({ client }) => versions[client.version]],
  ['keepAliveSeconds', ({ keepAliveSeconds }) => keepAliveSeconds],
  ['connectedAt', ({ connectedAt }) => connectedAt],
  ['listener', ({ client }) => client.origin.listener],
  ['nodeId', (_, nodeId) => nodeId],
]);

export const connectionSearched = ({ client }: ConnectedClient): readonly string[] => [
  client.clientId,
];
