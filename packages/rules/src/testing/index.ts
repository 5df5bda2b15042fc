export { plainDecision, type PlainQuestion, plainSubscribe } from './brute-force.ts';
export { compareRandomPolicy, Dice, type Difference } from './random-policies.ts';
