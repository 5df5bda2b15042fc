export { assert, AssertionError, unreachable } from './assert.ts';
export { type ErrorCode, type ErrorFacts, errorFacts, type GrpcCode } from './error-facts.ts';
export { isOperational, OperationalError } from './operational-error.ts';
export type { FieldProblem, Rejection } from './rejection.ts';
