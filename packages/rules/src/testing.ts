export { plainDecision, type PlainQuestion, plainSubscribe } from './testing/brute-force.ts';
export { compareRandomPolicy, Dice, type Difference } from './testing/random-policies.ts';
export { compareRandomWorld, judgeWorld, type WorldDifference } from './testing/compare-worlds.ts';
export { askedFilter, randomWorld, WORLD_TOPICS } from './testing/random-worlds.ts';
export {
  decideMessage,
  decideSubscribe,
  filterMatches,
  type RandomWorld,
} from './testing/world-oracle.ts';
export {
  compareRandomConnectionLint,
  compareRandomLint,
  compareRandomWorldLint,
  type LintDifference,
} from './testing/compare-lint.ts';
