import type { ErrorCode } from './error-facts.ts';

/** One thing that is wrong in the input. */
export interface FieldProblem {
  /** JSON pointer into the input, such as `/rules/3/topicFilter`; empty for the whole. */
  readonly pointer: string;
  /** What is wrong, and what would be right; never contains a secret. */
  readonly detail: string;
}

/** The domain says no: a value, never thrown. */
export interface Rejection {
  readonly code: ErrorCode;
  /** What a person needs to know beyond the title of the code. */
  readonly detail?: string;
  readonly problems?: readonly FieldProblem[];
  /** Which of the commands that were to take effect together is refused, from 0. */
  readonly commandIndex?: number;
}
