export {
  type AuthenticateAnswer,
  type AuthenticateRequest,
  type ExplainAnswer,
  type ExplainRequest,
  type PolicyClient,
  type PolicyStatus,
  type Principal,
  type RefusalReason,
  RESOLVE_PRINCIPALS_MAX,
  type ResolveAnswer,
  type Resolved,
  type ResolveRequest,
} from './policy-client.ts';
export {
  type Admission,
  type Admitted,
  COMPILED_POLICIES_MAX,
  type ConnectProof,
  PolicyCache,
  VERIFIED_ENTRIES_MAX,
} from './policy-cache.ts';
export { RECENT_COMMITS_MAX, RecentChanges } from './recent-changes.ts';
