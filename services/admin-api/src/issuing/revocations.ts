import {
  type IssuedCertificate,
  type ListenerRevocations,
  REVOCATION_LISTS_BYTES_MAX,
  TLS_LISTENERS,
  type Trust,
} from '@sallyport/domain';
import type { AdminReadModel } from '../ports.ts';
import type { IssuingAuthority } from './issuing-authority.ts';

/** Most certificates on one list; of more those that were revoked last. All of them are refused at CONNECT. */
export const REVOCATION_LIST_ENTRIES_MAX = 10_000;

/** All lists that one revocation changes, with what stands beside them, fit into one commit. */
const CHANGED_BYTES_MAX = 192 * 1024;

/** Why the list of a listener does not name what is revoked. */
export type Unlisted = 'no_authority' | 'no_lists_of_others' | 'too_large' | 'not_trusted';

export interface ListenerState {
  readonly listener: string;
  /** Absent: its list names it. */
  readonly unlisted?: Unlisted;
}

/** The list in DER of what an authority has made that is revoked, with one more. */
export function revocationListOf(
  { lists, revision }: Pick<AdminReadModel, 'lists' | 'revision'>,
  authority: IssuingAuthority,
  { at, more }: { readonly at: number; readonly more?: IssuedCertificate },
): Buffer {
  const known = lists.revokedCertificates(authority.fingerprint, at, REVOCATION_LIST_ENTRIES_MAX);
  const entries = known.map((one) => ({ serial: one.serial, at: one.revoked?.at ?? at }));
  const own = more === undefined ? [] : [{ serial: more.serial, at }];
  // The revision of a commit that may follow is at least one more than what is known now.
  const number = revision + own.length;
  return authority.revocationList([...own, ...entries].slice(0, REVOCATION_LIST_ENTRIES_MAX), {
    ...{ at, number },
  });
}

export const pemOfList = (der: Uint8Array): string => {
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN X509 CRL-----\n${lines.join('\n')}\n-----END X509 CRL-----\n`;
};

const BLOCK = /-----BEGIN (X509 CRL|CERTIFICATE)-----([^-]*)-----END \1-----/g;

interface Block {
  readonly pem: string;
  readonly der: Buffer;
}

const blocksOf = (pem = ''): readonly Block[] =>
  [...pem.matchAll(BLOCK)].map(([text, , base64 = '']) => ({
    pem: `${text}\n`,
    der: Buffer.from(base64, 'base64'),
  }));

/** What becomes of the lists of all listeners whose certificates are in the log. */
export interface RevocationPlan {
  readonly lists: readonly ListenerRevocations[];
  readonly listeners: readonly ListenerState[];
}

/**
 * The lists of the listeners that trust the authority of a certificate, with it. A listener whose other authorities have no list is left
 * alone: as soon as there is one, the library wants one of each, and refuses everybody else.
 */
export function planRevocation(
  model: Pick<AdminReadModel, 'reads' | 'lists' | 'revision'>,
  issuer: IssuingAuthority | undefined,
  { certificate, at }: { readonly certificate: IssuedCertificate; readonly at: number },
): RevocationPlan {
  const all = TLS_LISTENERS.map((one) => model.reads.trust(one));
  const there = all.filter((one) => one !== undefined);
  const own = issuer?.fingerprint === certificate.authority && issuer.maySignLists ? issuer : null;
  if (own === null) {
    return {
      lists: [],
      listeners: there.map(({ listener }) => ({ listener, unlisted: 'no_authority' })),
    };
  }
  const list = pemOfList(revocationListOf(model, own, { at, more: certificate }));
  const lists: ListenerRevocations[] = [];
  const listeners: ListenerState[] = [];
  let bytes = 0;
  for (const trust of there) {
    const { listener, updatedRevision: ifRevision } = trust;
    const revocationLists = listsWith(trust, own, list);
    const unlisted = unlistedBy(trust, own, revocationLists);
    bytes += unlisted === undefined ? trustBytes(trust) + list.length : 0;
    const large = bytes > CHANGED_BYTES_MAX;
    if (unlisted !== undefined || large)
      listeners.push({ listener, unlisted: unlisted ?? 'too_large' });
    else {
      lists.push({ listener, revocationLists, ifRevision });
      listeners.push({ listener });
    }
  }
  return { lists, listeners };
}

const trustBytes = ({ authorities = '', revocationLists = '', server }: Trust): number =>
  authorities.length +
  revocationLists.length +
  (server === undefined ? 0 : server.certificate.length + server.key.length);

/** Those of other authorities as they are, and ours behind them. */
function listsWith({ revocationLists }: Trust, own: IssuingAuthority, list: string): string {
  const others = blocksOf(revocationLists).filter(({ der }) => !own.isOf(der));
  return others.map(({ pem }) => pem).join('') + list;
}

function unlistedBy(
  { authorities = '', revocationLists }: Trust,
  own: IssuingAuthority,
  next: string,
): Unlisted | undefined {
  if (!own.isIn(authorities)) return 'not_trusted';
  const alone = blocksOf(authorities).length === 1;
  if (!alone && revocationLists === undefined) return 'no_lists_of_others';
  return next.length > REVOCATION_LISTS_BYTES_MAX ? 'too_large' : undefined;
}
