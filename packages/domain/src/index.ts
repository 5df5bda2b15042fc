export {
  ACL_PATTERNS_MAX,
  ACL_RULES_MAX,
  type AclRule,
  type AclTable,
  type AclTableCommand,
  type AclTableEvent,
  type AclTarget,
  aclTargetKey,
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
export { type BanFacts, BanIndex, type BanRule } from './ban-index.ts';
export type {
  Actor,
  ApplyNow,
  Commit,
  Decided,
  DomainEvent,
  EventContext,
  NewCommit,
  Revision,
} from './commit.ts';
export {
  type AccessSpec,
  ATTRIBUTES_MAX,
  type Credential,
  type CredentialCommand,
  type CredentialEvent,
  type CredentialFields,
  type CredentialMatch,
  evolveCredential,
  isLive,
  LIVE_SECRETS_MAX,
  loginKey,
  loginKeysOf,
  type NewCredential,
  PATTERN_BYTES_MAX,
  PATTERNS_MAX,
  type Secret,
  type Store,
  STORES,
  type TakenIdentities,
} from './credential.ts';
export {
  aclTag,
  affects,
  authChainTagsOf,
  type Command,
  credentialTag,
  decide,
  decideOn,
  type DecisionReads,
  GROUP_RULES_TAG,
  groupTag,
  isLoginTag,
  loginTag,
  roleTag,
  type PlannedCommand,
  scopeOf,
  SETTINGS_TAG,
  TRUST_TAG,
  type StreamId,
  streamOf,
} from './domain.ts';
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
  PBKDF2_WORK_MAX,
  type Pbkdf2Digest,
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
export { MemoryState } from './memory-state.ts';
export {
  type ApiKey,
  type ApiKeyEvent,
  evolveApiKey,
  evolveOperator,
  type Operator,
  OPERATOR_ROLES,
  type OperatorCommand,
  type OperatorEvent,
  type OperatorOnlyEvent,
  type OperatorRole,
} from './operator.ts';
export {
  type Permission,
  PERMISSION_CONTEXTS,
  PERMISSION_ID_BYTES_MAX,
  PERMISSION_OPERATIONS,
  PERMISSIONS_MAX,
} from './permission.ts';
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
export { parsePlaceholder, type Placeholder, PLACEHOLDERS } from './placeholder.ts';
export { Overlay } from './overlay.ts';
export { saslprep } from './saslprep.ts';
export { SCRAM_MECHANISMS, type ScramKeys, type ScramMechanism } from './scram.ts';
export {
  DEFAULT_SETTINGS,
  evolveSettings,
  type SettingCommand,
  type SettingEvent,
  type Settings,
  type SettingValues,
} from './setting.ts';
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
export { decodeCommit, encodeCommit, RECORD_VERSION } from './upcast.ts';
export { type CertificateIdentity, isFingerprint, mayName } from './certificate.ts';
export {
  type CertificateMapping,
  COMMON_NAME_PLACEHOLDER,
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
