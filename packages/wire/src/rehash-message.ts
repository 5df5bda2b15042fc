import { type CredentialRehash, REHASH_SECRETS_MAX } from '@sallyport/domain';
import { decodeList, encodeList, isText, type MessageList } from './message-list.ts';

/** Where the policy service says that it has made verifiers of its own for imported hashes. */
export const REHASH_SUBJECT = 'sallyport.rehash';

/** Longest message that is read, in bytes: so many verifiers, sealed, take a quarter of it. */
export const REHASH_MESSAGE_BYTES_MAX = 128 * 1024;

const ID_LENGTH_MAX = 128;
const VERIFIER_LENGTH_MAX = 1024;

const rehashes: MessageList<CredentialRehash> = {
  member: 'secrets',
  itemsMax: REHASH_SECRETS_MAX,
  bytesMax: REHASH_MESSAGE_BYTES_MAX,
  itemOf: ({ id, secretId, verifier }) => {
    if (!isText(id, ID_LENGTH_MAX) || !isText(secretId, ID_LENGTH_MAX)) return undefined;
    return isText(verifier, VERIFIER_LENGTH_MAX) ? { id, secretId, verifier } : undefined;
  },
};

export const encodeRehash = (secrets: readonly CredentialRehash[]): string =>
  encodeList(rehashes, secrets);

/** What the message asks for; undefined for anything else than `encodeRehash` writes. */
export const decodeRehash = (message: Uint8Array): readonly CredentialRehash[] | undefined =>
  decodeList(rehashes, message);
