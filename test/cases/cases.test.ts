import { expect, test } from 'vitest';
import { type FiledCase, leftOut, loadDecisionCases } from './load.ts';

const cases = loadDecisionCases();

/** How many cases each reason leaves out of a way. */
function counted(way: 'grpc' | 'mqtt'): Readonly<Record<string, number>> {
  const found: Record<string, number> = {};
  const reasons = cases.map((one) => leftOut(one, way)).filter((one) => one !== undefined);
  for (const reason of reasons) found[reason] = (found[reason] ?? 0) + 1;
  return found;
}

const REFUSED_WHEN_WRITTEN = {
  'a credential names roles that are there': 1,
  'a new rule names a group; one that has lost its groups stays': 1,
  'an attribute with U+0000 is refused when it is written': 2,
  'rules name credentials that are there': 1,
};

/** A new reason, or one case more for an old one, is a decision that is made here and not in passing. */
test('no case is left out of a way but for these reasons', () => {
  expect(counted('grpc')).toEqual(REFUSED_WHEN_WRITTEN);
  expect(counted('mqtt')).toEqual({
    ...REFUSED_WHEN_WRITTEN,
    'a CONNECT with U+0000 in a name is malformed, and closed before anything is asked': 4,
    'a certificate with U+0000 in its name ends the handshake': 2,
    'every connection has an address': 1,
    'a topic with a control character is malformed': 1,
  });
});

test('a delivery of a reserved topic is the only thing that no client sees', () => {
  const unseen = ({ expectations }: FiledCase) =>
    expectations.filter(({ action, topic }) => action === 'receive' && topic.startsWith('$'));
  const asked = cases.filter((one) => leftOut(one, 'mqtt') === undefined);
  expect(asked.flatMap(unseen)).toHaveLength(23);
});
