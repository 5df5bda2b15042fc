import { Type } from 'typebox';
import { defaulted, instant, instantSchema, pageOf, pageQuery } from '../../http/list-query.ts';

const closed = { additionalProperties: false };

const members = {
  clientId: Type.String(),
  username: Type.Optional(Type.String()),
  credentialId: Type.Optional(Type.String()),
  address: Type.String({ description: 'IP address of the client, as its load balancer tells.' }),
  peer: Type.String({ description: 'The same with its port.' }),
  protocolVersion: Type.Enum(['3.1', '3.1.1', '5.0']),
  transport: Type.String({ description: 'tcp, ssl, ws or wss.' }),
  listener: Type.String(),
  zone: Type.Optional(
    Type.String({ description: 'Of the listener; absent from a node that knows of none.' }),
  ),
  keepAliveSeconds: Type.Integer({ description: '0 is none.' }),
  connectedAt: instantSchema('When the CONNECT was accepted.'),
  groups: Type.Optional(Type.Array(Type.String())),
  nodeId: Type.String(),
};

export const connectionSchema = Type.Object(members);

const silentNodes = Type.Array(Type.String(), {
  description: 'Nodes that did not answer in time: what they know is missing.',
});

const page = <S extends ReturnType<typeof Type.Object>>(items: S, title: string) =>
  Type.Object({ ...pageOf(items, title).properties, silentNodes }, { title });

export const connectionPageSchema = page(connectionSchema, 'ConnectionPage');

export const connectionListQuery = Type.Object(
  pageQuery([
    'clientId',
    'username',
    'address',
    'protocolVersion',
    'keepAliveSeconds',
    'connectedAt',
    'listener',
    'nodeId',
  ]),
  closed,
);

const REFUSED_SORTS = [
  'lastAt',
  'firstAt',
  'count',
  'reason',
  'address',
  'clientId',
  'username',
  'listener',
  'nodeId',
] as const;

const refusedSchema = Type.Object({
  reason: Type.String({ description: 'Such as banned, wrong_secret, flapping or tls_handshake.' }),
  listener: Type.String(),
  address: Type.String({ description: 'Empty when it is not known.' }),
  clientId: Type.Optional(
    Type.String({ description: 'Absent when there was no CONNECT, and for the rest of a source.' }),
  ),
  username: Type.Optional(Type.String()),
  count: Type.Integer(),
  firstAt: instantSchema('The first of these attempts.'),
  lastAt: instantSchema('The last one.'),
  nodeId: Type.String(),
});

export const refusedPageSchema = page(refusedSchema, 'RefusedConnectionPage');

export const refusedListQuery = Type.Object(
  {
    ...pageQuery(REFUSED_SORTS),
    sort: defaulted(
      Type.Unsafe<string>(
        Type.String({
          pattern: `^(${REFUSED_SORTS.join('|')})(,(asc|desc))?$`,
          default: 'lastAt,desc',
          description: `One of ${REFUSED_SORTS.join(', ')}, then \`asc\` or \`desc\`.`,
        }),
      ),
    ),
  },
  closed,
);

export const emptyQuery = Type.Object({}, closed);
export const disconnectQuery = Type.Object(
  {
    session: Type.Optional(
      Type.Enum(['keep', 'end'], {
        description:
          '`end`: its subscriptions and the messages that wait for it are gone too; `keep` when left out.',
      }),
    ),
  },
  closed,
);
export const clientParams = Type.Object({ clientId: Type.String() });

/** What a node tells of a connection. Its times are in milliseconds since 1970. */
export interface NodeConnection {
  readonly clientId: string;
  readonly connectedAt: number;
  readonly nodeId: string;
}

export interface NodeRefusal {
  readonly firstAt: number;
  readonly lastAt: number;
}

export const connectionView = (one: NodeConnection) => ({
  ...one,
  connectedAt: instant(one.connectedAt),
});

export const refusedView = (one: NodeRefusal) => ({
  ...one,
  firstAt: instant(one.firstAt),
  lastAt: instant(one.lastAt),
});
