/** What each protocol says for one error code. `connack` and `suback` are names, mapped to bytes where packets are made. */
export interface ErrorFacts {
  readonly http: number;
  readonly grpc: GrpcCode;
  readonly connack:
    | 'none'
    | 'bad_credentials'
    | 'not_authorized'
    | 'server_unavailable'
    | 'server_busy'
    | 'identifier_rejected';
  /** Whether the same request may succeed later, unchanged. */
  readonly retryable: boolean;
  /** The one sentence that describes the kind of problem; the `title` of an RFC 9457 problem. */
  readonly title: string;
}

export type GrpcCode =
  | 'INVALID_ARGUMENT'
  | 'NOT_FOUND'
  | 'ALREADY_EXISTS'
  | 'PERMISSION_DENIED'
  | 'UNAUTHENTICATED'
  | 'FAILED_PRECONDITION'
  | 'RESOURCE_EXHAUSTED'
  | 'ABORTED'
  | 'UNAVAILABLE'
  | 'DEADLINE_EXCEEDED'
  | 'INTERNAL';

const facts = (
  http: number,
  grpc: GrpcCode,
  title: string,
  more: Partial<Pick<ErrorFacts, 'connack' | 'retryable'>> = {},
): ErrorFacts => ({ http, grpc, title, connack: 'none', retryable: false, ...more });

/** Every error code of the system, and what each protocol says for it. */
export const errorFacts = {
  // Requests
  invalid_request: facts(400, 'INVALID_ARGUMENT', 'The request is not valid'),
  malformed_body: facts(400, 'INVALID_ARGUMENT', 'The body cannot be read'),
  body_too_large: facts(413, 'INVALID_ARGUMENT', 'The body is too large'),
  unsupported_media_type: facts(415, 'INVALID_ARGUMENT', 'The media type is not supported'),
  route_not_found: facts(404, 'NOT_FOUND', 'There is nothing at this address'),
  method_not_allowed: facts(405, 'INVALID_ARGUMENT', 'The method is not allowed here'),
  precondition_failed: facts(412, 'ABORTED', 'The object has changed since it was read'),
  precondition_required: facts(428, 'ABORTED', 'An If-Match header is needed'),
  idempotency_key_reused: facts(
    422,
    'INVALID_ARGUMENT',
    'The idempotency key was used for another request',
  ),
  rate_limited: facts(429, 'RESOURCE_EXHAUSTED', 'Too many requests', { retryable: true }),

  // Who asks
  unauthenticated: facts(401, 'UNAUTHENTICATED', 'Proof of identity is missing or not valid'),
  token_expired: facts(401, 'UNAUTHENTICATED', 'The token has expired'),
  login_failed: facts(401, 'UNAUTHENTICATED', 'The name or the password is wrong'),
  login_locked: facts(429, 'RESOURCE_EXHAUSTED', 'Too many failed logins; try again later', {
    retryable: true,
  }),
  forbidden: facts(403, 'PERMISSION_DENIED', 'The operator may not do this'),

  // Credentials
  credential_not_found: facts(404, 'NOT_FOUND', 'There is no such credential'),
  credential_exists: facts(409, 'ALREADY_EXISTS', 'The credential exists already'),
  credential_name_taken: facts(409, 'ALREADY_EXISTS', 'Another credential has this name'),
  credential_match_taken: facts(
    409,
    'ALREADY_EXISTS',
    'Another credential of this store matches the same client',
  ),
  credential_invalid: facts(422, 'INVALID_ARGUMENT', 'The credential is not valid'),
  secret_not_found: facts(404, 'NOT_FOUND', 'There is no such secret'),
  too_many_credential_patterns: facts(
    409,
    'FAILED_PRECONDITION',
    'There are as many credentials that match by a pattern as there may be',
  ),
  too_many_tokens: facts(409, 'FAILED_PRECONDITION', 'A credential has as many tokens as it may'),
  token_not_found: facts(404, 'NOT_FOUND', 'The credential has no such token'),
  too_many_secrets: facts(409, 'FAILED_PRECONDITION', 'A credential has at most two live secrets'),

  // Rules and settings
  acl_rule_not_found: facts(404, 'NOT_FOUND', 'There is no such rule'),
  acl_rule_exists: facts(409, 'ALREADY_EXISTS', 'A rule with this id exists already'),
  acl_rule_invalid: facts(422, 'INVALID_ARGUMENT', 'The rule is not valid'),
  pattern_invalid: facts(400, 'INVALID_ARGUMENT', 'The regular expression is not valid'),
  acl_table_not_found: facts(404, 'NOT_FOUND', 'There are no rules for this target'),
  too_many_acl_rules: facts(422, 'FAILED_PRECONDITION', 'The rule list is full'),
  setting_invalid: facts(422, 'INVALID_ARGUMENT', 'The setting is not valid'),

  // Certificates of listeners
  trust_not_found: facts(404, 'NOT_FOUND', 'The listener has no certificates of its own'),
  trust_invalid: facts(422, 'INVALID_ARGUMENT', 'The certificates are not valid'),
  // Roles
  role_not_found: facts(404, 'NOT_FOUND', 'There is no such role'),
  role_exists: facts(409, 'ALREADY_EXISTS', 'A role with this id exists already'),
  role_name_taken: facts(409, 'ALREADY_EXISTS', 'Another role has this name'),
  role_invalid: facts(422, 'INVALID_ARGUMENT', 'The role is not valid'),
  role_built_in: facts(409, 'FAILED_PRECONDITION', 'A built-in role is not changed or removed'),
  role_in_use: facts(409, 'FAILED_PRECONDITION', 'Credentials have the role'),
  permission_not_found: facts(404, 'NOT_FOUND', 'There is no such permission'),
  permission_exists: facts(409, 'ALREADY_EXISTS', 'A permission with this id exists already'),
  too_many_permissions: facts(
    422,
    'FAILED_PRECONDITION',
    'The role has no room for another permission',
  ),
  // Groups
  group_not_found: facts(404, 'NOT_FOUND', 'There is no such group'),
  group_exists: facts(409, 'ALREADY_EXISTS', 'The group exists already'),
  group_name_taken: facts(409, 'ALREADY_EXISTS', 'Another group has this name'),
  group_invalid: facts(422, 'INVALID_ARGUMENT', 'The group is not valid'),
  too_many_groups: facts(422, 'FAILED_PRECONDITION', 'There are as many groups as there may be'),
  group_rule_invalid: facts(422, 'INVALID_ARGUMENT', 'The group rules are not valid'),
  too_many_group_rules: facts(422, 'FAILED_PRECONDITION', 'There are too many group rules'),

  // Dynamic security: its roles and groups
  dynsec_not_found: facts(404, 'NOT_FOUND', 'There is no such object of dynamic security'),
  dynsec_exists: facts(409, 'ALREADY_EXISTS', 'The object of dynamic security exists already'),
  dynsec_name_taken: facts(
    409,
    'ALREADY_EXISTS',
    'Another object of dynamic security of this kind has this name',
  ),
  dynsec_invalid: facts(422, 'INVALID_ARGUMENT', 'The object of dynamic security is not valid'),
  dynsec_in_use: facts(
    409,
    'FAILED_PRECONDITION',
    'Something names the object of dynamic security',
  ),
  too_many_dynsec_objects: facts(
    422,
    'FAILED_PRECONDITION',
    'There are as many objects of dynamic security as there may be',
  ),

  // Chains of authenticators
  auth_chain_invalid: facts(422, 'INVALID_ARGUMENT', 'The chain of authenticators is not valid'),
  too_many_auth_chains: facts(
    422,
    'FAILED_PRECONDITION',
    'There are as many chains as there may be',
  ),
  authenticator_not_found: facts(404, 'NOT_FOUND', 'There is no such authenticator'),
  authenticator_has_users: facts(409, 'FAILED_PRECONDITION', 'The authenticator has users'),

  // Operators
  operator_not_found: facts(404, 'NOT_FOUND', 'There is no such operator'),
  operator_exists: facts(409, 'ALREADY_EXISTS', 'An operator with this name exists already'),
  operator_invalid: facts(422, 'INVALID_ARGUMENT', 'The operator is not valid'),
  last_administrator: facts(
    409,
    'FAILED_PRECONDITION',
    'The last enabled administrator cannot be removed',
  ),
  already_bootstrapped: facts(409, 'FAILED_PRECONDITION', 'An operator exists already'),
  api_key_not_found: facts(404, 'NOT_FOUND', 'There is no such API key'),
  api_key_exists: facts(409, 'ALREADY_EXISTS', 'An API key with this id or name exists already'),
  api_key_invalid: facts(422, 'INVALID_ARGUMENT', 'The API key is not valid'),

  // Bans
  ban_not_found: facts(404, 'NOT_FOUND', 'There is no such ban'),
  ban_exists: facts(409, 'ALREADY_EXISTS', 'A ban with this id exists already'),
  ban_invalid: facts(422, 'INVALID_ARGUMENT', 'The ban is not valid'),
  too_many_bans: facts(409, 'FAILED_PRECONDITION', 'There are as many bans as there may be'),
  // Registration
  registration_not_found: facts(404, 'NOT_FOUND', 'There is no such request'),
  registration_invalid: facts(400, 'INVALID_ARGUMENT', 'The registration is not valid'),
  registration_unsigned: facts(
    409,
    'FAILED_PRECONDITION',
    'What is asked to be signed cannot be signed now',
  ),
  registration_locked: facts(423, 'FAILED_PRECONDITION', 'Nobody may register now'),
  registration_conflict: facts(409, 'ALREADY_EXISTS', 'The user name belongs to somebody else'),
  registration_denied: facts(403, 'PERMISSION_DENIED', 'The registration was denied'),
  too_many_registrations: facts(429, 'RESOURCE_EXHAUSTED', 'Too many requests wait already', {
    retryable: true,
  }),
  // Certificates that were made here
  certificate_not_found: facts(404, 'NOT_FOUND', 'There is no such certificate'),
  certificate_revoked: facts(409, 'FAILED_PRECONDITION', 'The certificate is revoked'),
  certificate_not_renewable: facts(
    409,
    'FAILED_PRECONDITION',
    'No certificate takes the place of this one now',
  ),
  certificate_unproven: facts(403, 'PERMISSION_DENIED', 'The certificate was not proven'),
  // Bulk work
  import_not_found: facts(404, 'NOT_FOUND', 'There is no such import'),
  import_moved: facts(409, 'ABORTED', 'Another request goes on with this import'),
  too_many_rows: facts(413, 'INVALID_ARGUMENT', 'There are too many rows'),
  too_many_imports: facts(429, 'RESOURCE_EXHAUSTED', 'Too many imports are running', {
    retryable: true,
  }),

  // Connections
  connection_not_found: facts(404, 'NOT_FOUND', 'Nobody is connected under this client id'),

  // Devices
  device_not_authenticated: facts(401, 'UNAUTHENTICATED', 'The client could not be authenticated', {
    connack: 'not_authorized',
  }),
  device_not_authorized: facts(403, 'PERMISSION_DENIED', 'The client may not do this', {
    connack: 'not_authorized',
  }),
  hash_pool_full: facts(503, 'RESOURCE_EXHAUSTED', 'Too many secrets are being verified', {
    connack: 'server_busy',
    retryable: true,
  }),
  policy_not_ready: facts(503, 'UNAVAILABLE', 'The policy is not known at this revision yet', {
    connack: 'server_unavailable',
    retryable: true,
  }),
  policy_invalid: facts(503, 'FAILED_PRECONDITION', 'The policy cannot be compiled', {
    connack: 'server_unavailable',
  }),

  // The world
  log_conflict: facts(409, 'ABORTED', 'Too many changes at the same time', { retryable: true }),
  log_unavailable: facts(503, 'UNAVAILABLE', 'The event log cannot be reached', {
    connack: 'server_unavailable',
    retryable: true,
  }),
  log_full: facts(507, 'RESOURCE_EXHAUSTED', 'The event log has no space left'),
  log_truncated: facts(503, 'FAILED_PRECONDITION', 'The event log ends before a known revision'),
  log_diverged: facts(503, 'FAILED_PRECONDITION', 'The event log differs from what was read'),
  log_unreadable: facts(
    503,
    'FAILED_PRECONDITION',
    'A record of the event log cannot be understood',
  ),
  commit_too_large: facts(413, 'INVALID_ARGUMENT', 'The change is too large for one commit'),
  read_model_unavailable: facts(503, 'UNAVAILABLE', 'The read model cannot be used', {
    retryable: true,
  }),
  sealing_key_mismatch: facts(503, 'FAILED_PRECONDITION', 'A secret is sealed under another key'),
  message_bus_unavailable: facts(503, 'UNAVAILABLE', 'The message bus cannot be reached', {
    connack: 'server_unavailable',
    retryable: true,
  }),
  session_store_unavailable: facts(503, 'UNAVAILABLE', 'The session store cannot be reached', {
    connack: 'server_unavailable',
    retryable: true,
  }),
  node_registry_unavailable: facts(503, 'UNAVAILABLE', 'The node registry cannot be reached', {
    retryable: true,
  }),
  node_silent: facts(503, 'UNAVAILABLE', 'A broker node does not answer', { retryable: true }),
  config_invalid: facts(500, 'FAILED_PRECONDITION', 'The configuration is not valid'),
  internal: facts(500, 'INTERNAL', 'Something went wrong on our side'),
} as const satisfies Record<string, ErrorFacts>;

export type ErrorCode = keyof typeof errorFacts;
