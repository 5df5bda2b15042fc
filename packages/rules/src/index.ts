export type {
  Action,
  AuthoritySpec,
  Decision,
  Facts,
  Matcher,
  PolicySpec,
  RuleSpec,
  SubscribeDecision,
} from './policy-spec.ts';
