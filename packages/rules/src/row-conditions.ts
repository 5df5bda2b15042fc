import {
  type AclRule,
  type AclTable,
  aclTargetKey,
  addressOfPeer,
  type IpAddress,
  parseIpAddress,
  parseIpNetwork,
  startOf,
} from '@sallyport/domain';
import { OperationalError } from '@sallyport/errors';
import { type KeywordPattern, parseKeywordPattern } from '@sallyport/topic';
import { DEFAULT_ZONE, type Facts } from './policy-spec.ts';

/** A connection, with its address in the form in which it is compared; undefined when it is not known. */
interface Caller {
  readonly facts: Facts;
  readonly address: IpAddress | undefined;
}

type RowTest = (caller: Caller) => boolean;

/** What the rows of a table ask of a connection. */
interface TableTests {
  /** One for each row, in order; undefined for a row that asks nothing. */
  readonly ofRows: readonly (RowTest | undefined)[];
  /** Whether some row asks where the connection comes from. */
  readonly address: boolean;
}

/** Of tables without such rows it is remembered that they have none. */
const known = new WeakMap<AclTable, TableTests | 'none'>();

/** The rows of a table that are for this connection, in order. */
export function rowsFor(table: AclTable, facts: Facts): readonly AclRule[] {
  const tests = testsOf(table);
  if (tests === 'none') return table.rules;
  const caller = callerOf(tests, facts);
  return table.rules.filter((_, index) => tests.ofRows[index]?.(caller) !== false);
}

/**
 * A text that is the same for all connections that have the same rows of a table: which of the conditional ones are theirs. Empty
 * for a table that asks nothing. O(conditional rows × length of the names).
 */
export function rowsKey(table: AclTable | undefined, facts: Facts): string {
  const tests = table === undefined ? 'none' : testsOf(table);
  if (tests === 'none') return '';
  const caller = callerOf(tests, facts);
  return tests.ofRows.map((test) => (test === undefined ? '' : test(caller) ? '1' : '0')).join('');
}

/** Whether the rows of a table depend on the address that a connection comes from. */
export function asksForAddress(table: AclTable | undefined): boolean {
  const tests = table === undefined ? 'none' : testsOf(table);
  return tests !== 'none' && tests.address;
}

function testsOf(table: AclTable): TableTests | 'none' {
  let tests = known.get(table);
  if (tests === undefined) known.set(table, (tests = compile(table)));
  return tests;
}

function compile(table: AclTable): TableTests | 'none' {
  const ofRows = table.rules.map((row) => testOf(row, `acl:${aclTargetKey(table.target)}`));
  if (ofRows.every((one) => one === undefined)) return 'none';
  return { ofRows, address: table.rules.some(({ source }) => source !== undefined) };
}

function callerOf({ address }: TableTests, facts: Facts): Caller {
  const text = address && facts.peer !== undefined ? addressOfPeer(facts.peer) : undefined;
  return { facts, address: text === undefined ? undefined : parseIpAddress(text) };
}

/** All that a row asks must hold. @throws OperationalError `policy_invalid` for what cannot be understood */
function testOf(row: AclRule, table: string): RowTest | undefined {
  const { source, listener, zone, effect } = row;
  const refuse = (problem: string): OperationalError =>
    new OperationalError('policy_invalid', `rule ${table}/${row.ruleId}: ${problem}`);
  const tests: RowTest[] = [];
  if (listener !== undefined) tests.push(({ facts }) => facts.listener === listener);
  if (zone !== undefined) tests.push(({ facts }) => zoneOf(facts) === zone);
  if (source !== undefined) tests.push(sourceTest(source, effect, refuse));
  for (const [name, textOf] of SEARCHED) {
    const wanted = row[name];
    if (wanted === undefined) continue;
    const pattern = patternOf(wanted, refuse);
    tests.push(({ facts }) => {
      const text = textOf(facts);
      return text !== undefined && pattern.find(text);
    });
  }
  return tests.length === 0 ? undefined : (caller) => tests.every((test) => test(caller));
}

const zoneOf = ({ zone = DEFAULT_ZONE }: Facts): string => zone;

/** What the regular expressions of a row are searched in. */
const SEARCHED: readonly (readonly [
  'clientIdPattern' | 'usernamePattern' | 'listenerPattern' | 'zonePattern',
  (facts: Facts) => string | undefined,
])[] = [
  ['clientIdPattern', ({ clientId }) => clientId],
  ['usernamePattern', ({ username }) => username],
  ['listenerPattern', ({ listener }) => listener],
  ['zonePattern', zoneOf],
];

function patternOf(source: string, refuse: (problem: string) => Error): KeywordPattern {
  const parsed = parseKeywordPattern(source);
  if (!parsed.ok) throw refuse(`the pattern ${parsed.problem}`);
  return parsed.value;
}

/** Of an address that is not known a deny row holds and an allow row does not. */
function sourceTest(
  source: string,
  effect: AclRule['effect'],
  refuse: (problem: string) => Error,
): RowTest {
  const network = source.includes('/') ? parseIpNetwork(source) : hostOf(source);
  if (network === undefined) throw refuse('the source is no address');
  const { bits, prefix, value } = network;
  return ({ address }) => {
    if (address === undefined) return effect === 'deny';
    return address.bits === bits && startOf(address, prefix) === value;
  };
}

function hostOf(source: string): ReturnType<typeof parseIpNetwork> {
  const address = parseIpAddress(source);
  return address && { ...address, prefix: address.bits };
}
