import { unreachable } from '@sallyport/errors';
import { parseKeywordPattern } from '@sallyport/topic';
import { accept, type Decided, type EventContext, reject, type Revision } from './commit.ts';
import { formatIpAddress, formatIpNetwork, parseIpAddress, parseIpNetwork } from './ip-address.ts';
import { Problems } from './text.ts';

/** Most bans, those that have run out but were not cleaned yet included. */
export const BANS_MAX = 10_000;

/** Longest reason, in bytes of UTF-8. */
export const BAN_REASON_BYTES_MAX = 256;

/** Longest text of who banned, in bytes of UTF-8: a kind of actor and a name. */
export const BAN_BY_BYTES_MAX = 320;

/** Bans that have run out and are removed by one command. */
export const EXPIRED_BANS_REMOVED_MAX = 100;

/** Most bans by a regular expression, of all kinds together: each is searched at every CONNECT. */
export const BAN_PATTERNS_MAX = 100;

/** Kinds whose value is a regular expression that is searched in the name, or in the address in its one text. */
export const BAN_PATTERN_KINDS = [
  'client_id_pattern',
  'username_pattern',
  'address_pattern',
] as const;
export type BanPatternKind = (typeof BAN_PATTERN_KINDS)[number];

export const BAN_KINDS = [
  'client_id',
  'username',
  'address',
  'cidr',
  ...BAN_PATTERN_KINDS,
] as const;
export type BanKind = (typeof BAN_KINDS)[number];

export const isBanPattern = (kind: BanKind): kind is BanPatternKind =>
  (BAN_PATTERN_KINDS as readonly BanKind[]).includes(kind);

/** Somebody who may not connect, whatever credential they show. */
export interface Ban {
  readonly id: string;
  readonly kind: BanKind;
  /** A name or a regular expression as it is; an address or `address/prefix` in its one text (`canonicalBanValue`). */
  readonly value: string;
  readonly reason?: string;
  /** Who banned, as a text for people. */
  readonly by: string;
  /** Until when, in milliseconds since 1970; for good when absent. */
  readonly until?: number;
  /** When it was made as whoever made it says, in milliseconds since 1970; absent: at `createdAt`. For people: it holds all the same. */
  readonly bannedAt?: number;
  readonly createdAt: number;
  readonly createdRevision: Revision;
  readonly updatedAt: number;
  readonly updatedRevision: Revision;
}

/** What a ban says, without its history. */
export type BanFields = Pick<Ban, 'id' | 'kind' | 'value' | 'reason' | 'by' | 'until' | 'bannedAt'>;

/** `BanAdded` of a ban that is there replaces it, reason and end included. */
export type BanEvent =
  | { readonly type: 'BanAdded'; readonly data: BanFields }
  | {
      readonly type: 'BanRemoved';
      readonly data: Pick<Ban, 'id' | 'kind' | 'value'>;
    };

export function evolveBan(
  state: Ban | undefined,
  event: BanEvent,
  { at, revision }: EventContext,
): Ban | undefined {
  switch (event.type) {
    case 'BanAdded':
      return {
        ...event.data,
        createdAt: state?.createdAt ?? at,
        createdRevision: state?.createdRevision ?? revision,
        updatedAt: at,
        updatedRevision: revision,
      };
    case 'BanRemoved':
      return undefined;
    default:
      return unreachable(event);
  }
}

export interface BanReads {
  ban(id: string): Ban | undefined;
  banByValue(kind: BanKind, value: string): Ban | undefined;
  banCount(): number;
  /** Those by a regular expression. */
  banPatternCount(): number;
  /** Bans whose end is at `at` or before, the earliest first, at most `most`. */
  expiredBans(at: number, most: number): readonly Ban[];
}

export type BanCommand =
  | {
      /** A ban of the same kind and value is replaced, and keeps its id. */
      readonly type: 'AddBan';
      readonly data: BanFields & {
        /** Refused with `precondition_failed` unless last changed by this revision; 0 means that there is none. */
        readonly ifRevision?: Revision;
      };
    }
  | {
      readonly type: 'RemoveBan';
      readonly data: { readonly id: string; readonly ifRevision?: Revision };
    };

/** The one text of a value; undefined when it is none of its kind. */
export function canonicalBanValue(kind: BanKind, value: string): string | undefined {
  switch (kind) {
    case 'client_id':
    case 'username':
      return value;
    case 'client_id_pattern':
    case 'username_pattern':
    case 'address_pattern':
      return parseKeywordPattern(value).ok ? value : undefined;
    case 'address': {
      const address = parseIpAddress(value);
      return address && formatIpAddress(address);
    }
    case 'cidr': {
      const network = parseIpNetwork(value);
      return network && formatIpNetwork(network);
    }
    default:
      return unreachable(kind);
  }
}

/** Whether a ban holds no more. */
export const isOver = ({ until }: Pick<Ban, 'until'>, at: number): boolean =>
  until !== undefined && until <= at;

/** Never throws on input. */
export function decideBan(reads: BanReads, command: BanCommand, at: number): Decided<BanEvent> {
  switch (command.type) {
    case 'AddBan':
      return decideAdd(reads, command.data, at);
    case 'RemoveBan': {
      const { id, ifRevision } = command.data;
      const ban = reads.ban(id);
      if (ban === undefined) return reject('ban_not_found');
      const stale = staleness(ban, ifRevision);
      return stale ?? accept(removed(ban));
    }
    default:
      return unreachable(command);
  }
}

const removed = ({ id, kind, value }: Ban): BanEvent => ({
  type: 'BanRemoved',
  data: { id, kind, value },
});

function staleness(ban: Ban | undefined, ifRevision: Revision | undefined) {
  const current = ban?.updatedRevision ?? 0;
  if (ifRevision === undefined || ifRevision === current) return undefined;
  return reject('precondition_failed', {
    detail: `The ban was last changed by revision ${current}.`,
  });
}

function decideAdd(
  reads: BanReads,
  { ifRevision, ...fields }: Extract<BanCommand, { type: 'AddBan' }>['data'],
  at: number,
): Decided<BanEvent> {
  const { problems, value } = check(fields, at);
  const refusal = refusedPattern(fields);
  if (refusal !== undefined && problems.found.length === 0) return refusal;
  if (value === undefined || problems.found.length > 0) {
    return reject('ban_invalid', { problems: problems.found });
  }
  const there = reads.banByValue(fields.kind, value);
  const stale = staleness(there, ifRevision);
  if (stale !== undefined) return stale;
  if (there !== undefined) {
    if (saysTheSame(there, fields)) return accept();
    return accept({ type: 'BanAdded', data: { ...fields, value, id: there.id } });
  }
  if (reads.ban(fields.id) !== undefined) return reject('ban_exists');
  // As good a moment as any: whoever adds makes room.
  const over = reads.expiredBans(at, EXPIRED_BANS_REMOVED_MAX);
  const full = fullBy(reads, fields.kind, over);
  if (full !== undefined) return reject('too_many_bans', { detail: full });
  return accept(...over.map(removed), { type: 'BanAdded', data: { ...fields, value } });
}

const saysTheSame = (one: BanFields, other: BanFields): boolean =>
  one.reason === other.reason && one.until === other.until && one.bannedAt === other.bannedAt;

/** Which limit another ban would pass, once those that have run out are gone. */
function fullBy(reads: BanReads, kind: BanKind, over: readonly Ban[]): string | undefined {
  if (reads.banCount() - over.length >= BANS_MAX) return `There are at most ${BANS_MAX} bans.`;
  if (!isBanPattern(kind)) return undefined;
  const patternsOver = over.filter((one) => isBanPattern(one.kind)).length;
  if (reads.banPatternCount() - patternsOver < BAN_PATTERNS_MAX) return undefined;
  return `There are at most ${BAN_PATTERNS_MAX} bans by a regular expression.`;
}

function refusedPattern({ kind, value }: BanFields): ReturnType<typeof reject> | undefined {
  const parsed = isBanPattern(kind) ? parseKeywordPattern(value) : undefined;
  if (parsed === undefined || parsed.ok) return undefined;
  return reject('pattern_invalid', { problems: [{ pointer: '/value', detail: parsed.problem }] });
}

function check(
  { id, kind, value, reason, by, until, bannedAt }: BanFields,
  at: number,
): { problems: Problems; value: string | undefined } {
  const problems = new Problems();
  problems.text('/id', id, 64);
  problems.text('/by', by, BAN_BY_BYTES_MAX);
  problems.text('/value', value);
  if (reason !== undefined) problems.text('/reason', reason, BAN_REASON_BYTES_MAX);
  if (until !== undefined && !(Number.isSafeInteger(until) && until > at)) {
    problems.add('/until', 'must be in the future');
  }
  if (bannedAt !== undefined && !(Number.isSafeInteger(bannedAt) && bannedAt >= 0)) {
    problems.add('/bannedAt', 'must be a time since 1970');
  }
  const canonical = canonicalBanValue(kind, value);
  if (canonical === undefined && !isBanPattern(kind)) {
    const what = kind === 'cidr' ? 'a network, such as 192.0.2.0/24' : 'an IP address';
    problems.add('/value', `must be ${what}`);
  }
  return { problems, value: canonical };
}

/** Tag of everybody who a ban of this kind and value is about. */
export const banTag = ({ kind, value }: Pick<Ban, 'kind' | 'value'>): string =>
  `ban:${kind}:${value}`;
