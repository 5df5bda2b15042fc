import type { CredentialRehash } from '@sallyport/domain';
import { OperationalError } from '@sallyport/errors';
import { type SecretBox, sealingContext } from '@sallyport/secrets';
import { count, type Logger } from '@sallyport/telemetry';
import { decodeRehash, REHASH_SUBJECT } from '@sallyport/wire';
import { type MessageSource, PolicyInbox } from '../inbox/policy-inbox.ts';
import { type RehashWriterPorts, writeRehashes } from './rehash-writer.ts';

/** Most messages that wait to be written; one more is dropped, and its secrets come again with their next login. */
export const REHASH_MESSAGES_MAX = 64;

export interface RehashListenerOptions extends RehashWriterPorts {
  readonly source: MessageSource;
  readonly box: SecretBox;
  readonly logger: Pick<Logger, 'warn'>;
}

/**
 * Takes what policy replicas have made of imported hashes, and writes it. A replica may say nothing else to the log: a verifier is
 * taken only for a secret that was imported, in our own form, and sealed for its credential under the deployment key.
 */
export const listenForRehashes = ({
  source,
  box,
  logger,
  ...ports
}: RehashListenerOptions): PolicyInbox<CredentialRehash> =>
  new PolicyInbox({
    ...{ source, logger, subject: REHASH_SUBJECT, messagesMax: REHASH_MESSAGES_MAX },
    read: (data) => decodeRehash(data)?.filter((one) => isOurs(box, one)) ?? [],
    write: (secrets) => writeRehashes(ports, secrets),
    lost: (outcome) => count('sallyport.secrets.rehashed', { outcome }),
    notWritten: 'imported secrets could not be rehashed',
  });

function isOurs(box: SecretBox, { id, verifier }: CredentialRehash): boolean {
  try {
    const context = sealingContext({ kind: 'credential', id });
    return box.open(verifier, context).startsWith('$argon2id$');
  } catch (error) {
    if (error instanceof OperationalError) return false;
    throw error;
  }
}
