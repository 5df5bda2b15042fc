import {
  type IssuedCertificate,
  renewableFrom,
  REVOCATION_REASON_BYTES_MAX,
  TLS_LISTENERS,
} from '@sallyport/domain';
import { Type } from 'typebox';
import { instant, instantSchema, pageOf, pageQuery } from '../../http/list-query.ts';
import { writeQuery } from '../../http/write.ts';
import { SIGNING_REQUEST_LENGTH_MAX } from '../../issuing/signing-request.ts';

const closed = { additionalProperties: false };

export const listQuery = Type.Object(
  {
    ...pageQuery(['issuedAt', 'subject', 'notAfter']),
    credentialId: Type.Optional(Type.String({ minLength: 1, maxLength: 128 })),
    state: Type.Optional(
      Type.Enum(['valid', 'revoked', 'ended'], {
        description: '`valid`: neither revoked nor ended.',
      }),
    ),
  },
  closed,
);

export const fingerprintParams = Type.Object({
  fingerprint: Type.String({ maxLength: 128, description: 'SHA-256, hexadecimal or base64.' }),
});
export const emptyQuery = Type.Object({}, closed);
export const writeQuerySchema = Type.Object(writeQuery, closed);

const csr = Type.String({
  maxLength: SIGNING_REQUEST_LENGTH_MAX,
  description:
    'PEM of a signing request (PKCS#10) of the same Common Name; its key may be another.',
});

export const renewBody = Type.Object({ csr }, closed);

export const deviceRenewBody = Type.Object(
  {
    fingerprint: Type.String({
      maxLength: 128,
      description: 'SHA-256 of the present certificate.',
    }),
    csr,
    signature: Type.String({
      maxLength: 2048,
      description:
        'Base64: the text of `csr`, signed with the key of the present certificate (RSA PKCS#1 or ECDSA with SHA-256, DER; or Ed25519).',
    }),
  },
  closed,
);

export const deviceRenewedSchema = Type.Object({ certificate: Type.String() });

export const revokeBody = Type.Object(
  { reason: Type.Optional(Type.String({ minLength: 1, maxLength: REVOCATION_REASON_BYTES_MAX })) },
  closed,
);

const members = {
  fingerprint: Type.String(),
  serial: Type.String(),
  subject: Type.String({ description: 'The Common Name.' }),
  authority: Type.String({ description: 'Fingerprint of the authority that signed it.' }),
  credentialId: Type.String(),
  notBefore: instantSchema('First moment of its validity.'),
  notAfter: instantSchema('Last moment of its validity.'),
  renewableFrom: instantSchema('From when on a device may renew it by itself.'),
  by: Type.String({ description: 'Who had it made.' }),
  renews: Type.Optional(
    Type.String({ description: 'Fingerprint of the one whose place it takes.' }),
  ),
  state: Type.Enum(['valid', 'revoked', 'ended']),
  issuedAt: instantSchema('When it was made.'),
  revoked: Type.Optional(
    Type.Object({
      at: instantSchema('When it was revoked.'),
      by: Type.String(),
      reason: Type.Optional(Type.String()),
      revision: Type.Integer(),
    }),
  ),
  certificate: Type.String({ description: 'PEM.' }),
  updatedRevision: Type.Integer({ description: 'The entity tag, as a number.' }),
};

export const issuedSchema = Type.Object(members);
export const issuedPageSchema = pageOf(issuedSchema, 'IssuedCertificatePage');
export const writtenIssuedSchema = Type.Object({ ...members, revision: Type.Integer() });

export const revokedSchema = Type.Object({
  ...members,
  listeners: Type.Array(
    Type.Object({
      listener: Type.Enum([...TLS_LISTENERS]),
      listed: Type.Boolean({ description: 'Whether its list of what is revoked names it now.' }),
      reason: Type.Optional(
        Type.Enum(['no_authority', 'no_lists_of_others', 'too_large', 'not_trusted'], {
          description:
            'Why not: this replica does not sign lists of its authority; other authorities of the listener have no list; it would be too long; the listener does not trust it. It is refused at CONNECT all the same.',
        }),
      ),
    }),
    { description: 'Of listeners whose certificates are set here.' },
  ),
  revision: Type.Integer(),
});

export function stateOf({ revoked, notAfter }: IssuedCertificate, at: number) {
  if (revoked !== undefined) return 'revoked';
  return at > notAfter ? 'ended' : 'valid';
}

export function issuedView(one: IssuedCertificate, at: number) {
  const { issuedRevision: _revision, revoked, notBefore, notAfter, issuedAt, ...told } = one;
  return {
    ...told,
    notBefore: instant(notBefore),
    notAfter: instant(notAfter),
    renewableFrom: instant(renewableFrom(one)),
    state: stateOf(one, at),
    issuedAt: instant(issuedAt),
    ...(revoked && { revoked: { ...revoked, at: instant(revoked.at) } }),
  };
}
