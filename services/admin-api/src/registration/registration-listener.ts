import type { RegistrationAttempt } from '@sallyport/domain';
import { isRegistration, type SecretBox } from '@sallyport/secrets';
import { count, type Logger } from '@sallyport/telemetry';
import { decodeRegistrations, REGISTRATION_SUBJECT } from '@sallyport/wire';
import { type MessageSource, PolicyInbox } from '../inbox/policy-inbox.ts';
import { type RegistrationWriterPorts, writeRegistrations } from './registration-writer.ts';

/** Most messages that wait to be written; one more is dropped, and comes again with the next attempts. */
export const REGISTRATION_MESSAGES_MAX = 64;

export interface RegistrationListenerOptions extends RegistrationWriterPorts {
  readonly source: MessageSource;
  readonly box: SecretBox;
  readonly logger: Pick<Logger, 'warn'>;
}

/**
 * Takes what policy replicas tell of refused connections, and records it while the window is open. A replica may say nothing else: an
 * attempt is taken only with a verifier in our own form, sealed under the deployment key for this user name and id.
 */
export const listenForRegistrations = ({
  source,
  box,
  logger,
  ...ports
}: RegistrationListenerOptions): PolicyInbox<RegistrationAttempt> =>
  new PolicyInbox({
    ...{ source, logger, subject: REGISTRATION_SUBJECT, messagesMax: REGISTRATION_MESSAGES_MAX },
    read: (data) => decodeRegistrations(data)?.filter((one) => isRegistration(box, one)) ?? [],
    write: (attempts) => writeRegistrations(ports, attempts),
    lost: (outcome) => count('sallyport.registrations', { outcome }),
    notWritten: 'requests for access could not be recorded',
  });
