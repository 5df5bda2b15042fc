import type { TlsListener, Trust, TrustFields } from '@sallyport/domain';
import { sealingContext } from '@sallyport/secrets';
import type { ApiContext } from '../../http/context.ts';
import { refused } from '../../http/problems.ts';
import { type Material, materialProblems } from './material.ts';

/** What is sent for a listener: the body of `PUT /certificates`, an entry of a configuration file. */
export interface TrustBody {
  readonly clientCertificate: TrustFields['clientCertificate'];
  readonly authorities?: string;
  readonly revocationLists?: string;
  readonly serverCertificate?: string;
  readonly serverKey?: string;
}

/**
 * The texts as they are stored, the key sealed: the one that is sent, else the present one. `at` is milliseconds since 1970.
 * @throws RefusedError `trust_invalid`
 */
export function prepareTrust(
  context: ApiContext,
  wanted: {
    readonly listener: TlsListener;
    readonly body: TrustBody;
    readonly current: Trust | undefined;
    readonly at: number;
  },
): TrustFields {
  const { listener, body, current, at } = wanted;
  const material = materialOf(context, body, current);
  const problems = materialProblems(material, at);
  if (problems.length > 0) throw refused('trust_invalid', { problems });
  const { server, ...texts } = material;
  const { clientCertificate } = body;
  if (server === undefined) return { clientCertificate, ...texts };
  const key = context.ports.secretBox.seal(server.key, sealingOf(listener));
  return { clientCertificate, ...texts, server: { certificate: server.certificate, key } };
}

/** The texts that are sent, with the stored key where there is none among them. */
function materialOf(context: ApiContext, body: TrustBody, current: Trust | undefined): Material {
  const { authorities, revocationLists, serverCertificate, serverKey } = body;
  const more = {
    ...(authorities !== undefined && { authorities }),
    ...(revocationLists !== undefined && { revocationLists }),
  };
  if (serverCertificate === undefined) {
    if (serverKey === undefined) return more;
    throw keyProblem('is given, but serverCertificate is not');
  }
  const key = serverKey ?? storedKey(context, current);
  if (key === undefined) {
    throw keyProblem('is needed with serverCertificate, because none is stored');
  }
  return { ...more, server: { certificate: serverCertificate, key } };
}

const keyProblem = (detail: string): Error =>
  refused('trust_invalid', { problems: [{ pointer: '/serverKey', detail }] });

/** The key that a listener has, in the clear. */
export function storedKey({ ports }: ApiContext, trust: Trust | undefined): string | undefined {
  if (trust?.server === undefined) return undefined;
  return ports.secretBox.open(trust.server.key, sealingOf(trust.listener));
}

const sealingOf = (listener: TlsListener) => sealingContext({ kind: 'trust', id: listener });
