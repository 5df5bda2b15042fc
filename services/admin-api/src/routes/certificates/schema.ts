import {
  AUTHORITIES_BYTES_MAX,
  CLIENT_CERTIFICATE_MODES,
  REVOCATION_LISTS_BYTES_MAX,
  SERVER_CERTIFICATE_BYTES_MAX,
  SERVER_KEY_BYTES_MAX,
  type Trust,
} from '@sallyport/domain';
import { Type } from 'typebox';
import { instant, instantSchema } from '../../http/list-query.ts';
import { writeQuery } from '../../http/write.ts';
import { type Revocation, revocationsOf, summariesOf } from './material.ts';

const closed = { additionalProperties: false };

const members = {
  clientCertificate: Type.Enum([...CLIENT_CERTIFICATE_MODES], {
    description:
      'none: nobody is asked; optional: whoever has one shows it; required: no handshake without one.',
  }),
  authorities: Type.Optional(
    Type.String({
      maxLength: AUTHORITIES_BYTES_MAX,
      description: 'PEM: who may sign client certificates, roots included.',
    }),
  ),
  revocationLists: Type.Optional(
    Type.String({
      maxLength: REVOCATION_LISTS_BYTES_MAX,
      description: 'PEM: revocation lists of these authorities.',
    }),
  ),
  serverCertificate: Type.Optional(
    Type.String({
      maxLength: SERVER_CERTIFICATE_BYTES_MAX,
      description:
        "PEM: what the listener shows, its intermediates behind it; that of the node's configuration when left out.",
    }),
  ),
};

export const replaceBody = Type.Object(
  {
    ...members,
    serverKey: Type.Optional(
      Type.String({
        maxLength: SERVER_KEY_BYTES_MAX,
        writeOnly: true,
        description: 'PEM: the key of serverCertificate; the stored one stays when left out.',
      }),
    ),
  },
  closed,
);

const summary = Type.Object({
  subject: Type.String(),
  issuer: Type.String(),
  validFrom: instantSchema('First moment of its validity.'),
  validTo: instantSchema('Last moment of its validity.'),
  fingerprint: Type.String(),
});

const authoritySummary = Type.Object({
  ...summary.properties,
  revocationList: Type.Optional(
    Type.Enum(['present', 'missing'], {
      description:
        'Not there while there are no lists at all. missing: the listener has lists, none of this authority, and so lets nobody in ' +
        'whom it has signed.',
    }),
  ),
  revocationListValidTo: Type.Optional(
    instantSchema('When its list expires: from then on nobody gets in whom it has signed.'),
  ),
});

const viewMembers = {
  listener: Type.String(),
  ...members,
  serverKeyStored: Type.Boolean({ description: 'The key itself is never told.' }),
  certificates: Type.Object({
    authorities: Type.Array(authoritySummary),
    server: Type.Array(summary),
  }),
  updatedAt: instantSchema('When it was last changed.'),
  updatedRevision: Type.Integer({ description: 'The entity tag, as a number.' }),
};

export const trustSchema = Type.Object(viewMembers);
export const trustListSchema = Type.Object({ items: Type.Array(trustSchema) });
export const writtenTrustSchema = Type.Object({ ...viewMembers, revision: Type.Integer() });

export const listenerParams = Type.Object({ listener: Type.String() });
export const emptyQuery = Type.Object({}, closed);
export const writeQuerySchema = Type.Object(writeQuery, closed);

/** What may be told, in the form in which it is sent. */
export const trustTexts = ({ clientCertificate, authorities, revocationLists, server }: Trust) => ({
  clientCertificate,
  ...(authorities !== undefined && { authorities }),
  ...(revocationLists !== undefined && { revocationLists }),
  ...(server !== undefined && { serverCertificate: server.certificate }),
});

const revocationView = (one: Revocation | undefined) =>
  one && {
    revocationList: one.revocationList,
    ...(one.validTo !== undefined && { revocationListValidTo: instant(one.validTo) }),
  };

export function trustView(trust: Trust) {
  const { listener, authorities, revocationLists, server } = trust;
  const revocations = revocationsOf(authorities, revocationLists);
  return {
    listener,
    ...trustTexts(trust),
    serverKeyStored: server !== undefined,
    certificates: {
      authorities: summariesOf(authorities).map((one, index) => ({
        ...one,
        ...revocationView(revocations[index]),
      })),
      server: summariesOf(server?.certificate),
    },
    updatedAt: instant(trust.updatedAt),
    updatedRevision: trust.updatedRevision,
  };
}
