export {
  ACL_PATTERNS_MAX,
  ACL_RULES_MAX,
  type AclRule,
  type AclTable,
  type AclTableCommand,
  type AclTableEvent,
  type AclTarget,
  aclTargetKey,
  CONNECTION_CONDITIONS,
  type ConnectionCondition,
  evolveAclTable,
  presentRule,
  type RuleQos,
} from './acl-table.ts';
export {
  AUTH_CHAINS_MAX,
  type AuthChain,
  type AuthChainCommand,
  type AuthChainEvent,
  type AuthChainFields,
  type Authenticator,
  AUTHENTICATOR_BACKENDS,
  AUTHENTICATOR_MATCHES,
  saysSomething,
  AUTHENTICATOR_MECHANISMS,
  AUTHENTICATOR_USERS_REMOVED_MAX,
  authenticatorId,
  authenticatorOf,
  AUTHENTICATORS_MAX,
  chainInForce,
  evolveAuthChain,
  GLOBAL_SCOPE,
  isChainScope,
  listenerScope,
} from './auth-chain.ts';
export { looksAt } from './chain-checks.ts';
export {
  AUTHENTICATOR_IDS,
  type AuthenticatorId,
  type ChainMember,
  DEFAULT_MEMBER,
  memberKey,
  memberOf,
  realmOf,
  storedMember,
} from './chain-member.ts';
export {
  type ChainPosition,
  moveAuthenticator,
  orderAuthenticators,
  parseChainPosition,
} from './chain-order.ts';
export {
  type Ban,
  BAN_KINDS,
  BAN_PATTERN_KINDS,
  BAN_PATTERNS_MAX,
  BAN_REASON_BYTES_MAX,
  type BanCommand,
  type BanEvent,
  type BanFields,
  type BanKind,
  BANS_MAX,
  banTag,
  canonicalBanValue,
  evolveBan,
  isOver,
} from './ban.ts';
export { APPLY_MODES, type ApplyMode, applyModeOf, outlivesCredential } from './apply-mode.ts';
export { type BanFacts, BanIndex, type BanRule } from './ban-index.ts';
export type {
  Actor,
  Commit,
  Decided,
  DomainEvent,
  EventContext,
  NewCommit,
  Revision,
} from './commit.ts';
export {
  type AccessSpec,
  addedCredential,
  addedTexts,
  ATTRIBUTES_MAX,
  CREDENTIAL_NAME_BYTES_MAX,
  CREDENTIAL_SESSIONS_MAX,
  type Credential,
  type CredentialEvent,
  type CredentialFields,
  type CredentialMatch,
  evolveCredential,
  isLive,
  LIVE_SECRETS_MAX,
  namesOwnClientId,
  type NewCredential,
  PATTERN_BYTES_MAX,
  PATTERNS_MAX,
  refusesClientId,
  type Secret,
  type Store,
  STORES,
} from './credential.ts';
export {
  carriesMatch,
  loginKey,
  loginKeysOf,
  loginKeysOfUsername,
  PATTERN_KEY_PREFIX,
  scramKeysOf,
  scramNameOf,
} from './login-keys.ts';
export type { CredentialCommand, TakenIdentities } from './decide-credential.ts';
export { type CredentialPart, credentialPartRevision } from './credential-parts.ts';
export { CREDENTIAL_TOKENS_MAX, type CredentialToken, liveTokens } from './credential-token.ts';
export {
  aclTag,
  affects,
  authChainTagsOf,
  certificateTag,
  credentialTag,
  dynsecTag,
  dynsecTagsOf,
  GROUP_RULES_TAG,
  groupTag,
  isLoginTag,
  isOfAdding,
  isProofTag,
  isTagOfAdded,
  loginTag,
  PATTERNS_TAG,
  roleTag,
  SETTINGS_TAG,
  TRUST_TAG,
} from './cache-tags.ts';
export {
  type Command,
  decide,
  decideOn,
  type DecisionReads,
  type PlannedCommand,
} from './domain.ts';
export { scopeOf } from './scope.ts';
export { type StreamId, streamOf } from './streams.ts';
export {
  addressOfPeer,
  formatIpAddress,
  formatIpNetwork,
  type IpAddress,
  type IpNetwork,
  parseIpAddress,
  parseIpNetwork,
  startOf,
} from './ip-address.ts';
export {
  decideImport,
  evolveImport,
  type Import,
  type ImportCommand,
  type ImportEvent,
  IMPORT_COMMIT_ROWS_MAX,
  IMPORT_MODES,
  type ImportMode,
  type ImportRow,
  type RowFailure,
  rowFailureOf,
  type RowNote,
} from './import.ts';
export {
  BCRYPT_ROUNDS_MAX,
  BCRYPT_ROUNDS_MIN,
  DEFAULT_HASH,
  DERIVED_KEY_BYTES_MAX,
  DIGEST_BYTES,
  type HashAlgorithm,
  PBKDF2_DIGESTS,
  PBKDF2_MD4_WORK_MAX,
  PBKDF2_WORK_MAX,
  type Pbkdf2Digest,
  pbkdf2IterationsMax,
  SALT_POSITIONS,
  type SaltPosition,
  SIMPLE_DIGESTS,
  type SimpleDigest,
} from './hash-algorithm.ts';
export { fingerprintText, parseFingerprint } from './fingerprint.ts';
export {
  evolveGroup,
  type Group,
  GROUP_DESCRIPTION_BYTES_MAX,
  GROUP_ROWS_BYTES_MAX,
  GROUP_ROWS_MAX,
  type GroupCommand,
  type GroupEvent,
  type GroupFields,
  type GroupPermission,
  GROUPS_MAX,
  type NewGroup,
} from './group.ts';
export {
  CONNECTION_GROUPS_MAX,
  evolveGroupRules,
  GROUP_MATCHES,
  GROUP_RULES_BYTES_MAX,
  GROUP_RULES_MAX,
  type GroupRule,
  type GroupRules,
  type GroupRulesCommand,
  type GroupRulesEvent,
  NO_GROUP_RULES,
} from './group-rules.ts';
export {
  DYNSEC_GROUPS_HELD_MAX,
  DYNSEC_KINDS,
  DYNSEC_ROLES_HELD_MAX,
  type DynsecAccess,
  type DynsecGroupHeld,
  dynsecKey,
  type DynsecKind,
  dynsecNamedBy,
  type DynsecRoleHeld,
} from './dynsec/access.ts';
export {
  DYNSEC_ACL_TYPES,
  DYNSEC_ACLS_BYTES_MAX,
  DYNSEC_ACLS_MAX,
  DYNSEC_PRIORITY_DEFAULT,
  DYNSEC_PRIORITY_MAX,
  type DynsecAcl,
  type DynsecAclType,
  dynsecFilter,
  isLiteralAcl,
} from './dynsec/acl.ts';
export { DYNSEC_DEFAULTS, type DynsecDefaults } from './dynsec/defaults.ts';
export {
  DYNSEC_DESCRIPTION_BYTES_MAX,
  DYNSEC_OBJECTS_MAX,
  type DynsecCommand,
  type DynsecEvent,
  type DynsecGroup,
  type DynsecGroupFields,
  dynsecHeldBy,
  type DynsecObject,
  dynsecPartRevision,
  type DynsecPlace,
  type DynsecRole,
  type DynsecRoleFields,
  evolveDynsec,
  type NewDynsecGroup,
  type NewDynsecObject,
  type NewDynsecRole,
} from './dynsec/object.ts';
export { MemoryState } from './memory-state.ts';
export {
  type ApiKey,
  type ApiKeyEvent,
  evolveApiKey,
  evolveOperator,
  type Operator,
  API_KEY_DESCRIPTION_BYTES_MAX,
  API_KEY_ROLES,
  type ApiKeyRole,
  OPERATOR_ROLES,
  type OperatorCommand,
  type OperatorEvent,
  type OperatorOnlyEvent,
  type OperatorRole,
} from './operator.ts';
export {
  DEFAULT_PASSWORD_POLICY,
  failedPasswordRules,
  PASSWORD_RULE_MAX,
  PASSWORD_RULES,
  type PasswordPolicy,
  type PasswordRule,
  passwordRulesText,
  withLengthMin,
} from './password-policy.ts';
export {
  type Permission,
  PERMISSION_CONTEXTS,
  PERMISSION_ID_BYTES_MAX,
  PERMISSION_OPERATIONS,
  PERMISSIONS_MAX,
} from './permission.ts';
export {
  CLOSED_WINDOW,
  ENDED_REGISTRATIONS_REMOVED_MAX,
  evolveRegistration,
  evolveRegistrationWindow,
  isRegistrationOpen,
  liveRegistration,
  type PendingRegistration,
  pendingRegistrations,
  type Registration,
  REGISTRATION_ASKED_BYTES_MAX,
  REGISTRATION_ATTEMPTS_MAX,
  REGISTRATION_CONTEXT_ENTRIES_MAX,
  REGISTRATION_OPEN_MS_DEFAULT,
  REGISTRATION_OPEN_MS_MAX,
  REGISTRATION_OUTCOME_MS,
  REGISTRATION_PASSWORD_LENGTH_MIN,
  REGISTRATION_PENDING_MS,
  REGISTRATION_PERMISSIONS_MAX,
  REGISTRATION_SEEN_INTERVAL_MS,
  REGISTRATION_USERNAME_LENGTH_MIN,
  type RegistrationAsked,
  type RegistrationAttempt,
  type RegistrationCommand,
  type RegistrationEvent,
  type RegistrationReads,
  type RegistrationRequestEvent,
  REGISTRATIONS_OF_USERNAME_MAX,
  REGISTRATIONS_PENDING_MAX,
  REGISTRATIONS_SETTLED_MAX,
  type RegistrationWindow,
  type RegistrationWindowEvent,
} from './registration.ts';
export {
  evolveIssuedCertificate,
  isRevoked,
  type IssuedCertificate,
  type IssuedCertificateCommand,
  type IssuedCertificateEvent,
  type IssuedCertificateReads,
  type IssuedFields,
  type ListenerRevocations,
  renewableFrom,
  renewalProblem,
  RENEWALS_MAX,
  REVOCATION_REASON_BYTES_MAX,
} from './issued-certificate.ts';
export {
  DETACHED_CREDENTIALS_MAX,
  evolveRole,
  type NewRole,
  type Role,
  ROLE_ID_BYTES_MAX,
  type RoleCommand,
  type RoleEvent,
  type RoleFields,
  type RoleReads,
} from './role.ts';
export {
  CREDENTIAL_ROLES_MAX,
  PUBLISH_PREFIX_BYTES_MAX,
  type RolesAccess,
  rolesOf,
} from './roles-access.ts';
export {
  type FactPlaceholder,
  factsOf,
  parsePlaceholder,
  type Placeholder,
  PLACEHOLDERS,
} from './placeholder.ts';
export { Overlay } from './overlay.ts';
export { saslprep } from './saslprep.ts';
export { SCRAM_MECHANISMS, type ScramKeys, type ScramMechanism } from './scram.ts';
export {
  DEFAULT_SETTINGS,
  DENY_ACTIONS,
  type DenyAction,
  evolveSettings,
  FOREIGN_VALUE_BYTES_MAX,
  FOREIGN_VALUE_NAME_BYTES_MAX,
  FOREIGN_VALUES_BYTES_MAX,
  FOREIGN_VALUES_MAX,
  type SettingCommand,
  type SettingEvent,
  type Settings,
  type SettingValues,
  TBMQ_PROVIDERS,
  TBMQ_STRATEGIES,
  type TbmqProvider,
  type TbmqStrategy,
  UNSET_SETTINGS,
} from './setting.ts';
export { credentialOfText } from './known-text.ts';
export { NAME_BYTES_MAX } from './text.ts';
export {
  AUTHORITIES_BYTES_MAX,
  CLIENT_CERTIFICATE_MODES,
  type ClientCertificateMode,
  evolveTrust,
  REVOCATION_LISTS_BYTES_MAX,
  SERVER_CERTIFICATE_BYTES_MAX,
  SERVER_KEY_BYTES_MAX,
  TLS_LISTENERS,
  type TlsListener,
  type Trust,
  type TrustCommand,
  type TrustEvent,
  type TrustFields,
} from './trust.ts';
export { decodeCommit, encodeCommit, isKnownType, RECORD_VERSION } from './upcast.ts';
export { type CertificateIdentity, isFingerprint, mayName } from './certificate.ts';
export {
  byPatternOrder,
  matchesByPattern,
  nearestFirst,
  PARENT_PATTERNS_MAX,
} from './certificate-match.ts';
export {
  type CertificateMapping,
  mapCertificate,
  MAPPING_ENTRIES_MAX,
  MAPPING_PATTERNS_MAX,
  type MappedPattern,
  type MappedPatterns,
  type MappingEntry,
} from './certificate-mapping.ts';
export { type Grant, GRANT_METHODS, type GrantMethod, grantsOf, needsSecret } from './grants.ts';
export {
  type CredentialRehash,
  IMPORTED_ALGORITHMS,
  type ImportedAlgorithm,
  REHASH_SECRETS_MAX,
  type RehashCommand,
} from './rehash.ts';
export { isValidAt, type Validity } from './validity.ts';
export { unboundCertificate, unboundCertificateOf } from './unbound-certificate.ts';
export { type ClientIds, isLimited } from './client-ids.ts';
export { BUILT_IN_ROLES } from './built-in-roles.ts';
export {
  CLIENT_ID_PLACEHOLDER,
  COMMON_NAME_PLACEHOLDER,
  resolvedPattern,
} from './pattern-placeholder.ts';
