import type { Static } from 'typebox';
import { createChecker } from '../http/validation.ts';
import type { CommandInputs } from '../http/write.ts';
import { aclRow, sentTarget } from '../routes/acl/schema.ts';
import {
  type Existing,
  type PreparedRow,
  preparedInTurns,
  preparedRow,
  type RowPreparer,
} from './prepared-row.ts';
import type { RawRow } from './raw-rows.ts';

const check = createChecker(aclRow);

/** Makes rules of rows, one each, behind those that their target has. */
export class AclRows implements RowPreparer {
  readonly #existing: Existing;

  constructor(existing: Existing) {
    this.#existing = existing;
  }

  prepareAll(raw: readonly RawRow[], inputs: CommandInputs): Promise<readonly PreparedRow[]> {
    return preparedInTurns(raw, (one) => this.#prepare(one, inputs));
  }

  #prepare(raw: RawRow, inputs: CommandInputs): PreparedRow | Promise<PreparedRow> {
    return preparedRow<Static<typeof aclRow>>(raw, check, ({ target, ruleId, ...rule }) => {
      const data = {
        target: sentTarget(target),
        rule: { ...rule, ruleId: ruleId ?? inputs.id('rule') },
        existing: this.#existing,
      };
      return { row: { command: { type: 'AddAclRule', data } } };
    });
  }
}
