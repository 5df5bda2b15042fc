export { plainDecision, type PlainQuestion, plainSubscribe } from './testing/brute-force.ts';
export { compareRandomPolicy, Dice, type Difference } from './testing/random-policies.ts';
