import { REGISTRATION_ATTEMPTS_MAX, type RegistrationAttempt } from '@sallyport/domain';
import { decodeList, encodeList, isText, type MessageList } from './message-list.ts';

/** Where the policy service says who has tried to connect with a user name that nobody has, while the window was open. */
export const REGISTRATION_SUBJECT = 'sallyport.registration';

/** Longest message that is read, in bytes: twice of what so many attempts take. */
export const REGISTRATION_MESSAGE_BYTES_MAX = 128 * 1024;

const ID_LENGTH_MAX = 64;
/** Of what the domain counts in bytes. */
const NAME_LENGTH_MAX = 256;
const VERIFIER_LENGTH_MAX = 1024;
/** One node does not see more of one device between two messages. */
const COUNT_MAX = 1_000_000;

const isAbsentOrText = (value: unknown, lengthMax: number): value is string | undefined =>
  value === undefined || isText(value, lengthMax);

const attempts: MessageList<RegistrationAttempt> = {
  member: 'attempts',
  itemsMax: REGISTRATION_ATTEMPTS_MAX,
  bytesMax: REGISTRATION_MESSAGE_BYTES_MAX,
  itemOf: ({ id, username, verifier, count, address, clientId }) => {
    if (!isText(id, ID_LENGTH_MAX) || !isText(username, NAME_LENGTH_MAX)) return undefined;
    if (!isText(verifier, VERIFIER_LENGTH_MAX) || !isCount(count)) return undefined;
    if (!isAbsentOrText(address, ID_LENGTH_MAX)) return undefined;
    if (!isAbsentOrText(clientId, NAME_LENGTH_MAX)) return undefined;
    return {
      ...{ id, username, verifier, count },
      origin: 'mqtt',
      ...(address !== undefined && { address }),
      ...(clientId !== undefined && { clientId }),
    };
  },
};

const isCount = (value: unknown): value is number =>
  Number.isSafeInteger(value) && Number(value) >= 1 && Number(value) <= COUNT_MAX;

export const encodeRegistrations = (list: readonly RegistrationAttempt[]): string =>
  encodeList(attempts, list);

/** What the message tells; undefined for anything else than `encodeRegistrations` writes. */
export const decodeRegistrations = (
  message: Uint8Array,
): readonly RegistrationAttempt[] | undefined => decodeList(attempts, message);
