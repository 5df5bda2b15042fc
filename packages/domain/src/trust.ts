import { unreachable } from '@sallyport/errors';
import { utf8Bytes } from '@sallyport/topic';
import { accept, type Decided, type EventContext, reject, type Revision } from './commit.ts';
import { Problems } from './text.ts';

/** The listeners that speak TLS. */
export const TLS_LISTENERS = ['ssl:default', 'wss:default'] as const;
export type TlsListener = (typeof TLS_LISTENERS)[number];

/** `none`: nobody is asked; `optional`: whoever has one shows it; `required`: no handshake without one. */
export const CLIENT_CERTIFICATE_MODES = ['none', 'optional', 'required'] as const;
export type ClientCertificateMode = (typeof CLIENT_CERTIFICATE_MODES)[number];

// Together they fit into one commit.
export const AUTHORITIES_BYTES_MAX = 96 * 1024;
export const REVOCATION_LISTS_BYTES_MAX = 96 * 1024;
export const SERVER_CERTIFICATE_BYTES_MAX = 24 * 1024;
/** Of the key itself; sealed it is a third longer. */
export const SERVER_KEY_BYTES_MAX = 16 * 1024;

/** What a listener shows, and whom it trusts. Texts are PEM; whoever makes a command has read them. */
export interface TrustFields {
  readonly clientCertificate: ClientCertificateMode;
  /** Authorities of client certificates, roots included. */
  readonly authorities?: string;
  /** Of these authorities; a certificate on one of the lists opens nothing. */
  readonly revocationLists?: string;
  /** Our certificate with its intermediates, in place of the one of the node's configuration. */
  readonly server?: {
    readonly certificate: string;
    /** Sealed under the deployment key. */
    readonly key: string;
  };
}

export interface Trust extends TrustFields {
  readonly listener: TlsListener;
  readonly updatedAt: number;
  readonly updatedRevision: Revision;
}

export type TrustEvent =
  | {
      readonly type: 'TrustReplaced';
      readonly data: { readonly listener: TlsListener; readonly fields: TrustFields };
    }
  /** The listener is again what the configuration of its node says. */
  | { readonly type: 'TrustRemoved'; readonly data: { readonly listener: TlsListener } };

export interface TrustReads {
  trust(listener: TlsListener): Trust | undefined;
}

interface Conditional {
  readonly listener: TlsListener;
  /** Refused with `precondition_failed` unless the object was last changed by this revision; 0 means there is none. */
  readonly ifRevision?: Revision;
}

export type TrustCommand =
  | {
      readonly type: 'ReplaceTrust';
      readonly data: Conditional & { readonly fields: TrustFields };
    }
  | { readonly type: 'RemoveTrust'; readonly data: Conditional };

export function evolveTrust(event: TrustEvent, context: EventContext): Trust | undefined {
  switch (event.type) {
    case 'TrustReplaced':
      return {
        listener: event.data.listener,
        ...event.data.fields,
        updatedAt: context.at,
        updatedRevision: context.revision,
      };
    case 'TrustRemoved':
      return undefined;
    default:
      return unreachable(event);
  }
}

/** Never throws on input. */
export function decideTrust(reads: TrustReads, command: TrustCommand): Decided<TrustEvent> {
  const { listener, ifRevision } = command.data;
  const current = reads.trust(listener);
  if (ifRevision !== undefined && ifRevision !== (current?.updatedRevision ?? 0)) {
    return reject('precondition_failed', {
      detail: `The certificates were last changed by revision ${current?.updatedRevision ?? 0}.`,
    });
  }
  if (command.type === 'RemoveTrust') {
    if (current === undefined) return reject('trust_not_found');
    return accept({ type: 'TrustRemoved', data: { listener } });
  }
  const { fields } = command.data;
  const problems = new Problems();
  checkFields(problems, fields);
  if (problems.found.length > 0) return reject('trust_invalid', { problems: problems.found });
  return accept({ type: 'TrustReplaced', data: { listener, fields } });
}

function checkFields(problems: Problems, fields: TrustFields): void {
  const { clientCertificate, authorities, revocationLists, server } = fields;
  if (clientCertificate !== 'none' && authorities === undefined) {
    problems.add('/authorities', `is needed because clientCertificate is ${clientCertificate}`);
  }
  if (revocationLists !== undefined && authorities === undefined) {
    problems.add('/revocationLists', 'is given, but authorities is not');
  }
  checkSize(problems, '/authorities', authorities, AUTHORITIES_BYTES_MAX);
  checkSize(problems, '/revocationLists', revocationLists, REVOCATION_LISTS_BYTES_MAX);
  checkSize(problems, '/serverCertificate', server?.certificate, SERVER_CERTIFICATE_BYTES_MAX);
  checkSize(problems, '/serverKey', server?.key, sealedBytes(SERVER_KEY_BYTES_MAX));
}

/** An upper bound for the sealed form of a text. */
const sealedBytes = (bytes: number): number => Math.ceil(bytes / 3) * 4 + 128;

function checkSize(
  problems: Problems,
  pointer: string,
  text: string | undefined,
  bytesMax: number,
): void {
  if (text === undefined) return;
  if (text === '') problems.add(pointer, 'must not be empty');
  else if (utf8Bytes(text) > bytesMax) problems.add(pointer, `must be at most ${bytesMax} bytes`);
}
