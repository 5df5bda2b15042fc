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
