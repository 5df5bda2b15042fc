import { type ClientCertificateMode, TLS_LISTENERS } from '@sallyport/domain';
import { OperationalError } from '@sallyport/errors';
import {
  required,
  WireClientCertificateMode,
  type WireListenerTrust,
  type WireListListenerTrustResponse,
} from '@sallyport/wire';
import type { ListenerTrust, ListenerTrustAnswer } from './policy-client.ts';

const modes: Readonly<Record<ClientCertificateMode, WireClientCertificateMode>> = {
  none: WireClientCertificateMode.CLIENT_CERTIFICATE_MODE_NONE,
  optional: WireClientCertificateMode.CLIENT_CERTIFICATE_MODE_OPTIONAL,
  required: WireClientCertificateMode.CLIENT_CERTIFICATE_MODE_REQUIRED,
};

/** A mode that this version does not know is no mode: nobody is let in by a guess. */
function modeFromWire(wire: WireClientCertificateMode): ClientCertificateMode {
  switch (wire) {
    case WireClientCertificateMode.CLIENT_CERTIFICATE_MODE_NONE:
      return 'none';
    case WireClientCertificateMode.CLIENT_CERTIFICATE_MODE_OPTIONAL:
      return 'optional';
    case WireClientCertificateMode.CLIENT_CERTIFICATE_MODE_REQUIRED:
      return 'required';
    default:
      throw new OperationalError('invalid_request', `gRPC message: mode ${wire} is not known`);
  }
}

export function trustAnswerToWire(answer: ListenerTrustAnswer): WireListListenerTrustResponse {
  const { revision, listeners } = answer;
  return {
    revision,
    listeners: listeners.map(
      ({ listener, clientCertificate, authorities, revocationLists, server }) => ({
        listener,
        clientCertificate: modes[clientCertificate],
        authorities,
        revocationLists,
        server,
      }),
    ),
  };
}

export function trustAnswerFromWire(wire: WireListListenerTrustResponse): ListenerTrustAnswer {
  return { revision: wire.revision, listeners: wire.listeners.map(trustFromWire) };
}

function trustFromWire(wire: WireListenerTrust): ListenerTrust {
  const { authorities, revocationLists, server } = wire;
  const listener = TLS_LISTENERS.find((one) => one === wire.listener);
  return {
    listener: required(listener, `a known listener (got ${wire.listener})`),
    clientCertificate: modeFromWire(wire.clientCertificate),
    ...(authorities !== undefined && { authorities }),
    ...(revocationLists !== undefined && { revocationLists }),
    ...(server !== undefined && { server: { certificate: server.certificate, key: server.key } }),
  };
}
