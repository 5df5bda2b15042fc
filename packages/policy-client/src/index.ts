export { decidingFacts } from './deciding-facts.ts';
export {
  type EnhancedExchange,
  type EnhancedStep,
  startEnhancedAuthentication,
} from './enhanced-exchange.ts';
export {
  type AdmittedAnswer,
  type AuthenticateAnswer,
  type AuthenticateRequest,
  type BansAnswer,
  type ExplainAnswer,
  type ExplainRequest,
  type ListenerTrust,
  type ListenerTrustAnswer,
  type PolicyClient,
  type PolicyStatus,
  type Principal,
  type RefusalReason,
  type RefusedAnswer,
  RESOLVE_PRINCIPALS_MAX,
  type ResolveAnswer,
  type Resolved,
  type ResolveRequest,
  SCRAM_EXCHANGE_ID_BYTES,
  SCRAM_MESSAGE_BYTES_MAX,
  type ScramFinalAnswer,
  type ScramFinalRequest,
  type ScramFirstAnswer,
  type ScramFirstRequest,
  type ScramRequest,
} from './policy-client.ts';
export {
  type Admission,
  type Admitted,
  COMPILED_POLICIES_MAX,
  type ConnectProof,
  DROPPED_AT_ONCE_MAX,
  PolicyCache,
  type ScramChallenge,
  type ScramStep,
  VERIFIED_ENTRIES_MAX,
} from './policy-cache.ts';
export { RECENT_COMMITS_MAX, RecentChanges } from './recent-changes.ts';
