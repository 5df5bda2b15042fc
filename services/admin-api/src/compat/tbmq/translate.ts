import { createHash } from 'node:crypto';
import {
  type AccessSpec,
  type Credential,
  type CredentialMatch,
  NAME_BYTES_MAX,
} from '@sallyport/domain';
import type { Rejection } from '@sallyport/errors';
import { SECRET_BYTES_MAX } from '@sallyport/secrets';
import { utf8Bytes } from '@sallyport/topic';
import { badRequest, type TbmqRefusedError } from './errors.ts';

/** What a POST asks for, in our terms. */
export interface WantedCredential {
  /** Present for an update. */
  readonly id: string | undefined;
  readonly match: CredentialMatch;
  /** Undefined leaves a stored password alone; on a new credential it means none. */
  readonly password: string | undefined;
  /** Null stands for no restriction. */
  readonly pattern: string | null;
}

type JsonObject = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
/** Longest text of the caller that is repeated in a message. */
const ECHO_LENGTH_MAX = 64;

const INVALID_BODY = 'Invalid credentials body for mqtt credentials!';

/** @throws TbmqRefusedError */
export function parseId(id: string): string {
  if (UUID.test(id)) return id.toLowerCase();
  throw badRequest(`Invalid UUID string: ${id.slice(0, ECHO_LENGTH_MAX)}`);
}

/** Reads the object of a POST. Unknown members of the object are ignored, as they were. @throws TbmqRefusedError */
export function parseCredential(
  body: unknown,
  parseText: (text: string) => unknown,
): WantedCredential {
  if (!isObject(body)) throw badRequest(INVALID_BODY);
  const id = optionalText(body['id'], INVALID_BODY);
  const type = body['credentialsType'];
  if (type === undefined || type === null) {
    throw badRequest('MQTT Client credentials type should be specified');
  }
  if (type !== 'MQTT_BASIC') throw unsupported(type);
  const value = parseValue(body['credentialsValue'], parseText);
  const match = matchOf(body, value);
  const password = optionalText(value['password'], INVALID_BODY);
  if (password !== undefined && utf8Bytes(password) > SECRET_BYTES_MAX) {
    throw badRequest(`Password must be at most ${SECRET_BYTES_MAX} bytes!`);
  }
  return {
    id: id === undefined ? undefined : parseId(id),
    match,
    password,
    pattern: optionalText(value['authorizationRulePattern'], INVALID_BODY) ?? null,
  };
}

/** The client id stands beside the value in era S, the user name inside. */
function matchOf(body: JsonObject, value: JsonObject): CredentialMatch {
  const username = emptyAsAbsent(optionalText(value['userName'], INVALID_BODY));
  const clientId = emptyAsAbsent(optionalText(body['clientId'], INVALID_BODY));
  if (username === undefined && clientId === undefined) {
    throw badRequest('Both mqtt client id and user name are empty!');
  }
  return {
    ...(username === undefined ? {} : { username }),
    ...(clientId === undefined ? {} : { clientId }),
  };
}

function unsupported(type: unknown): TbmqRefusedError {
  const named = typeof type === 'string' ? type.slice(0, ECHO_LENGTH_MAX) : 'of this form';
  return badRequest(
    `MQTT Client credentials type ${named} is not supported yet, only MQTT_BASIC is!`,
  );
}

const VALUE_MEMBERS: ReadonlySet<string> = new Set([
  'userName',
  'password',
  'authorizationRulePattern',
]);

/** The inner JSON text. Unknown members of it were always refused. */
function parseValue(text: unknown, parseText: (text: string) => unknown): JsonObject {
  if (typeof text !== 'string') throw badRequest(INVALID_BODY);
  let value: unknown;
  try {
    value = parseText(text);
  } catch {
    throw badRequest(INVALID_BODY);
  }
  if (!isObject(value)) throw badRequest(INVALID_BODY);
  if ('authRules' in value) {
    throw badRequest('authRules are not supported yet, only authorizationRulePattern is!');
  }
  if (!Object.keys(value).every((key) => VALUE_MEMBERS.has(key))) throw badRequest(INVALID_BODY);
  return value;
}

function optionalText(value: unknown, message: string): string | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'string') throw badRequest(message);
  return value;
}

const emptyAsAbsent = (text: string | undefined): string | undefined =>
  text === '' ? undefined : text;

/** TBMQ's key of a credential. Not injective: `a|b` + `c` and `a` + `b|c` share one. */
export function credentialsIdOf({ username, clientId }: CredentialMatch): string {
  if (username === undefined) return `client_id|${clientId ?? ''}`;
  if (clientId === undefined) return `username|${username}`;
  return `mixed|${username}|${clientId}`;
}

/** A name for a credential that came without one: its key, which is unique, shortened where it is too long. */
export function generatedName(match: CredentialMatch): string {
  const key = credentialsIdOf(match);
  if (utf8Bytes(key) <= NAME_BYTES_MAX) return key;
  const digest = createHash('sha256').update(key).digest('hex');
  return `${key.slice(0, key.indexOf('|'))}|sha256:${digest}`;
}

/** One pattern serves both directions; none lets everything through. */
export function accessOf(pattern: string | null): AccessSpec {
  if (pattern === null) return { kind: 'unrestricted' };
  return { kind: 'patterns', publish: [pattern], subscribe: [pattern] };
}

/**
 * Stands for an access spec that one pattern cannot say; it matches nothing. A client that posts it back unchanged leaves
 * the spec alone, so that a round trip never widens what a native administrator has set.
 */
export const UNSPEAKABLE_PATTERN = '[^\\s\\S]';

export function patternOf(access: AccessSpec): string | null {
  if (access.kind === 'unrestricted') return null;
  if (access.kind !== 'patterns') return UNSPEAKABLE_PATTERN;
  const [publish, ...more] = access.publish;
  const [subscribe, ...others] = access.subscribe;
  const one = more.length === 0 && others.length === 0 && publish === subscribe;
  return one && publish !== undefined ? publish : UNSPEAKABLE_PATTERN;
}

/** The object of era S. Never with a hash: `password` is null, and null on the way in leaves the password alone. */
export function credentialView(credential: Credential): Record<string, unknown> {
  const { match } = credential;
  return {
    id: credential.id,
    createdTime: credential.createdAt,
    clientId: match.clientId ?? null,
    credentialsId: credentialsIdOf(match),
    credentialsType: 'MQTT_BASIC',
    credentialsValue: JSON.stringify({
      userName: match.username ?? null,
      password: null,
      authorizationRulePattern: patternOf(credential.access),
    }),
  };
}

const TAKEN: ReadonlySet<string> = new Set([
  'credential_exists',
  'credential_name_taken',
  'credential_match_taken',
]);

/** What the domain refuses, in TBMQ's words; undefined when TBMQ has none for it. */
export function refusalOf(rejection: Rejection, isUpdate: boolean): TbmqRefusedError | undefined {
  const { code, problems } = rejection;
  if (TAKEN.has(code)) {
    const whose = isUpdate ? 'New' : 'Such';
    return badRequest(`${whose} MQTT Client credentials are already created!`);
  }
  if (code === 'credential_not_found') {
    return badRequest('Unable to update non-existent MQTT Client credentials!');
  }
  if (problems?.some((one) => one.pointer.startsWith('/access/')) === true) {
    return badRequest('Authorization rule pattern should be a valid regex!');
  }
  return undefined;
}
